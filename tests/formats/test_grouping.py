"""Copies of one photograph in Roboflow's exports: ``IMG1_jpg.rf.<32 hexadecimal digits>.jpg``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.dataset.splits import assign_splits, crossing_groups
from boxpromptiml.formats import import_source

Paint = Callable[..., Path]


def copy(photograph: str, number: int) -> str:
    return f"{photograph}.rf.{number:032x}.png"


def groups(dataset: Dataset) -> dict[str, str | None]:
    return {Path(record.image).name: record.group for record in dataset.records()}


def test_copies_of_one_photograph_are_one_group(source: Path, dataset: Dataset, paint: Paint) -> None:
    for number in range(3):
        for photograph in ("IMG1_jpg", "IMG2_jpg"):
            paint(f"train/images/{copy(photograph, number)}", (1, 2, 3))
    (source / "train/labels").mkdir()
    (source / "data.yaml").write_text("names: [splice]")
    import_source(source, dataset)
    found = groups(dataset)
    assert set(found.values()) == {"../source/IMG1_jpg", "../source/IMG2_jpg"}
    assert all(group.endswith(name.split(".")[0]) for name, group in found.items() if group)
    assign_splits(dataset, {"test": 0.5}, overwrite=True)
    assert not crossing_groups(dataset.records())


@pytest.mark.parametrize("place", ["{}/_annotations.coco.json", "{}", "{}/images"])
def test_splits_of_one_export_that_are_imported_one_by_one(
    source: Path, dataset: Dataset, paint: Paint, place: str
) -> None:
    for number, part in enumerate(("train", "valid", "test")):
        folder = f"{part}/images" if place.endswith("images") else part
        paint(f"{folder}/{copy('IMG1_jpg', number)}", (1, 2, 3))
        if place.endswith("json"):
            content = {"images": [{"id": 1, "file_name": copy("IMG1_jpg", number)}], "annotations": []}
            (source / part / "_annotations.coco.json").write_text(json.dumps(content))
        report = import_source(source / place.format(part), dataset)
    assert report.groups == 1


@pytest.mark.parametrize(
    "names",
    [
        (copy("IMG1_jpg", 1), copy("IMG2_jpg", 1)),
        ("IMG1.rf.0.png", "IMG1.rf.1.png"),  # no hash
        ("IMG1_jpg.rf.0123456789ABCDEF0123456789ABCDEF.png", copy("IMG1_jpg", 1)),  # another one's
    ],
)
def test_what_only_looks_alike_is_apart(source: Path, dataset: Dataset, paint: Paint, names: tuple[str, str]) -> None:
    for name in names:
        paint(name, (1, 2, 3))
    assert import_source(source, dataset).groups == 2


def test_equal_names_of_two_exports_have_nothing_in_common(source: Path, dataset: Dataset, paint: Paint) -> None:
    for number, export in enumerate(("one", "two")):
        paint(f"{export}/train/{copy('001_jpg', number)}", (1, 2, 3))
        report = import_source(source / export / "train", dataset)
    assert report.groups == 2


def test_copies_of_casia_are_grouped_by_casias_names(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint(copy("Sp_D_CND_A_sec0056_sec0015_0282_jpg", 1), (1, 2, 3))
    paint(copy("Au_sec_0056_jpg", 2), (1, 2, 3))
    import_source(source, dataset)
    assert set(groups(dataset).values()) == {"sec0015"}
