"""`web.suggest`: the student's map of a dataset image, and boxes to start from."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import save_png
from boxpromptiml.regions import Box, box_iou, union_box
from boxpromptiml.runtime import Localizer
from boxpromptiml.web import create_app
from boxpromptiml.web.settings import WebSettings, WebState

HOME = {"base_url": "http://127.0.0.1"}


def paint(path: Path, *boxes: Box, width: int = 320, height: int = 240) -> None:
    """A grey photo with red regions."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    for box in boxes:
        pixels[box.slices] = (255, 0, 0)
    save_png(path, pixels)


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "set") as dataset:
        yield dataset


@pytest.fixture
def suggest(dataset: Dataset, make_red_model: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Ask for a suggestion for an image that is painted with these boxes."""
    # 80 x 80 cells on 320 x 240 pixels: edges of boxes at multiples of 4 and 3 are edges of cells.
    localizer = Localizer.load(make_red_model(tmp_path / "model", 80, 80), threads=1)
    with TestClient(create_app(WebState(dataset=dataset, localizer=localizer)), **HOME) as client:

        def ask(*boxes: Box, name: str = "a.png") -> Any:
            paint(dataset.path(name), *boxes)
            dataset.put(ImageRecord(name, 320, 240))
            return client.get("/api/suggestion", params={"image": name}).json()

        ask.client = client  # type: ignore[attr-defined]
        yield ask


@pytest.mark.parametrize(
    "regions",
    [
        [],
        [Box(40, 60, 120, 120)],
        [Box(40, 60, 120, 120), Box(200, 150, 280, 210)],
        [Box(0, 0, 320, 240)],
        [Box(280, 0, 320, 60)],
    ],
    ids=["none", "one", "two", "all", "corner"],
)
def test_a_box_around_each_region_a_bit_loose(suggest: Callable[..., Any], regions: list[Box]) -> None:
    answer = suggest(*regions)
    boxes = [Box(*box) for box in answer["boxes"]]
    assert len(boxes) == len(regions)
    for box, region in zip(boxes, regions, strict=True):
        assert box.is_inside(320, 240)
        assert union_box([box, region]) == box, f"{box} does not hold {region}"
        assert box_iou(box, region) > 0.6, f"{box} is much looser than {region}"
    assert answer["score"] == pytest.approx(1.0 if regions else 0.0, abs=0.01)


def test_a_speck_gets_no_box_of_its_own(suggest: Callable[..., Any]) -> None:
    answer = suggest(Box(40, 60, 200, 180), Box(210, 60, 216, 66))
    (box,) = answer["boxes"]
    assert box[2] >= 216, "the box beside it holds it"


def test_the_map_is_that_of_the_network(suggest: Callable[..., Any], dataset: Dataset, tmp_path: Path) -> None:
    answer = suggest(Box(40, 60, 120, 120))
    expected = Localizer.load(tmp_path / "model", threads=1).localize(dataset.path("a.png"))
    map_ = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"]))))
    np.testing.assert_array_equal(map_, np.rint(expected.map * 255))
    assert (answer["threshold"], answer["model"]) == (0.5, expected.model)


def test_each_image_is_looked_at_once_until_its_file_changes(
    suggest: Callable[..., Any], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    localize = Localizer.localize

    def counted(self: Localizer, image: Any, **options: Any) -> Any:
        looked.append(Path(image).name)
        return localize(self, image, **options)

    monkeypatch.setattr(Localizer, "localize", counted)
    first = suggest(Box(40, 60, 120, 120))
    client = suggest.client  # type: ignore[attr-defined]
    assert client.get("/api/suggestion?image=a.png").json() == first
    assert looked == ["a.png"]
    paint(dataset.path("a.png"), Box(200, 150, 280, 210))
    os.utime(dataset.path("a.png"), (1, 1))
    assert client.get("/api/suggestion?image=a.png").json()["boxes"] != first["boxes"]
    assert looked == ["a.png", "a.png"]


def test_maps_are_kept_as_far_as_there_is_room(
    suggest: Callable[..., Any], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        suggest(Box(40, 60, 120, 120), name=name)
    looked: list[str] = []
    localize = Localizer.localize

    def counted(self: Localizer, image: Any, **options: Any) -> Any:
        looked.append(Path(image).name)
        return localize(self, image, **options)

    monkeypatch.setattr(Localizer, "localize", counted)
    localizer = Localizer.load(tmp_path / "model", threads=1)
    # Room for two maps of 80 x 80 cells, 4 bytes each, in the eighth that is for them.
    settings = WebSettings(cache_bytes=8 * 60_000)
    with TestClient(create_app(WebState(dataset=dataset, localizer=localizer, settings=settings)), **HOME) as client:
        for name in ("a.png", "b.png", "a.png", "b.png", "c.png", "b.png", "a.png"):
            assert client.get("/api/suggestion", params={"image": name}).status_code == 200
    assert looked == ["a.png", "b.png", "c.png", "a.png"]


@pytest.mark.parametrize("name", ["b.png", "../secret.png", "/etc/passwd", ""])
def test_only_images_of_the_dataset_are_looked_at(suggest: Callable[..., Any], tmp_path: Path, name: str) -> None:
    paint(tmp_path / "secret.png")
    suggest()
    answer = suggest.client.get("/api/suggestion", params={"image": name})  # type: ignore[attr-defined]
    assert answer.status_code == 404
    assert "the dataset has no" in answer.json()["error"]


def test_an_image_that_has_gone(suggest: Callable[..., Any], dataset: Dataset) -> None:
    suggest()
    dataset.path("a.png").unlink()
    answer = suggest.client.get("/api/suggestion?image=a.png")  # type: ignore[attr-defined]
    assert (answer.status_code, answer.json()["error"].endswith("no such file")) == (415, True)


def test_without_a_model_the_remedy_is_named(dataset: Dataset) -> None:
    paint(dataset.path("a.png"))
    dataset.put(ImageRecord("a.png", 320, 240))
    with TestClient(create_app(WebState(dataset=dataset)), **HOME) as client:
        answer = client.get("/api/suggestion?image=a.png")
    assert answer.status_code == 503
    assert "--model" in answer.json()["error"]
