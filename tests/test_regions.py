"""Geometry: half-open boxes in absolute pixels, and the regions of masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from boxpromptiml import rle
from boxpromptiml.regions import (
    Box,
    Component,
    box_iou,
    boxes_from_mask,
    component_runs,
    connected_components,
    filled_boxes,
    jittered,
    loosened,
    mask_box,
    union_box,
)

WIDTH, HEIGHT = 40, 30


@st.composite
def boxes(draw: st.DrawFn, width: int = WIDTH, height: int = HEIGHT) -> Box:
    x0 = draw(st.integers(0, width - 1))
    y0 = draw(st.integers(0, height - 1))
    return Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


masks = st.tuples(st.integers(1, 18), st.integers(1, 18)).flatmap(lambda shape: arrays(bool, shape))


def test_a_box_is_half_open() -> None:
    box = Box(2, 1, 5, 3)

    assert (box.width, box.height, box.area) == (3, 2, 6)
    assert np.ones((10, 10))[box.slices].shape == (2, 3)
    assert Box(5, 1, 2, 3).area == 0


@pytest.mark.parametrize(
    ("box", "inside", "clipped"),
    [
        (Box(0, 0, 40, 30), True, Box(0, 0, 40, 30)),
        (Box(39, 29, 40, 30), True, Box(39, 29, 40, 30)),
        (Box(0, 0, 41, 30), False, Box(0, 0, 40, 30)),
        (Box(-1, 0, 5, 5), False, Box(0, 0, 5, 5)),
        (Box(3, 3, 3, 9), False, Box(3, 3, 3, 9)),
        (Box(50, 50, 60, 60), False, Box(40, 30, 40, 30)),
    ],
)
def test_inside_and_clipped(box: Box, inside: bool, clipped: Box) -> None:
    assert box.is_inside(WIDTH, HEIGHT) is inside
    assert box.clipped(WIDTH, HEIGHT) == clipped


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        (Box(0, 0, 4, 4), Box(0, 0, 4, 4), 1.0),
        (Box(0, 0, 4, 4), Box(4, 0, 8, 4), 0.0),
        (Box(0, 0, 4, 4), Box(2, 0, 6, 4), 8 / 24),
        (Box(0, 0, 4, 4), Box(1, 1, 3, 3), 4 / 16),
        (Box(1, 1, 1, 1), Box(1, 1, 1, 1), 0.0),
    ],
)
def test_box_iou(a: Box, b: Box, iou: float) -> None:
    assert box_iou(a, b) == pytest.approx(iou)


@given(boxes(), boxes())
def test_box_iou_counts_pixels(a: Box, b: Box) -> None:
    first, second = filled_boxes([a], WIDTH, HEIGHT), filled_boxes([b], WIDTH, HEIGHT)

    assert box_iou(a, b) == box_iou(b, a) == pytest.approx((first & second).sum() / (first | second).sum())


@given(st.lists(boxes(), min_size=1, max_size=5))
def test_union_box_is_the_box_of_the_filled_boxes(many: list[Box]) -> None:
    assert union_box(many) == mask_box(filled_boxes(many, WIDTH, HEIGHT))


def test_union_of_no_boxes_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one box"):
        union_box([])


def test_filled_boxes_clips() -> None:
    assert filled_boxes([Box(-5, -5, 2, 1), Box(39, 29, 99, 99)], WIDTH, HEIGHT).sum() == 3


def test_an_empty_mask_has_no_box() -> None:
    assert mask_box(np.zeros((4, 5), bool)) is None
    assert connected_components(np.zeros((4, 5), bool)) == []
    assert connected_components(np.zeros((0, 5), bool)) == []
    assert boxes_from_mask(np.zeros((4, 5), bool)) == []


def reference_components(mask: NDArray[np.bool_]) -> list[tuple[Box, int]]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return sorted((Box(x, y, x + w, y + h), area) for x, y, w, h, area in (map(int, stats[i]) for i in range(1, count)))


@settings(max_examples=400, deadline=None)
@given(masks)
def test_components_are_those_of_opencv_and_scipy(mask: NDArray[np.bool_]) -> None:
    found = connected_components(mask)

    assert sorted((c.box, c.area) for c in found) == reference_components(mask)
    assert len(found) == ndimage.label(mask, structure=np.ones((3, 3)))[1]
    assert [c.area for c in found] == sorted((c.area for c in found), reverse=True)


@pytest.mark.parametrize("density", [0.01, 0.2, 0.4, 0.5, 0.6, 0.99])
def test_components_of_large_noisy_masks(density: float) -> None:
    mask = np.random.default_rng(1).random((301, 257)) < density

    assert sorted((c.box, c.area) for c in connected_components(mask)) == reference_components(mask)


def test_a_spiral_is_one_region() -> None:
    """The case that needs the most rounds of joining."""
    mask = np.zeros((101, 101), bool)
    for ring in range(0, 50, 2):
        mask[ring, ring : 101 - ring] = mask[100 - ring, ring : 101 - ring] = True
        mask[ring : 101 - ring, 100 - ring] = mask[ring + 2 : 101 - ring, ring] = True
        mask[ring + 2, ring : ring + 2] = True

    assert [c.area for c in connected_components(mask)] == [a for _, a in reference_components(mask)] == [mask.sum()]


@settings(deadline=None)
@given(masks)
def test_the_runs_of_a_region_are_its_pixels(mask: NDArray[np.bool_]) -> None:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    height, width = mask.shape
    truth = {rle.encode(labels == i)["counts"] for i in range(1, count + 1)}

    regions = component_runs(mask)

    assert {rle.from_runs(starts, ends, height, width)["counts"] for _, starts, ends in regions} == truth
    for component, starts, ends in regions:
        pixels = rle.decode(rle.from_runs(starts, ends, height, width))
        assert component == Component(mask_box(pixels), int(pixels.sum()))


def test_masks_of_any_type_will_do() -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[1:3, 2:5] = 255

    for values in (mask, mask.astype(bool), mask.astype(np.float32) / 255):
        assert connected_components(values) == [Component(Box(2, 1, 5, 3), 6)]


def test_specks_join_the_nearest_region() -> None:
    mask = np.zeros((100, 100), bool)
    mask[10:40, 10:40] = True
    mask[60:90, 60:90] = True
    mask[42:44, 20:22] = True  # below the first
    mask[95, 75] = True  # below the second

    assert boxes_from_mask(mask) == [Box(10, 10, 40, 44), Box(60, 60, 90, 96)]


def test_nothing_but_specks_is_one_box() -> None:
    mask = np.zeros((50, 50), bool)
    mask[5, 5] = mask[40, 45] = True

    assert boxes_from_mask(mask) == [Box(5, 5, 46, 41)]


@given(masks)
@settings(deadline=None)
def test_every_tampered_pixel_is_in_a_box(mask: NDArray[np.bool_]) -> None:
    height, width = mask.shape
    found = boxes_from_mask(mask)

    assert not (mask & ~filled_boxes(found, width, height)).any()
    assert found == sorted(found, key=lambda b: (b.y0, b.x0))
    assert all(box.is_inside(width, height) for box in found)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0.0, Box(10, 10, 20, 15)), (0.1, Box(9, 9, 21, 16)), (0.5, Box(5, 7, 25, 18)), (9.0, Box(0, 0, 40, 30))],
)
def test_loosened_rounds_outward_and_clips(amount: float, expected: Box) -> None:
    assert loosened(Box(10, 10, 20, 15), amount, WIDTH, HEIGHT) == expected


@given(boxes(), st.floats(0, 3))
def test_a_loosened_box_contains_the_box(box: Box, amount: float) -> None:
    loose = loosened(box, amount, WIDTH, HEIGHT)

    assert union_box([box, loose]) == loose
    assert loose.is_inside(WIDTH, HEIGHT)


@given(boxes(), st.floats(0, 5), st.integers(0, 2**32 - 1))
def test_a_jittered_box_is_never_empty_nor_outside(box: Box, amount: float, seed: int) -> None:
    moved = jittered(box, amount, WIDTH, HEIGHT, np.random.default_rng(seed))

    assert moved.is_inside(WIDTH, HEIGHT)
    assert moved == jittered(box, amount, WIDTH, HEIGHT, np.random.default_rng(seed))
    assert all(type(side) is int for side in moved)


def test_jitter_has_the_deviation_asked_for() -> None:
    rng = np.random.default_rng(0)
    sides = np.array([jittered(Box(400, 300, 600, 400), 0.05, 1000, 700, rng) for _ in range(4000)])

    np.testing.assert_allclose(sides.mean(axis=0), [400, 300, 600, 400], atol=1)
    np.testing.assert_allclose(sides.std(axis=0), [10, 5, 10, 5], rtol=0.08)


@pytest.mark.parametrize("amount", [-0.1, -1e-9])
def test_negative_amounts_are_errors(amount: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        loosened(Box(0, 0, 1, 1), amount, 9, 9)
    with pytest.raises(ValueError, match="must not be negative"):
        jittered(Box(0, 0, 1, 1), amount, 9, 9, np.random.default_rng(0))
