from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.dataset.boxes import boxes_for, derive_boxes, image_rng, rescaled, swapped_boxes
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


def test_what_a_person_skipped_is_kept_unless_told_otherwise(masked: Dataset) -> None:
    skipped = masked.annotate("Tp/a.jpg", boxes=[], label="tampered", skipped=True, expected_version=1)
    assert (derive_boxes(masked).kept, masked.get("Tp/a.jpg")) == (1, skipped)
    derive_boxes(masked, overwrite=True)
    assert masked.get("Tp/a.jpg").state == "boxed"


def test_a_verdict_stays_with_the_mask(masked: Dataset) -> None:
    derive_boxes(masked)
    masked.put([replace(record, pseudo=PseudoMask("p", "t"), review="accepted") for record in masked.records()])
    derive_boxes(masked, seed=1, overwrite=True)
    assert {record.review for record in masked.records() if record.boxes} == {"accepted"}


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


two_regions = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(20, 30), st.integers(14, 20))


def mask_with(x: int, y: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((30, 40), np.uint8)
    mask[y : y + 6, x : x + 8] = 255
    mask[y2 : y2 + 8, x2 : x2 + 8] = 255
    return mask


@given(two_regions, st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_who_overlooks_more_sees_some_of_the_same_boxes(
    places: tuple[int, int, int, int], seed: int, some: float, more: float, jitter: float
) -> None:
    some, more = sorted((some, more))
    seen = {
        share: boxes_for(mask_with(*places), 0.1, jitter, np.random.default_rng(seed), missing=share)
        for share in (0.0, some, more, 1.0)
    }
    assert set(seen[more]) <= set(seen[some]) <= set(seen[0.0])
    assert seen[0.0] == boxes_for(mask_with(*places), 0.1, jitter, np.random.default_rng(seed))
    assert seen[1.0] == ()


def test_the_share_of_overlooked_regions_is_what_was_asked_for() -> None:
    mask = mask_with(2, 2, 22, 16)
    found = sum(len(boxes_for(mask, 0, 0, image_rng(0, f"{i}.png"), missing=0.3)) for i in range(500))
    assert found / 1000 == pytest.approx(0.7, abs=0.05)


sizes = st.tuples(st.integers(1, 500), st.integers(1, 500))


@given(st.data(), sizes, sizes)
def test_rescaled_boxes_stay_boxes_and_cover_the_same_part(
    data: st.DataObject, size: tuple[int, int], other: tuple[int, int]
) -> None:
    x0, y0 = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    box = Box(x0, y0, data.draw(st.integers(x0 + 1, size[0])), data.draw(st.integers(y0 + 1, size[1])))
    (moved,) = rescaled([box], size, other)
    assert moved.is_inside(*other)
    for here, there, before, after in zip(box, moved, size * 2, other * 2, strict=True):
        assert abs(here / before - there / after) < 1 / after + 1e-9
    assert rescaled([box], size, size) == (box,)


def drawn(number: int) -> list[ImageRecord]:
    """Images of different sizes, each with a box of its own; every fourth has none."""
    return [
        ImageRecord(f"{i}.png", 40 + i, 30 + i, label="tampered", boxes=(Box(i, i, i + 5, i + 7),) if i % 4 else ())
        for i in range(number)
    ]


@given(st.integers(0, 20), st.floats(0, 1), st.integers(0, 1000))
def test_swapped_boxes_come_from_another_image(number: int, share: float, seed: int) -> None:
    records = drawn(number)
    with_boxes = sum(bool(record.boxes) for record in records)
    swapped = swapped_boxes(records, share, seed)
    changed = [i for i, (a, b) in enumerate(zip(records, swapped, strict=True)) if a != b]
    expected = round(share * with_boxes) if with_boxes > 1 else 0
    assert len(changed) == expected
    for i in changed:
        own = swapped[i]
        scaled = [
            rescaled(r.boxes, (r.width, r.height), (own.width, own.height)) for r in records if r is not records[i]
        ]
        assert own.boxes in scaled
    assert [replace(r, boxes=()) for r in swapped] == [replace(r, boxes=()) for r in records]


@given(st.floats(0, 1), st.floats(0, 1))
def test_who_swaps_more_swaps_the_same_images_and_others(some: float, more: float) -> None:
    some, more = sorted((some, more))
    records = drawn(16)

    def changed(share: float) -> set[str]:
        return {a.image for a, b in zip(records, swapped_boxes(records, share, 0), strict=True) if a != b}

    assert changed(some) <= changed(more)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        swapped_boxes(drawn(3), share, 0)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        boxes_for(mask_with(0, 0, 20, 14), 0, 0, np.random.default_rng(0), missing=share)
