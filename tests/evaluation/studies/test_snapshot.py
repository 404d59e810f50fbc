"""Derived datasets: the same files, the same images for all supervisions, the user's dataset untouched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError, RecipeError
from boxpromptiml.evaluation.studies.snapshot import (
    digest_of,
    read_snapshot,
    snapshot_test,
    snapshot_training,
    training_records,
    write_snapshot,
)
from boxpromptiml.files import sha256_of
from boxpromptiml.training import SUPERVISIONS, Recipe
from boxpromptiml.training.samples import gather_samples

MakeDataset = Callable[..., Path]


def lacking(folder: Path) -> None:
    """One training image without boxes, another one without a pseudo mask."""
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get("images/00.png"), boxes=()))
        dataset.put(replace(dataset.get("images/03.png"), pseudo=None))


def test_all_supervisions_train_on_the_same_images(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    lacking(data)
    before = sha256_of(data / "dataset.db")
    found = snapshot_training(tmp_path / "out/datasets/train", data, Recipe(), SUPERVISIONS)
    assert found.facts == {
        "images": 16,
        "tampered": 10,
        "authentic": 6,
        "left_out": {"no pseudo mask": 1, "no box": 1},
    }
    named = {s: gather_samples([found.folder], Recipe(), s) for s in SUPERVISIONS}
    assert len({tuple(sample.name for sample in samples.train) for samples in named.values()}) == 1
    assert len({tuple(sample.name for sample in samples.val) for samples in named.values()}) == 1
    assert all(not samples.left_out for samples in named.values())
    # The same files, no copies, and no test image among them.
    paths = {sample.path.resolve() for sample in [*named["mask"].train, *named["mask"].val]}
    with Dataset.open(data) as dataset:
        test = {dataset.path(record.image).resolve() for record in dataset.records(split="test")}
        assert paths <= {dataset.path(record.image).resolve() for record in dataset.records()}
    assert test
    assert not paths & test
    assert sha256_of(data / "dataset.db") == before


def test_what_is_there_is_kept_and_what_is_gone_is_made_anew(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, target = make_dataset(), tmp_path / "out/datasets/train"
    first = snapshot_training(target, data, Recipe(), ["mask"])
    (target / "mark").touch()
    assert snapshot_training(target, data, Recipe(), ["mask"], first.digest) == first
    assert (target / "mark").exists()
    (target / "snapshot.json").unlink()  # as a killed process leaves it
    assert read_snapshot(target) is None
    assert snapshot_training(target, data, Recipe(), ["mask"], first.digest) == first
    assert not (target / "mark").exists()
    assert sorted(path.name for path in target.parent.iterdir()) == ["train"]


def test_the_digest_follows_content_not_place(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    first = snapshot_training(tmp_path / "a/datasets/train", data, Recipe(), ["mask"])
    shutil.copytree(data, tmp_path / "elsewhere/copy")
    again = snapshot_training(tmp_path / "b/datasets/train", tmp_path / "elsewhere/copy", Recipe(), ["mask"])
    assert again.digest == first.digest
    lacking(data)
    changed = snapshot_training(tmp_path / "c/datasets/train", data, Recipe(), ["mask"])
    assert changed.digest != first.digest
    with pytest.raises(RecipeError, match="holds a study of other images than"):
        snapshot_training(tmp_path / "a/datasets/train", data, Recipe(), ["mask"], first.digest)
    kept = read_snapshot(tmp_path / "a/datasets/train")
    assert kept is not None
    assert kept.digest == first.digest


@pytest.mark.parametrize("changed", ["images/00.png", "masks/00.png"])
def test_a_file_that_changes_without_changing_size_is_noticed(
    make_dataset: MakeDataset, tmp_path: Path, changed: str
) -> None:
    data, target = make_dataset(), tmp_path / "out/datasets/train"
    with Image.open(data / changed) as picture:
        pixels = np.asarray(picture)
    Image.fromarray(pixels).save(data / changed, "BMP")
    before, first = (data / changed).stat(), snapshot_training(target, data, Recipe(), ["mask"])
    Image.fromarray(pixels[::-1]).save(data / changed, "BMP")
    assert (data / changed).stat().st_size == before.st_size
    with pytest.raises(RecipeError, match="holds a study of other images than"):
        snapshot_training(target, data, Recipe(), ["mask"], first.digest)


def test_a_study_that_an_earlier_version_began_goes_on(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Such a study knows its files by their sizes, and is not made anew."""
    data, target = make_dataset(), tmp_path / "out/datasets/train"
    snapshot_training(target, data, Recipe(), ["mask"])
    with Dataset.open(data) as dataset:
        then = digest_of(dataset, training_records(dataset), like="0123456789abcdef")
    write_snapshot(target, then, str(data), {})
    (target / "mark").touch()
    assert snapshot_training(target, data, Recipe(), ["mask"], then).digest == then
    assert (target / "mark").exists()
    with (data / "masks/00.png").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(RecipeError, match="holds a study of other images than"):
        snapshot_training(target, data, Recipe(), ["mask"], then)


def test_a_test_set_is_the_test_split_without_what_only_training_needs(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    found = snapshot_test(tmp_path / "out/tests/data", make_dataset())
    assert found.facts == {"images": 6, "tampered": 4, "authentic": 2, "left_out": 0, "mended": 0}
    with Dataset.open(found.folder) as dataset:
        assert all(not record.boxes and record.pseudo is None for record in dataset.records())


def test_folders_of_the_field_are_test_sets(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    for part, source in (("Tp", "images"), ("Gt", "masks")):
        (tmp_path / "field" / part).mkdir(parents=True)
        for name in ("00.png", "01.png"):
            shutil.copy(data / source / name, tmp_path / "field" / part)
    found = snapshot_test(tmp_path / "out/tests/field", tmp_path / "field")
    assert found.facts == {"images": 2, "tampered": 2, "authentic": 0, "left_out": 0, "mended": 0}
    elsewhere = snapshot_test(tmp_path / "other/deeper/tests/field", tmp_path / "field")
    assert elsewhere.digest == found.digest


def test_images_of_a_test_set_that_do_not_fit_leave_a_trace(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    for part, source in (("Tp", "images"), ("Gt", "masks")):
        (tmp_path / "field" / part).mkdir(parents=True)
        for name in ("00.png", "01.png"):
            shutil.copy(data / source / name, tmp_path / "field" / part)
    mask = tmp_path / "field" / "Gt" / "01.png"
    with Image.open(mask) as picture:
        picture.resize((picture.width // 2, picture.height // 2)).save(mask)
    skipped = snapshot_test(tmp_path / "skipped/tests/field", tmp_path / "field", on_mismatch="skip")
    assert (skipped.facts["tampered"], skipped.facts["left_out"], skipped.facts["mended"]) == (1, 1, 0)
    mended = snapshot_test(tmp_path / "mended/tests/field", tmp_path / "field", on_mismatch="resize")
    assert (mended.facts["tampered"], mended.facts["left_out"], mended.facts["mended"]) == (2, 0, 1)


def test_nothing_to_train_or_test_on_is_said(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    with Dataset.open(data) as dataset:
        dataset.put([replace(r, mask=None) for r in dataset.records()])
    with pytest.raises(DatasetError, match="no tampered image with a true mask to test on"):
        snapshot_test(tmp_path / "tests/x", data)
    with pytest.raises(DatasetError, match="true mask"):
        snapshot_training(tmp_path / "datasets/x", data, Recipe(), SUPERVISIONS)
