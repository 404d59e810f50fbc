"""What is written is read back: every box to the pixel, and all else that the format can say."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.formats import ExportOptions, ReadOptions, export_boxes, import_source
from boxpromptiml.images import open_mask
from boxpromptiml.regions import Box

WITH_BOXES = ("coco", "yolo", "voc", "labelme", "label-studio")
# Sides at which a sixth digit is no longer enough, primes, and the smallest.
SIDES = (1, 2, 3, 7, 37, 64, 1009, 6007)


def make(root: Path, records: Sequence[ImageRecord]) -> Dataset:
    """A dataset in ``root/data`` with grey images of the records' sizes in ``root/photos``."""
    for record in records:
        path = root / "data" / record.image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (record.width, record.height)).save(path)
    dataset = Dataset.create(root / "data")
    dataset.put(records)
    return dataset


def returned(root: Path, dataset: Dataset, format: str, options: ExportOptions | None = None) -> dict[str, ImageRecord]:
    """The records by file name that come back after an export and an import."""
    report = export_boxes(dataset, root / "out", format, options)
    images = ReadOptions(images=report.root) if report.root is not None and format in WITH_BOXES else None
    import_source(root / "out", root / "again", options=images, group_by="none")
    with Dataset.open(root / "again") as again:
        return {Path(record.image).name: record for record in again.records()}


@st.composite
def boxes_on_an_image(draw: st.DrawFn) -> tuple[int, int, tuple[Box, ...]]:
    width, height = draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        found.append(Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))))
    return width, height, tuple(found)


@pytest.mark.parametrize("format", WITH_BOXES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=st.lists(boxes_on_an_image(), min_size=1, max_size=6))
def test_every_box_returns_to_the_pixel(format: str, drawn: list[tuple[int, int, tuple[Box, ...]]]) -> None:
    records = [
        ImageRecord(f"../photos/{i}.png", width, height, label="tampered", boxes=boxes)
        for i, (width, height, boxes) in enumerate(drawn)
    ]
    with tempfile.TemporaryDirectory() as folder, make(Path(folder), records) as dataset:
        again = returned(Path(folder), dataset, format)
        assert {name: record.boxes for name, record in again.items()} == {
            Path(record.image).name: record.boxes for record in records
        }


STATES = [
    ImageRecord(
        "../photos/boxed.png", 40, 30, label="tampered", boxes=(Box(1, 2, 9, 8), Box(0, 0, 40, 30)), split="val"
    ),
    ImageRecord("../photos/deep/authentic.jpg", 40, 30, label="authentic", split="train"),
    ImageRecord("../photos/todo.png", 40, 30),
    ImageRecord("../photos/tampered.png", 40, 30, label="tampered"),
    ImageRecord("../photos/skipped.png", 40, 30, skipped=True, seconds=2.5),
    # The same stem, and the same but for the case of a letter: their files must not fall together.
    ImageRecord("../photos/boxed.jpg", 40, 30, label="tampered", boxes=(Box(3, 4, 5, 6),), seconds=7.25),
    ImageRecord("../photos/ blank .png", 40, 30, label="tampered", boxes=(Box(3, 4, 5, 6),), split="test"),
    ImageRecord("../photos/a b,ü%41?.png", 40, 30, label="tampered", boxes=(Box(5, 5, 6, 6),)),
]


@pytest.mark.parametrize(
    ("format", "lost"),
    [
        ("coco", {}),
        ("yolo", {"skipped.png": {"skipped": False}, "tampered.png": {"label": None}}),
        ("voc", {"skipped.png": {"skipped": False}, "tampered.png": {"label": None}}),
        ("labelme", {}),
        ("label-studio", {}),
    ],
)
@pytest.mark.parametrize("images", [None, "copy", "link"])
def test_states_return_where_the_format_can_say_them(
    tmp_path: Path, format: str, lost: dict[str, dict[str, Any]], images: Any
) -> None:
    with make(tmp_path, STATES) as dataset:
        again = returned(tmp_path, dataset, format, ExportOptions(images=images))
        report = export_boxes(dataset, tmp_path / "out", format, ExportOptions(images=images), overwrite=True)
    assert sum(report.lost.values()) == len(lost)
    assert len(again) == len(STATES)
    for record in STATES:
        name = Path(record.image).name
        # A copy whose name another one had already gets a name of its own.
        found = again.get(name) or again[name.replace("boxed", "boxed-2")]
        expected = replace(record, **lost.get(name, {}))
        assert (found.label, found.boxes, found.skipped) == (expected.label, expected.boxes, expected.skipped), name
        if format in ("coco", "yolo", "voc"):
            assert found.split == expected.split
        if format == "label-studio":
            assert found.seconds == expected.seconds


def masked(root: Path, *, boxes: tuple[Box, ...]) -> Dataset:
    """A dataset with one tampered image that has a true mask and a pseudo mask, and an authentic one."""
    rng = np.random.default_rng(0)
    true = np.zeros((30, 40), np.uint8)
    true[5:12, 6:20] = 255
    true[20:23, 30:39] = 255
    true[25, 1] = 255
    pseudo = np.where(true > 0, rng.integers(128, 256, true.shape), rng.integers(0, 128, true.shape)).astype(np.uint8)
    pseudo[:3, :3] = 128
    for name, mask in (("masks/a.png", true), ("pseudo/a.png", pseudo)):
        (root / "data" / name).parent.mkdir(parents=True)
        Image.fromarray(mask).save(root / "data" / name)
    return make(
        root,
        [
            ImageRecord(
                "../photos/a.png",
                40,
                30,
                label="tampered",
                boxes=boxes,
                mask="masks/a.png",
                pseudo=PseudoMask("pseudo/a.png", "grabcut"),
                review="accepted",
            ),
            ImageRecord("../photos/b.png", 40, 30, label="authentic"),
        ],
    )


@pytest.mark.parametrize("masks", ["true", "pseudo"])
@pytest.mark.parametrize(
    ("format", "mask_format"),
    [
        ("coco", "rle"),
        ("coco", "png"),
        ("yolo", "png"),
        ("voc", "png"),
        ("labelme", "png"),
        ("label-studio", "rle"),
        ("folders", "png"),
        ("imdlbenco", "png"),
    ],
)
def test_masks_return_to_the_pixel(tmp_path: Path, format: str, mask_format: Any, masks: Any) -> None:
    # The boxes overlap and leave parts of the mask outside.
    boxes = (Box(4, 4, 18, 13), Box(10, 8, 25, 14), Box(29, 19, 40, 24))
    with masked(tmp_path, boxes=boxes) as dataset:
        source = "masks/a.png" if masks == "true" else "pseudo/a.png"
        expected = open_mask(dataset.path(source)) > 127
        again = returned(tmp_path, dataset, format, ExportOptions(masks=masks, mask_format=mask_format))
    record = again["a.png"]
    assert record.mask is not None
    found = open_mask(tmp_path / "again" / record.mask)
    assert set(np.unique(found)) == {0, 255}
    assert ((found > 127) == expected).all()
    assert record.label == "tampered"
    assert again["b.png"].label == "authentic"
    if format in WITH_BOXES:
        assert record.boxes == boxes


@pytest.mark.parametrize("format", [*WITH_BOXES, "folders", "imdlbenco"])
@pytest.mark.parametrize("masks", ["true", "pseudo"])
def test_an_authentic_image_with_masks_returns_as_authentic(tmp_path: Path, format: str, masks: Any) -> None:
    with masked(tmp_path, boxes=(Box(4, 4, 39, 26),)) as dataset:
        Image.new("L", (40, 30)).save(dataset.root / "masks/b.png")
        judged = PseudoMask("pseudo/a.png", "grabcut")
        dataset.put(replace(dataset.get("../photos/b.png"), mask="masks/b.png", pseudo=judged))
        again = returned(tmp_path, dataset, format, ExportOptions(masks=masks))
    assert {name: record.label for name, record in again.items()} == {"a.png": "tampered", "b.png": "authentic"}


def test_a_mask_without_boxes_returns_with_the_boxes_of_its_regions(tmp_path: Path) -> None:
    with masked(tmp_path, boxes=()) as dataset:
        again = returned(tmp_path, dataset, "coco", ExportOptions(masks="true"))
    assert again["a.png"].boxes == (Box(1, 5, 20, 26), Box(30, 20, 39, 23))
