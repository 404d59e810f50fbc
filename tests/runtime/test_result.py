"""Score, native mask and regions from a map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxpromptiml import rle
from boxpromptiml.copymove import Copy
from boxpromptiml.model_config import DecisionRule
from boxpromptiml.preprocessing import resize_map, resize_nearest
from boxpromptiml.runtime import image_score, native_mask
from boxpromptiml.runtime import result as result_module
from boxpromptiml.runtime.result import describe_copy, find_regions
from boxpromptiml.scaling import Scaling


@pytest.mark.parametrize(
    ("values", "fraction", "score"),
    [
        ([0.1, 0.2, 0.9, 0.7], 0.5, 0.8),
        ([0.1, 0.2, 0.9, 0.7], 0.25, 0.9),
        ([0.1, 0.2, 0.9, 0.7], 0.0001, 0.9),  # at least one pixel
        ([0.1, 0.2, 0.9, 0.7], 1.0, 0.475),
        ([0.5, 0.5, 0.5, 0.5], 0.5, 0.5),
    ],
)
def test_image_score(values: list[float], fraction: float, score: float) -> None:
    assert image_score(
        np.array(values, np.float32).reshape(2, 2), DecisionRule(score_fraction=fraction)
    ) == pytest.approx(score)


def blobs(seed: int, rows: int, columns: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((max(1, rows // 4), max(1, columns // 4))).astype(np.float32)
    return resize_map(coarse, rows, columns)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    grid=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.95, 1.0]),
    strip=st.sampled_from([1, 50, 1 << 20]),
)
def test_the_native_mask_is_the_resized_map_above_the_threshold(
    seed: int, grid: tuple[int, int], size: tuple[int, int], threshold: float, strip: int
) -> None:
    values = blobs(seed, *grid)
    resized = resize_map(values, *size)
    before = result_module._STRIP_PIXELS
    result_module._STRIP_PIXELS = strip
    try:
        mask = native_mask(values, threshold, *size)
    finally:
        result_module._STRIP_PIXELS = before

    # The last bit of a float may differ between strips and the whole.
    sure = np.abs(resized - threshold) > 1e-6
    np.testing.assert_array_equal(mask[sure], (resized > threshold)[sure])


def test_a_small_spot_in_a_large_image() -> None:
    values = np.zeros((56, 56), np.float32)
    values[20:23, 30:34] = 1

    mask = native_mask(values, 0.5, 1500, 2000)

    np.testing.assert_array_equal(mask, resize_map(values, 1500, 2000) > 0.5)


def test_regions_take_the_mean_of_the_cells_under_their_pixels() -> None:
    values = blobs(3, 16, 16)
    mask = native_mask(values, 0.6, 75, 90)
    nearest = resize_nearest(values, 75, 90)

    regions = find_regions(mask, values)

    assert len(regions) > 1
    for region in regions:
        pixels = rle.decode(region.rle)
        assert region.area == pixels.sum()
        assert region.score == pytest.approx(nearest[pixels].mean(), abs=1e-5)
    assert sum(region.area for region in regions) == mask.sum()


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        (DecisionRule(score_fraction=0.5), 0.8),
        (DecisionRule(score_fraction=0.5, score_scaling=Scaling(slope=2)), 0.64 / (0.64 + 0.04)),
        (DecisionRule(score_fraction=0.5, score_scaling=Scaling(bias=-np.log(4))), 0.5),
        # Odds 9 and 7/3: their geometric mean is what the mean of logits stands for.
        (DecisionRule(score_fraction=0.5, score_pooling="logit"), 21**0.5 / (21**0.5 + 1)),
        (DecisionRule(score_fraction=0.5, score_pooling="logit", score_scaling=Scaling(slope=2)), 21 / 22),
    ],
)
def test_scores_by_the_rule(rule: DecisionRule, score: float) -> None:
    assert image_score(np.array([[0.1, 0.2], [0.9, 0.7]], np.float32), rule) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("pooling", ["probability", "logit"])
def test_scores_of_extreme_maps_are_finite(pooling: str) -> None:
    rule = DecisionRule(score_pooling=pooling, score_scaling=Scaling(slope=1.5))  # type: ignore[arg-type]
    assert image_score(np.zeros((4, 4), np.float32), rule) == pytest.approx(0, abs=1e-6)
    assert image_score(np.ones((4, 4), np.float32), rule) == pytest.approx(1, abs=1e-6)


# Maps of a whole grid of 8 x 6 pixels onto itself, in OpenCV's coordinates: 0, 0 is the centre of the first pixel.
WHOLE_GRID = [
    ("as it is", [[1, 0, 0], [0, 1, 0]]),
    ("mirrored", [[-1, 0, 7], [0, 1, 0]]),
    ("turned by half", [[-1, 0, 7], [0, -1, 5]]),
    ("turned by a quarter and stretched", [[0, -8 / 6, 5 * 8 / 6 + 1 / 6], [6 / 8, 0, -1 / 8]]),
]


@pytest.mark.parametrize("matrix", [matrix for _, matrix in WHOLE_GRID], ids=[name for name, _ in WHOLE_GRID])
@pytest.mark.parametrize(("width", "height"), [(8, 6), (80, 60), (800, 1200), (4, 2)])
def test_a_copys_matrix_speaks_of_the_photos_own_pixels(matrix: list[list[float]], width: int, height: int) -> None:
    everything = np.ones((6, 8), bool)
    copy = Copy((everything, everything), np.array(matrix, np.float64), 1.0, 10)

    described = describe_copy(copy, np.zeros((6, 8), np.float32), width, height)

    # What turns the whole grid turns the whole photo: corners of the photo, half a pixel outside of the outermost
    # centres, go to corners.
    corners = np.array([[x, y] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)])
    moved = np.column_stack([corners, np.ones(4)]) @ np.array(described.matrix).T
    assert sorted(map(tuple, moved.round(6) + 0.0)) == sorted(map(tuple, corners))
