from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from boxpromptiml.metrics import boundary, boundary_f1, dilate, erode

masks = arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))
CROSS = ndimage.generate_binary_structure(2, 1)


@given(masks, st.sampled_from([1, 3, 11, 15, 31]))
def test_windows_are_those_of_scipys_filters(mask: np.ndarray, size: int) -> None:
    np.testing.assert_array_equal(dilate(mask, size), ndimage.maximum_filter(mask, size))
    np.testing.assert_array_equal(erode(mask, size), ndimage.minimum_filter(mask, size))


@given(masks)
def test_a_boundary_is_what_an_erosion_takes_away(mask: np.ndarray) -> None:
    kept = ndimage.binary_erosion(mask, CROSS, border_value=1)  # the image's border is no boundary
    np.testing.assert_array_equal(boundary(mask), mask & ~kept)


def by_distances(prediction: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    """The definition, by Euclidean distance transforms."""
    found, true = boundary(prediction), boundary(truth)
    if not true.any():
        return math.nan
    if not found.any():
        return 0.0
    limit = tolerance * math.hypot(*truth.shape)
    precision = np.mean(ndimage.distance_transform_edt(~true)[found] <= limit)
    recall = np.mean(ndimage.distance_transform_edt(~found)[true] <= limit)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@settings(max_examples=300)
@given(
    masks.flatmap(lambda a: st.tuples(st.just(a), arrays(bool, a.shape))), st.sampled_from([0, 0.0075, 0.05, 0.1, 0.3])
)
def test_boundary_f1_is_the_one_by_distances(pair: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
    expected = by_distances(*pair, tolerance)
    assert boundary_f1(*pair, tolerance) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("shape", "apart"), [((10, 10), (3, 3)), ((20, 20), (6, 6)), ((20, 30), (6, 9)), ((12, 34), (6, 9))]
)
def test_a_pixel_right_on_the_circle_counts_as_its_distance_says(
    shape: tuple[int, int], apart: tuple[int, int]
) -> None:
    """0.3 diagonals of 20 x 20 pixels are the root of 72, the distance of a pixel that is 6 away both ways."""
    prediction, truth = np.zeros(shape, bool), np.zeros(shape, bool)
    prediction[0, 0] = truth[apart] = True
    assert math.hypot(*apart) == pytest.approx(0.3 * math.hypot(*shape), rel=1e-15)
    assert boundary_f1(prediction, truth, 0.3) == by_distances(prediction, truth, 0.3)


@pytest.mark.parametrize("share", [0.002, 0.3])  # few boundary pixels are looked up one by one, many by windows first
def test_boundary_f1_of_larger_masks(share: float) -> None:
    rng = np.random.default_rng(0)
    truth = ndimage.binary_dilation(rng.random((203, 311)) < 0.0005, iterations=12)
    prediction = rng.random(truth.shape) < share
    for tolerance in (0.0075, 0.03):
        for pair in ((prediction, truth), (truth, prediction)):
            assert boundary_f1(*pair, tolerance) == pytest.approx(by_distances(*pair, tolerance), abs=1e-12)


SQUARE = np.zeros((100, 100), bool)
SQUARE[40:60, 40:60] = True  # diagonal 141: the tolerance is 1.06 pixels


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (SQUARE, SQUARE, 1.0),
        (np.roll(SQUARE, 1, axis=0), SQUARE, 1.0),  # within the tolerance
        (np.roll(SQUARE, 30, axis=0), SQUARE, 0.0),
        (np.zeros_like(SQUARE), SQUARE, 0.0),
        (np.ones_like(SQUARE), SQUARE, 0.0),  # no boundary inside the image
        (SQUARE, np.zeros_like(SQUARE), math.nan),
        (SQUARE, np.ones_like(SQUARE), math.nan),
        (np.zeros_like(SQUARE), np.zeros_like(SQUARE), math.nan),
    ],
)
def test_cases_by_hand(prediction: np.ndarray, truth: np.ndarray, expected: float) -> None:
    assert boundary_f1(prediction, truth) == pytest.approx(expected, nan_ok=True)


def test_only_the_boundary_near_the_truths_counts() -> None:
    prediction = SQUARE.copy()
    prediction[50, 50] = False  # a hole: the 4 pixels around it, of 76 + 4, are far from the truth's boundary
    precision, recall = 76 / 80, 1.0
    assert boundary_f1(prediction, SQUARE) == pytest.approx(2 * precision * recall / (precision + recall))


def test_one_pixel() -> None:
    one = np.zeros((1, 5), bool)
    one[0, 2] = True
    assert boundary_f1(one, one) == 1.0
    assert math.isnan(boundary_f1(np.ones((1, 1), bool), np.ones((1, 1), bool)))


def test_masks_must_be_pictures_of_one_size() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        boundary_f1(SQUARE, SQUARE[1:])
    with pytest.raises(ValueError, match="two dimensions, got 1"):
        boundary_f1(SQUARE[0], SQUARE[0])
