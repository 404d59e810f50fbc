"""Pseudo masks against true masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError
from boxpromptiml.images import open_mask, save_png
from boxpromptiml.pseudolabels import agreement_with_truth, pseudo_label
from boxpromptiml.regions import Box
from boxpromptiml.teachers import load_teacher

MakeDataset = Callable[..., Dataset]


def test_numbers_by_hand(make_dataset: MakeDataset) -> None:
    with make_dataset(2) as dataset:
        area = int((open_mask(dataset.path("masks/disc.png")) > 127).sum())
        dataset.set_boxes("images/001.png", [Box(60, 0, 80, 20)])  # beside the disc
        pseudo_label(dataset, load_teacher("box"))
        agreement = agreement_with_truth(dataset)
        good, bad = agreement.images
        assert good.iou == pytest.approx(area / 900)
        assert good.f1 == pytest.approx(2 * area / (area + 900))
        assert (bad.f1, bad.iou) == (0.0, 0.0)
        assert agreement.f1 == pytest.approx(good.f1 / 2)
        assert [image.image for image in agreement.worst(1)] == ["images/001.png"]
        assert agreement.groups()["flag"]["none"][0] == 2
        assert list(agreement.groups()["size"]) == ["5-15 %"]
        assert agreement.to_json(1)["worst"][0]["image"] == "images/001.png"


def test_images_without_either_mask_are_counted(make_dataset: MakeDataset) -> None:
    with make_dataset(3) as dataset:
        pseudo_label(dataset, load_teacher("box"), limit=1)
        agreement = agreement_with_truth(dataset)
        assert (len(agreement.images), agreement.skipped) == (1, 2)


def test_nothing_to_compare_says_what_to_do(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset, pytest.raises(DatasetError, match="boxpromptiml pseudo-label"):
        agreement_with_truth(dataset)


def test_masks_of_another_size_are_reported(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        pseudo_label(dataset, load_teacher("box"))
        save_png(dataset.path("masks/disc.png"), np.zeros((6, 8), dtype=np.uint8))
        agreement = agreement_with_truth(dataset)
        assert agreement.images == []
        assert "differ in size (80 x 60 and 8 x 6)" in agreement.failed[0][1]
