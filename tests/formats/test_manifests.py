from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.dataset.manifest import write_manifest
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import RejectedError, import_manifest, import_source
from boxpromptiml.regions import Box

RECORD = ImageRecord(
    "../photos/a.jpg",
    40,
    30,
    label="tampered",
    boxes=(Box(1, 2, 3, 4),),
    mask="masks/a.png",
    pseudo=PseudoMask("pseudo/a.png", "grabcut", {"rounds": 5}, (None,), ((),), ("box",)),
    seconds=2.5,
)


def written(dataset: Dataset, path: Path, base: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        write_manifest(dataset, stream, base)
    return path


def test_a_manifest_comes_back_without_loss(dataset: Dataset, tmp_path: Path) -> None:
    dataset.put([RECORD, ImageRecord("b.png", 1, 1)])
    inside = written(dataset, dataset.root / "m.jsonl")
    outside = written(dataset, tmp_path / "x" / "y" / "m.jsonl", base=tmp_path / "x" / "y")
    piped = written(dataset, tmp_path / "m.jsonl")  # as `manifest > FILE` writes it: relative to the dataset
    for number, (manifest, base) in enumerate([(inside, None), (outside, None), (piped, dataset.root)]):
        folder = tmp_path / "copies" / str(number)
        report = import_manifest(manifest, folder, base=base)
        assert (report.added, report.labels) == (2, {"tampered": 1, None: 1})
        with Dataset.open(folder) as copy:
            second, first = copy.records()
        assert first == replace(
            RECORD,
            image="../../photos/a.jpg",
            mask="../../data/masks/a.png",
            pseudo=replace(RECORD.pseudo, path="../../data/pseudo/a.png"),  # type: ignore[type-var]
            version=1,
        )
        assert second == ImageRecord("../../data/b.png", 1, 1, version=1)


def test_an_image_that_was_labelled_anew_comes_back_without_loss(
    source: Path, paint: Callable[..., Path], dataset: Dataset
) -> None:
    """Its true mask stays on record, though the label says otherwise now."""
    for part in ("Tp", "Gt"):
        paint(f"{part}/a.png")
    import_source(source, dataset)
    (stored,) = dataset.records()
    stored = dataset.annotate(stored.image, boxes=(), label="authentic", expected_version=stored.version)
    assert stored.mask is not None
    file = written(dataset, dataset.root / "m.jsonl")
    with Dataset.create(dataset.root.with_name("copy")) as copy:
        assert import_manifest(file, copy).unused == (stored.image,)
        assert [replace(record, version=stored.version) for record in copy.records()] == [stored]


def test_importing_twice_changes_nothing(dataset: Dataset) -> None:
    dataset.put(RECORD)
    manifest = written(dataset, dataset.root / "m.jsonl")
    report = import_manifest(manifest, dataset)
    assert (report.added, report.changed, report.unchanged) == (0, 0, 1)
    assert dataset.get(RECORD.image).version == 1


def test_boxes_are_not_lost_to_an_old_manifest(dataset: Dataset) -> None:
    dataset.put(RECORD)
    manifest = written(dataset, dataset.root / "m.jsonl")
    drawn = dataset.set_boxes(RECORD.image, [Box(5, 5, 9, 9)])
    report = import_manifest(manifest, dataset)
    assert (report.kept, report.unchanged) == ((RECORD.image,), 1)
    assert dataset.get(RECORD.image) == drawn
    assert import_manifest(manifest, dataset, overwrite=True).changed == 1
    assert dataset.get(RECORD.image) == replace(RECORD, version=3)


@pytest.mark.parametrize(
    "done",
    [
        {"boxes": (), "label": "authentic", "seconds": None},
        {"boxes": (), "label": "tampered", "skipped": True},
        {"seconds": 9.0},
        {"review": "rejected"},
    ],
)
def test_what_a_person_said_is_not_lost_to_an_old_manifest(dataset: Dataset, done: dict[str, Any]) -> None:
    dataset.put(replace(RECORD, review="accepted"))
    manifest = written(dataset, dataset.root / "m.jsonl")
    dataset.put(replace(dataset.get(RECORD.image), **done))
    stored = dataset.get(RECORD.image)
    report = import_manifest(manifest, dataset)
    assert (report.kept, report.unchanged) == ((RECORD.image,), 1)
    assert dataset.get(RECORD.image) == stored
    assert import_manifest(manifest, dataset, overwrite=True).kept == ()
    assert dataset.get(RECORD.image) == replace(RECORD, review="accepted", version=3)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_line_leaves_out_stays_as_it_is_stored(dataset: Dataset, overwrite: bool) -> None:
    record = replace(RECORD, split="train", group="scene1", kind="splice", review="accepted")
    dataset.put(record)
    before_annotation = {"image": RECORD.image, "width": 40, "height": 30, "label": None}
    same_boxes = {**before_annotation, "regions": [{"box": [1, 2, 3, 4]}], "split": "val"}
    for line, expected in (
        (before_annotation, replace(record, version=1)),
        (same_boxes, replace(record, split="val", version=2)),
    ):
        (dataset.root / "m.jsonl").write_text(json.dumps(line))
        assert import_manifest(dataset.root / "m.jsonl", dataset, overwrite=overwrite).kept == ()
        assert dataset.get(RECORD.image) == expected


def test_another_tool_fills_in_what_nobody_has_said(dataset: Dataset) -> None:
    dataset.put(ImageRecord("a.png", 40, 30, group="scene1", mask="masks/a.png"))
    (dataset.root / "m.jsonl").write_text(
        '{"image": "a.png", "width": 40, "height": 30, "regions": [{"box": [1, 1, 5, 5]}], "seconds": 3.0}'
    )
    assert import_manifest(dataset.root / "m.jsonl", dataset).changed == 1
    record = dataset.get("a.png")
    assert (record.boxes, record.label, record.seconds) == ((Box(1, 1, 5, 5),), "tampered", 3.0)
    assert (record.group, record.mask) == ("scene1", "masks/a.png")


def test_a_malformed_manifest_imports_nothing(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"image": "a", "width": 1, "height": 1}\n{"imag": "b"}\n{"image": "c", "widht": 1}\n')
    with pytest.raises(RejectedError, match="2 lines are malformed, nothing was imported") as caught:
        import_manifest(manifest, tmp_path / "data")
    assert [line.split(":")[1] for line in caught.value.problems] == ["2", "3"]
    assert not (tmp_path / "data").exists()


def test_an_empty_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").touch()
    with pytest.raises(DatasetError, match="lists no image"):
        import_manifest(tmp_path / "m.jsonl", tmp_path / "data")


def test_boxes_of_another_tool_need_no_sizes(source: Path, paint: Callable[..., Path], dataset: Dataset) -> None:
    paint("a.png")
    (source / "m.jsonl").write_text('{"image": "a.png", "label": "tampered", "regions": [{"box": [1, 1, 5, 5]}]}')
    import_manifest(source / "m.jsonl", dataset)
    assert dataset.get("../source/a.png").boxes == (Box(1, 1, 5, 5),)
