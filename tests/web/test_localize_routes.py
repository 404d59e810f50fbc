"""`web.localize`: photos in, answers out, nothing kept longer than there is room for it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from boxpromptiml.images import encode_png
from boxpromptiml.regions import Box, mask_box
from boxpromptiml.rle import decode
from boxpromptiml.runtime import Localizer
from boxpromptiml.web import WebSettings, create_app
from boxpromptiml.web.answers import Answer, Answers
from boxpromptiml.web.settings import WebState

RED = Box(96, 40, 176, 120)
HOME = {"base_url": "http://127.0.0.1"}


def encoded(width: int = 256, height: int = 160, box: Box | None = RED) -> bytes:
    """A grey photo with a red region."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    if box is not None:
        pixels[box.slices] = (255, 0, 0)
    return encode_png(pixels)


def picture(data: bytes | str) -> np.ndarray[Any, Any]:
    raw = base64.b64decode(data) if isinstance(data, str) else data
    return np.asarray(Image.open(io.BytesIO(raw)))


@pytest.fixture(scope="module")
def localizer(red_model: Path) -> Localizer:
    return Localizer.load(red_model, threads=1)


@pytest.fixture
def client(localizer: Localizer) -> Iterator[TestClient]:
    with TestClient(create_app(WebState(localizer=localizer)), **HOME) as client:
        yield client


def test_a_photo_gets_its_answer(client: TestClient, localizer: Localizer) -> None:
    answer = client.post("/api/localize?name=holiday.png", content=encoded()).json()
    expected = localizer.localize(encoded())
    assert answer["name"] == "holiday.png"
    assert (answer["width"], answer["height"]) == (256, 160)
    assert answer["verdict"] == "tampered"
    assert answer["score"] == pytest.approx(expected.score, abs=1e-6)
    assert answer["threshold"] == 0.5
    assert answer["model"] == localizer.model_id
    assert answer["seconds"] > 0
    (region,) = answer["regions"]
    assert set(region) == {"box", "area", "score"}
    assert np.abs(np.array(region["box"]) - np.array(RED)).max() <= 2
    np.testing.assert_array_equal(picture(answer["map"]), np.rint(expected.map * 255))


def test_the_files_are_those_of_the_command_line(client: TestClient, localizer: Localizer) -> None:
    key = client.post("/api/localize?name=Gr%C3%BC%C3%9Fe%201.png", content=encoded()).json()["id"]
    expected = localizer.localize(encoded())
    mask = client.get(f"/api/localize/{key}/mask.png")
    assert mask.headers["content-type"] == "image/png"
    assert mask.headers["content-disposition"] == "attachment; filename*=UTF-8''Gr%C3%BC%C3%9Fe%201-mask.png"
    np.testing.assert_array_equal(picture(mask.content), expected.mask * 255)
    heat = Image.open(io.BytesIO(client.get(f"/api/localize/{key}/map.png").content))
    np.testing.assert_array_equal(np.asarray(heat), expected.map16)
    overlay = picture(client.get(f"/api/localize/{key}/overlay.png").content)
    assert overlay.shape == (160, 256, 3)
    assert (overlay[10, 10] == 128).all(), "what is not suspicious is not tinted"
    result = client.get(f"/api/localize/{key}/result.json").json()
    wanted = expected.to_json() | {"image": "Grüße 1.png", "seconds": result["seconds"]}
    assert result == wanted
    np.testing.assert_array_equal(decode(result["regions"][0]["rle"]), expected.mask)


@pytest.mark.parametrize(
    ("threshold", "verdict", "found"),
    [(0.0, "tampered", "everything"), (0.3, "tampered", "more"), (0.9, "tampered", "less"), (1.0, "authentic", "none")],
)
def test_any_threshold_of_a_photo_that_was_looked_at(
    client: TestClient, threshold: float, verdict: str, found: str
) -> None:
    answer = client.post("/api/localize?threshold=0.5", content=encoded()).json()
    usual = answer["regions"][0]["area"]
    files = f"/api/localize/{answer['id']}"
    result = client.get(f"{files}/result.json?threshold={threshold}").json()
    mask = picture(client.get(f"{files}/mask.png?threshold={threshold}").content)
    area = sum(region["area"] for region in result["regions"])
    assert (result["verdict"], result["threshold"], area) == (verdict, threshold, int((mask > 0).sum()))
    expected = {"everything": area == 256 * 160, "more": area > usual, "less": 0 < area < usual, "none": area == 0}
    assert expected[found], f"{area} pixels at {threshold}, {usual} at 0.5"


def test_a_clean_photo(client: TestClient) -> None:
    answer = client.post("/api/localize", content=encoded(box=None)).json()
    assert (answer["verdict"], answer["regions"]) == ("authentic", [])
    assert not picture(client.get(f"/api/localize/{answer['id']}/mask.png").content).any()


def test_a_large_photo_is_shown_small_and_answered_at_its_own_size(client: TestClient) -> None:
    answer = client.post("/api/localize", content=encoded(3000, 2000, Box(1000, 500, 1500, 1200))).json()
    mask = picture(client.get(f"/api/localize/{answer['id']}/mask.png").content)
    assert mask.shape == (2000, 3000)
    box = mask_box(mask)
    assert box is not None
    assert np.abs(np.array(box) - (1000, 500, 1500, 1200)).max() <= 30
    assert max(picture(client.get(f"/api/localize/{answer['id']}/overlay.png").content).shape) <= 2048


@pytest.mark.parametrize(
    ("query", "body", "status", "says"),
    [
        ("", b"", 415, "empty"),
        ("?name=notes.txt", b"these are notes, not a photo", 415, "notes.txt: is not an image"),
        ("", encoded()[:200], 415, "damaged or truncated PNG"),
        ("", encoded(2000, 600), 413, "over the limit of 1 megapixels"),
        ("", b"\x89PNG" + bytes(300_000), 413, ""),
        ("?threshold=1.5", encoded(), 422, "threshold"),
        ("?threshold=high", encoded(), 422, "threshold"),
    ],
    ids=["empty", "text", "truncated", "pixels", "bytes", "threshold", "no number"],
)
def test_what_is_refused(localizer: Localizer, query: str, body: bytes, status: int, says: str) -> None:
    settings = WebSettings(max_pixels=1_000_000, max_upload_bytes=200_000)
    with TestClient(create_app(WebState(settings=settings, localizer=localizer)), **HOME) as client:
        answer = client.post(f"/api/localize{query}", content=body)
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("path", ["mask.png", "map.png", "overlay.png", "result.json"])
def test_an_unknown_id_says_what_to_do(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/localize/nobody/{path}")
    assert answer.status_code == 404
    assert "open the photo again" in answer.json()["error"]


def test_without_a_model_the_remedy_is_named() -> None:
    with TestClient(create_app(WebState()), **HOME) as client:
        answer = client.post("/api/localize", content=encoded())
    assert answer.status_code == 503
    assert "--model" in answer.json()["error"]


def test_nothing_is_written(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    key = client.post("/api/localize", content=encoded()).json()["id"]
    assert client.get(f"/api/localize/{key}/overlay.png").status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    def answer(name: str) -> Answer:
        return Answer(name, "", 8, 8, np.zeros((8, 8), np.float32), np.zeros((8, 8, 3), np.uint8), 0.0)

    size = answer("").size
    answers = Answers(limit=2 * size)
    first, second = answers.add(answer("first")), answers.add(answer("second"))
    assert answers.get(first) is not None, "used last, so it stays"
    third = answers.add(answer("third"))
    assert [key for key in (first, second, third) if answers.get(key)] == [first, third]
    tiny = Answers(limit=1)
    assert tiny.get(tiny.add(answer("too large"))) is not None, "the newest is kept whatever its size"


def test_whether_a_browser_shows_the_photo_as_it_is(client: TestClient, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 3
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
    )
    picture = Image.fromarray(np.full((48, 64, 3), 120, np.uint8))
    files: list[tuple[str, Image.Image, dict[str, Any], bool]] = [
        ("plain.jpg", picture, {}, True),
        ("turned.jpg", picture, {"exif": turned}, True),
        ("xmp.jpg", picture, {"xmp": xmp}, False),
        ("plain.webp", picture, {}, True),
        ("turned.webp", picture, {"exif": turned}, False),
        ("plain.png", picture, {}, True),
        ("alpha.png", picture.convert("RGBA"), {}, False),
        ("scan.tif", picture, {}, False),
    ]
    for name, image, options, shown in files:
        image.save(tmp_path / name, **options)
        answer = client.post("/api/localize", params={"name": name}, content=(tmp_path / name).read_bytes())
        assert answer.json()["as_it_is"] == shown, name


SPECK = Box(300, 200, 305, 205)  # lost in the cells of the whole, 10 x 7.5 pixels


@pytest.mark.parametrize("passes", [{}, {"detail": True}, {"tta": True}, {"detail": True, "tta": True}])
def test_looking_closer_is_what_localize_does(
    client: TestClient, localizer: Localizer, passes: dict[str, bool]
) -> None:
    photo = encoded(640, 480, SPECK)
    expected = localizer.localize(photo, **passes)

    answer = client.post("/api/localize", params=passes, content=photo).json()

    assert [region["box"] for region in answer["regions"]] == [list(region.box) for region in expected.regions]
    assert bool(answer["regions"]) == ("detail" in passes)
    result = client.get(f"/api/localize/{answer['id']}/result.json").json()
    assert result | {"seconds": 0, "image": None} == expected.to_json() | {"seconds": 0}
    heat = picture(client.get(f"/api/localize/{answer['id']}/map.png").content)
    np.testing.assert_array_equal(heat, expected.map16)
    assert picture(answer["map"]).shape == ((120, 160) if "detail" in passes else (64, 64))


def test_looking_closer_has_limits(localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = encoded(640, 480, SPECK)

    def ask(query: str, **limits: Any) -> Any:
        state = WebState(localizer=localizer, settings=WebSettings(**limits))
        with TestClient(create_app(state), **HOME) as client:
            return client.post(f"/api/localize?{query}", content=photo)

    refused = ask("detail=true", max_tiles=0)
    assert (refused.status_code, refused.json()["error"]) == (
        422,
        "detail: this server looks at no tiles (--max-tiles 0)",
    )
    assert ask("tta=true", max_tiles=0).status_code == 200
    late = ask("detail=true&name=a.png", detail_seconds=1e-9)
    assert late.status_code == 504
    assert late.json()["error"].startswith("a.png: looking closer takes more than")

    looked: list[int] = []
    maps = localizer.maps
    monkeypatch.setattr(localizer, "maps", lambda fed, **how: looked.append(len(fed)) or maps(fed, **how))
    assert ask("detail=true", max_tiles=6).json()["detail"] is True
    assert 1 < sum(looked) <= 1 + 6


def test_a_server_that_is_told_to_stop_ends_what_it_computes(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, maps, looks = WebState(localizer=localizer), Localizer.maps, []

    def told(self: Localizer, *args: Any, **options: Any) -> Any:
        looks.append(1)
        state.stop()
        return maps(self, *args, **options)

    monkeypatch.setattr(Localizer, "maps", told)
    with TestClient(create_app(state), **HOME) as client:
        for _ in range(2):
            answer = client.post("/api/localize?detail=true", content=encoded(2048, 1280))
            assert (answer.status_code, answer.json()["error"]) == (503, "the server is being stopped")
    assert len(looks) == 1, "neither its tiles nor another photo were looked at"
