"""`detail=` and `tta=`: what `localize --detail --tta` says, within limits on tiles, time and room."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from boxpromptiml.images import encode_png
from boxpromptiml.runtime import Localizer

JPEG = {"content-type": "image/jpeg"}
Start = Callable[..., TestClient]


@pytest.fixture(scope="module")
def large() -> bytes:
    """640 x 480 with a red speck of 5 x 5, which a network of 64 x 64 pixels loses in the whole."""
    pixels = np.full((480, 640, 3), 120, np.uint8)
    pixels[200:205, 300:305] = (255, 0, 0)
    return encode_png(pixels)


@pytest.mark.parametrize("batches", [{}, {"max_batch": 4}, {"threads": 2, "inference_threads": 2, "max_batch": 2}])
@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ("", {}),
        ("?detail=true", {"detail": True}),
        ("?tta=1", {"tta": True}),
        ("?detail=true&tta=true", {"detail": True, "tta": True}),
        ("?detail=false&tta=0", {}),
    ],
)
def test_it_is_what_localize_says(
    start: Start, large: bytes, localizer: Localizer, query: str, passes: dict[str, bool], batches: dict[str, int]
) -> None:
    result = start(max_tiles=4096, **batches).post(f"/v1/localize{query}", content=large, headers=JPEG).json()

    expected = localizer.localize(large, **passes).to_json()
    assert result | {"seconds": 0, "image": None} == expected | {"seconds": 0}
    assert [result.get(name) for name in ("detail", "tta")] == [passes.get(name) for name in ("detail", "tta")]
    assert bool(result["regions"]) == ("detail" in passes)  # a speck is seen in tiles only


def test_a_batch_is_looked_at_in_detail_too(start: Start, large: bytes, photo: bytes) -> None:
    listed = [{"data": base64.b64encode(data).decode()} for data in (large, photo)]
    answer = start(threads=2, max_tiles=4096).post("/v1/localize?detail=1", json={"images": listed})
    assert [len(one["regions"]) for one in answer.json()["results"]] == [1, 1]


def test_pictures_are_of_the_finer_map(start: Start, large: bytes) -> None:
    answer = start(max_tiles=4096).post("/v1/localize?detail=true&output=map", content=large, headers=JPEG)
    assert Image.open(io.BytesIO(answer.content)).size == (160, 120)  # cells of 4 x 4 pixels


def test_the_number_of_tiles_is_bounded(
    start: Start, large: bytes, localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    maps = localizer.maps
    monkeypatch.setattr(localizer, "maps", lambda fed, **how: looked.append(len(fed)) or maps(fed, **how))
    client = start(max_tiles=6)
    looked.clear()  # it has been warmed

    assert client.post("/v1/localize?detail=true", content=large, headers=JPEG).json()["detail"] is True

    assert 1 < sum(looked) <= 1 + 6  # the whole, and the tiles of a smaller copy
    assert client.get("/v1/model").json()["limits"]["tiles"] == 6


@pytest.mark.parametrize(
    ("settings", "query", "message"),
    [
        ({"max_tiles": 0}, "detail=true", "detail: this service looks at no tiles (--max-tiles 0)"),
        ({}, "detail=much", "detail: Input should be a valid boolean, unable to interpret input"),
        ({}, "tta=2", "tta: Input should be a valid boolean, unable to interpret input"),
        ({}, "zoom=2", "zoom: there is no such parameter; there are threshold, output, include, detail, tta, name,"),
    ],
)
def test_what_is_refused(start: Start, photo: bytes, settings: dict[str, int], query: str, message: str) -> None:
    answer = start(**settings).post(f"/v1/localize?{query}", content=photo, headers=JPEG)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(message)


def test_the_work_ends_when_nobody_waits_for_it(
    start: Start, large: bytes, photo: bytes, localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, looked = threading.Event(), []
    maps = localizer.maps

    def slow(fed: list[object], **how: bool) -> list[object]:
        begun.set()
        looked.append(len(fed))
        time.sleep(0.05)
        return maps(fed, **how)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(localizer, "maps", slow)
    client = start(max_tiles=4096)
    answer = client.post("/v1/localize?detail=true&timeout=0.2", content=large, headers=JPEG)
    assert (answer.status_code, answer.headers["retry-after"]) == (504, "1")
    assert begun.is_set()

    # The thread is free again long before all tiles could have been looked at.
    assert client.post("/v1/localize", content=photo, headers=JPEG).status_code == 200
    assert sum(looked) < 100
    text = client.get("/metrics").text
    assert "boxpromptiml_dropped_images_total 1.0" in text
    assert 'boxpromptiml_images_total{outcome="error"} 0.0' in text
    assert json.loads(client.get("/v1/model").text)["limits"]["tiles"] == 4096
