"""Which images are trained on, what they are taught, and what is said of the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.shards import write_shards
from boxpromptiml.training import Recipe, Supervision
from boxpromptiml.training.samples import gather_samples

MakeDataset = Callable[..., Path]


def change(folder: Path, image: str, **changes: object) -> None:
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get(image), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("supervision", "highest", "values"),
    [("pseudo", 229, 2), ("mask", 255, 2), ("box", 255, 2)],
)
def test_targets(make_dataset: MakeDataset, supervision: Supervision, highest: int, values: int) -> None:
    train = gather_samples([make_dataset()], Recipe(), supervision).train
    for sample in train:
        image, target = sample.load_for(PreprocessingSpec(height=48, width=64))
        assert image.shape == (48, 64, 3)
        assert target.dtype == np.uint8
        assert int(target.max()) == (highest if sample.tampered else 0)
        assert len(np.unique(target)) == (values if sample.tampered else 1)


def test_targets_are_shares_of_a_pixel_after_resizing(make_dataset: MakeDataset) -> None:
    sample = gather_samples([make_dataset()], Recipe(), "mask").train[0]
    _, large = sample.load_for(PreprocessingSpec(height=48, width=64))
    _, small = sample.load_for(PreprocessingSpec(height=32, width=32))
    assert small.mean() == pytest.approx(large.mean(), rel=0.02)


def test_what_cannot_be_used_is_named(make_dataset: MakeDataset) -> None:
    folder = make_dataset()
    change(folder, "images/00.png", pseudo=None)
    change(folder, "images/01.png", review="rejected")
    change(folder, "images/02.png", label=None)
    with Dataset.open(folder) as dataset:
        flagged = replace(dataset.get("images/03.png").pseudo, flags=(("empty",),))  # type: ignore[type-var]
    change(folder, "images/03.png", pseudo=flagged)
    samples = gather_samples([folder], Recipe(), "pseudo")
    assert {item.name: item.reason for item in samples.left_out} == {
        "images/00.png": "no pseudo mask",
        "images/01.png": "pseudo mask rejected in review",
        "images/02.png": "not labelled yet",
    }
    strict = gather_samples([folder], Recipe.model_validate({"data": {"skip_suspicious": True}}), "pseudo")
    assert strict.left_out_by_reason()["suspicious pseudo mask"] == 1
    assert samples.counts()["left_out"] == 3
    assert samples.teachers == ("grabcut",)


@pytest.mark.parametrize(
    ("supervision", "changes", "remedy"),
    [
        ("pseudo", {"pseudo": None}, "boxpromptiml pseudo-label"),
        ("mask", {"mask": None}, "--supervision pseudo"),
        ("box", {"boxes": ()}, "boxpromptiml boxes"),
    ],
)
def test_nothing_left_names_the_remedy(
    make_dataset: MakeDataset, supervision: Supervision, changes: dict[str, object], remedy: str
) -> None:
    folder = make_dataset(images=3)
    for image in ("images/00.png", "images/01.png"):
        change(folder, image, **changes)
    with pytest.raises(DatasetError, match="no tampered training image") as caught:
        gather_samples([folder], Recipe(), supervision)
    assert remedy in str(caught.value)


def test_validation_images_are_held_out_by_group(make_dataset: MakeDataset) -> None:
    folder = make_dataset(images=36, val=0, splits=False)
    recipe = Recipe.model_validate({"validation": {"fraction": 0.25}})
    samples = gather_samples([folder], recipe, "pseudo")
    assert samples.carved
    assert len(samples.train) + len(samples.val) == 36
    assert 6 <= len(samples.val) <= 12

    def group(name: str) -> int:
        return int(name[-6:-4]) // 2

    assert not {group(s.name) for s in samples.val} & {group(s.name) for s in samples.train}
    again = gather_samples([folder], recipe, "pseudo")
    assert [s.name for s in again.val] == [s.name for s in samples.val]
    with Dataset.open(folder) as dataset:
        assert dataset.count(split="val") == 0


def test_the_test_split_is_never_touched(make_dataset: MakeDataset) -> None:
    folder = make_dataset(images=12, val=3)
    change(folder, "images/00.png", split="test")
    samples = gather_samples([folder], Recipe(), "mask")
    assert "images/00.png" not in {s.name for s in [*samples.train, *samples.val]}


def test_authentic_images_can_be_limited(make_dataset: MakeDataset) -> None:
    folder = make_dataset(images=12)
    for ratio, left in ((None, 4), (0.25, 2), (0, 0)):
        recipe = Recipe.model_validate({"data": {"authentic_per_tampered": ratio}})
        assert gather_samples([folder], recipe, "mask").counts()["train_authentic"] == left


def test_missing_files_and_wrong_sizes_are_named(make_dataset: MakeDataset) -> None:
    folder = make_dataset()
    change(folder, "images/01.png", width=65)
    sample = gather_samples([folder], Recipe(), "mask").train[1]
    with pytest.raises(DatasetError, match=r"images/01.png: 64 x 48 pixels, the dataset says 65 x 48"):
        sample.load()
    (folder / "masks/00.png").unlink()
    with pytest.raises(DatasetError, match=r"masks/00.png: no such file"):
        gather_samples([folder], Recipe(), "mask")


def test_one_group_cannot_be_split(make_dataset: MakeDataset) -> None:
    folder = make_dataset(images=6, val=0, splits=False)
    for i in range(6):
        change(folder, f"images/{i:02d}.png", group="same")
    with pytest.raises(DatasetError, match=r"set validation.fraction=0 to do without"):
        gather_samples([folder], Recipe(), "mask")


@pytest.mark.parametrize(
    ("supervision", "changes"), [("pseudo", {"pseudo": None}), ("mask", {"mask": None}), ("box", {"boxes": ()})]
)
def test_what_shards_lack_is_made_in_the_dataset_that_they_were_written_from(
    make_dataset: MakeDataset, tmp_path: Path, supervision: Supervision, changes: dict[str, object]
) -> None:
    folder, shards = make_dataset(images=3), str(tmp_path / "shards")
    for image in ("images/00.png", "images/01.png"):
        change(folder, image, **changes)
    with Dataset.open(folder) as dataset:
        write_shards(dataset, shards)
    with pytest.raises(DatasetError, match=r"written from, then run  boxpromptiml shard  again") as caught:
        gather_samples([shards], Recipe(), supervision)
    assert "pseudo-label" not in str(caught.value)
    for image in ("images/00.png", "images/01.png", "images/02.png"):
        change(folder, image, split="test")
    with Dataset.open(folder) as dataset:
        write_shards(dataset, str(tmp_path / "tests"))
    with pytest.raises(DatasetError, match=r"no training images .*; assign them in the dataset that the shards were"):
        gather_samples([str(tmp_path / "tests")], Recipe(), supervision)


def test_the_remedy_is_for_the_dataset_that_lacks_something(make_dataset: MakeDataset) -> None:
    whole, folder = make_dataset("authentic", images=3), make_dataset("unlabelled", images=3)
    for image in ("images/00.png", "images/01.png"):
        change(whole, image, label="authentic", boxes=(), mask=None, pseudo=None)
        change(folder, image, pseudo=None)
    with pytest.raises(DatasetError, match=r"boxpromptiml pseudo-label .*unlabelled$"):
        gather_samples([whole, folder], Recipe(), "pseudo")
    (folder / "images/02.png").unlink()
    with pytest.raises(DatasetError, match=r"no such file; find out with  boxpromptiml validate .*unlabelled$"):
        gather_samples([whole, folder], Recipe(), "mask")


def test_a_dataset_that_is_given_twice_is_refused(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each copy would hold out images that the other one is trained on."""
    folder = make_dataset(images=12, val=0, splits=False)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for other in (folder, "dataset", "./dataset/", tmp_path / "link", f"file://{folder}"):
        with pytest.raises(DatasetError, match=r": is given twice; give each dataset once$"):
            gather_samples([folder, other], Recipe(), "mask")
    with pytest.raises(DatasetError, match=r"memory://store/shards/: is given twice"):
        gather_samples(["memory://store/shards", "memory://store/shards/"], Recipe(), "mask")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_file_that_is_trained_on_is_not_validated_with(
    make_dataset: MakeDataset, tmp_path: Path, sharded: bool
) -> None:
    """Two datasets may name the same files, or have the same shards, and hold out others of them."""
    folder, other = make_dataset(images=24, val=0, splits=False), tmp_path / "other"
    if sharded:
        with Dataset.open(folder) as dataset:
            write_shards(dataset, str(tmp_path / "shards"))
        folder = tmp_path / "shards"
        shutil.copytree(folder, other)
    else:
        with Dataset.open(folder) as dataset, Dataset.create(other) as copy:
            for record in dataset.records():
                image = copy.relative(dataset.path(record.image))
                mask = record.mask and copy.relative(dataset.path(record.mask))
                copy.put(replace(record, image=image, mask=mask, pseudo=None, version=0))
    with pytest.raises(
        DatasetError, match=r"images/\d\d.png: is to be validated with, and is the same file as"
    ) as caught:
        gather_samples([folder, other], Recipe(), "mask")
    assert "put both into the same split" in str(caught.value)
    recipe = Recipe.model_validate({"validation": {"fraction": 0}})
    assert len(gather_samples([folder, other], recipe, "mask").train) == 48  # nothing is validated with


def test_validation_images_can_be_given(make_dataset: MakeDataset) -> None:
    held = ["images/00.png", "images/02.png"]
    drawn = make_dataset("drawn", images=12, val=0, splits=False)
    samples = gather_samples([drawn], Recipe(), "mask", held)
    assert [sample.name for sample in samples.val] == held
    assert len(samples.train) == 10
    split = make_dataset("split", images=12, val=3)
    assert [s.name for s in gather_samples([split], Recipe(), "mask", held).val] == [
        f"images/{i}.png" for i in (12, 13, 14)
    ]
