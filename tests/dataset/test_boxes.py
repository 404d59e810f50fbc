from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.boxes import boxes_for, derive_boxes, image_rng
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.regions import Box


@pytest.fixture
def masked(dataset: Dataset, save: Callable[..., Path], blob: Callable[..., np.ndarray]) -> Dataset:
    """Three tampered images with masks, one of them empty, and an authentic one."""
    for name, mask in (("a", blob((10, 5, 20, 15))), ("b", blob((0, 0, 8, 8)) | blob((30, 20, 38, 28))), ("e", None)):
        save(dataset.root / f"Gt/{name}.png", np.zeros((30, 40), np.uint8) if mask is None else mask)
        dataset.put(ImageRecord(f"Tp/{name}.jpg", 40, 30, label="tampered", mask=f"Gt/{name}.png", split="train"))
    dataset.put(ImageRecord("Au/z.jpg", 40, 30, label="authentic"))
    return dataset


@pytest.mark.parametrize(
    ("loosen", "expected"),
    [(0.0, (10, 5, 20, 15)), (0.1, (9, 4, 21, 16)), (0.25, (7, 2, 23, 18)), (9.0, (0, 0, 40, 30))],
)
def test_boxes_are_loosened_and_stay_inside(
    blob: Callable[..., np.ndarray], loosen: float, expected: tuple[int, int, int, int]
) -> None:
    assert boxes_for(blob(), loosen, 0.0, np.random.default_rng(0)) == (Box(*expected),)


def test_only_what_is_above_127_counts(blob: Callable[..., np.ndarray]) -> None:
    mask = np.where(blob((10, 5, 20, 15)) > 0, 128, 127).astype(np.uint8)
    assert boxes_for(mask, 0.0, 0.0, np.random.default_rng(0)) == (Box(10, 5, 20, 15),)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 2), st.floats(0, 2), st.integers(0, 39), st.integers(0, 29))
def test_boxes_are_always_inside_the_image(seed: int, loosen: float, jitter: float, x: int, y: int) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[y:, x:] = 255
    for box in boxes_for(mask, loosen, jitter, np.random.default_rng(seed)):
        assert box.is_inside(40, 30)


def test_every_mask_gets_boxes(masked: Dataset) -> None:
    summary = derive_boxes(masked, loosen=0.0, jitter=0.0)
    assert masked.get("Tp/a.jpg").boxes == (Box(10, 5, 20, 15),)
    assert masked.get("Tp/b.jpg").boxes == (Box(0, 0, 8, 8), Box(30, 20, 38, 28))
    assert (summary.images, summary.boxes, summary.without_mask, summary.empty) == (2, 3, 1, ("Tp/e.jpg",))
    assert summary.area_ratio == pytest.approx(1.0)


def test_the_jitter_of_an_image_depends_on_seed_and_name_alone(masked: Dataset) -> None:
    derive_boxes(masked, jitter=0.2, seed=1)
    alone = masked.get("Tp/b.jpg").boxes
    mask = np.zeros((30, 40), np.uint8)
    mask[0:8, 0:8] = mask[20:28, 30:38] = 255
    assert boxes_for(mask, 0.1, 0.2, image_rng(1, "elsewhere/b.jpg")) == alone
    derive_boxes(masked, jitter=0.2, seed=2, overwrite=True)
    assert masked.get("Tp/b.jpg").boxes != alone


def test_boxes_of_people_are_kept_unless_told_otherwise(masked: Dataset) -> None:
    drawn = masked.set_boxes("Tp/a.jpg", [Box(1, 1, 2, 2)], seconds=7.5)
    seen = masked.set_boxes("Tp/b.jpg", [], seconds=3.0)  # somebody looked and found nothing to box
    assert derive_boxes(masked).kept == 2
    assert (masked.get("Tp/a.jpg"), masked.get("Tp/b.jpg")) == (drawn, seen)
    assert derive_boxes(masked, overwrite=True).images == 2
    assert masked.get("Tp/a.jpg").boxes != drawn.boxes
    assert masked.get("Tp/a.jpg").seconds is None


def test_a_second_run_changes_nothing(masked: Dataset) -> None:
    derive_boxes(masked)
    before = list(masked.records())
    summary = derive_boxes(masked)
    assert (summary.images, summary.kept, list(masked.records())) == (0, 2, before)


def test_one_split_only(masked: Dataset) -> None:
    masked.set_splits({"Tp/b.jpg": "test"})
    derive_boxes(masked, split="test")
    assert [record.image for record in masked.records(annotated=True)] == ["Tp/b.jpg"]


@pytest.mark.parametrize("wrong", [{"loosen": -0.1}, {"jitter": -0.1}, {"jitter": float("nan")}, {"seed": -1}])
def test_settings_out_of_range(masked: Dataset, wrong: dict[str, float]) -> None:
    with pytest.raises(DatasetError, match=f"{next(iter(wrong))} must be 0 or more"):
        derive_boxes(masked, **wrong)  # type: ignore[arg-type]


def test_masks_that_do_not_fit(masked: Dataset) -> None:
    masked.put(replace(masked.get("Tp/a.jpg"), width=41))
    with pytest.raises(DatasetError, match=r"a\.png: mask of 40 x 30 pixels for an image of 41 x 30"):
        derive_boxes(masked)
    masked.put(replace(masked.get("Tp/a.jpg"), mask="Gt/gone.png"))
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        derive_boxes(masked)
