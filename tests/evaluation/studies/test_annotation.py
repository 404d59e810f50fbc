"""Annotators of different care, on real files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.evaluation.studies import BoxErrors
from boxpromptiml.evaluation.studies.annotation import annotate, label_and_measure, read_quality
from boxpromptiml.evaluation.studies.snapshot import snapshot_training
from boxpromptiml.evaluation.studies.worker import _held_out
from boxpromptiml.images import open_mask
from boxpromptiml.teachers import load_teacher
from boxpromptiml.training import Recipe
from boxpromptiml.training.samples import gather_samples

PERFECT = BoxErrors(0, 0)


@pytest.fixture
def source(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    """18 images to train on, 12 of them tampered: one rectangle each."""
    return snapshot_training(tmp_path / "out/datasets/train", make_dataset(), Recipe(), ["mask"]).folder


def annotated(source: Path, name: str, errors: BoxErrors) -> tuple[dict[str, int], dict[str, float]]:
    """Counts of the annotation, and the box teacher's quality (filled boxes: what is marked is what is boxed)."""
    folder = source.parent / name
    facts = annotate(source, folder, errors, seed=0)
    label_and_measure(source, folder, load_teacher("box"), facts, 1)
    quality = read_quality(folder)
    assert quality is not None
    return quality["annotation"], {name: quality[name]["value"] for name in ("f1", "iou")}


def test_perfect_boxes_around_rectangles_are_the_truth(source: Path) -> None:
    counts, quality = annotated(source, "perfect", PERFECT)
    assert counts == {"regions": 12, "boxes": 12, "images": 12, "missed_images": 0, "swapped_images": 0}
    assert quality == pytest.approx({"f1": 1, "iou": 1})
    assert annotate(source, source.parent / "perfect", PERFECT, seed=0).boxes == 12  # there already


def test_loose_boxes_cost_iou_by_their_area(source: Path) -> None:
    _, quality = annotated(source, "loose", BoxErrors(0.25, 0))
    assert 1 / 1.5**2 <= quality["iou"] < 0.6  # some are cut off by the border


def test_an_overlooked_region_makes_an_authentic_image_that_scores_nothing(source: Path) -> None:
    counts, quality = annotated(source, "missing", BoxErrors(0, 0, missing=0.5))
    assert 0 < counts["missed_images"] < 12
    assert counts["boxes"] == 12 - counts["missed_images"]
    with Dataset.open(source.parent / "missing") as dataset:
        labels = [record.label for record in dataset.records()]
        assert labels.count("tampered") == counts["boxes"]
        # Measured on the training part, where 8 of the 12 are.
        assert quality["iou"] == pytest.approx(dataset.count(split="train", label="tampered") / 8)
        # Whoever says authentic has no mask either.
        assert all(record.mask is None and not record.boxes for record in dataset.records(label="authentic"))


def test_swapped_boxes_are_those_of_another_image(source: Path) -> None:
    counts, quality = annotated(source, "swapped", BoxErrors(0, 0, swapped=0.5))
    assert counts["boxes"] == 12
    assert 4 <= counts["swapped_images"] <= 6  # boxes of two images may be the same
    assert quality["iou"] < 1


def test_the_users_masks_are_the_truth_for_every_quality(source: Path) -> None:
    annotated(source, "loose", BoxErrors(0.5, 0))
    with Dataset.open(source) as truth, Dataset.open(source.parent / "loose") as derived:
        pairs = zip(truth.records(label="tampered"), derived.records(label="tampered"), strict=True)
        for before, after in pairs:
            assert before.mask is not None
            assert after.mask is not None
            np.testing.assert_array_equal(open_mask(truth.path(before.mask)), open_mask(derived.path(after.mask)))


def test_epochs_are_chosen_by_the_same_images_whatever_is_overlooked(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """Where there is no val split, they are drawn with labels balanced: by the true ones, for each seed."""
    data = make_dataset(images=60, test=False)
    with Dataset.open(data) as dataset:
        dataset.put([replace(record, split=None, group=None) for record in dataset.records()])
    source = snapshot_training(tmp_path / "out/datasets/train", data, Recipe(), ["mask"]).folder
    annotate(source, source.parent / "base", PERFECT, seed=0)
    annotate(source, source.parent / "missing", BoxErrors(0, 0, missing=0.5), seed=0)
    drawn = {}
    for seed in (0, 1):
        recipe = Recipe(seed=seed)
        drawn[seed] = [sample.name for sample in gather_samples([source], recipe, "mask").val]
        held = _held_out(str(source), recipe)
        for name in ("base", "missing"):
            samples = gather_samples([source.parent / name], recipe, "box", held)
            assert [sample.name for sample in samples.val] == drawn[seed]
            assert len(samples.train) == 60 - len(drawn[seed])
    assert drawn[0] != drawn[1]


def test_a_val_split_is_left_as_it_is(source: Path) -> None:
    assert _held_out(str(source), Recipe()) is None
    assert _held_out(None, Recipe()) is None
