"""Windows of images at their own size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.training.windows import fitted, middle_window, random_window, scaled

SPEC = PreprocessingSpec(fit="native", height=64, width=96, max_side=256)


def place(height: int, width: int) -> np.ndarray:
    """An image whose pixels tell where they were: row in red, column in green."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y % 256, x % 256, np.zeros_like(x)], axis=2).astype(np.uint8)


def spot(height: int, width: int, y: int, x: int) -> np.ndarray:
    target = np.zeros((height, width), dtype=np.float32)
    target[y, x] = 1
    return target


@given(
    height=st.integers(1, 250), width=st.integers(1, 250), seed=st.integers(0, 2**32 - 1), where=st.floats(0, 0.999999)
)
def test_a_window_begins_at_a_jpeg_block_and_covers_what_it_was_placed_over(
    height: int, width: int, seed: int, where: float
) -> None:
    y, x = int(where * height), int((where * 7 % 1) * width)
    image, target = place(height, width), spot(height, width, y, x)
    window, mask = random_window(image, target, SPEC, 1.0, np.random.default_rng(seed))
    assert window.shape == (64, 96, 3)
    assert mask.shape == (64, 96)
    assert window[0, 0, 0] % 8 == 0
    assert window[0, 0, 1] % 8 == 0
    # Image and target were cut at the same place, up to the last row and column.
    for row, column in zip(*np.nonzero(mask), strict=True):
        assert tuple(window[row, column, :2]) == (y, x)
    assert mask.any()


def test_without_hits_windows_lie_anywhere() -> None:
    rng = np.random.default_rng(0)
    image, target = place(200, 250), spot(200, 250, 199, 249)
    found = [random_window(image, target, SPEC, 0.0, rng)[1].any() for _ in range(50)]
    assert 0 <= sum(found) < 15


@pytest.mark.parametrize(("y", "x"), [(150, 200), (77, 83), (199, 249), (0, 0)])
def test_the_middle_window_lies_around_the_tampered_part_and_is_always_the_same(y: int, x: int) -> None:
    image, target = place(200, 250), spot(200, 250, y, x)
    window, mask = middle_window(image, target, SPEC)
    assert mask.any()
    assert (window[0, 0, :2] % 8 == 0).all()  # as in training: on JPEG's blocks
    assert np.array_equal(window, middle_window(image, target, SPEC)[0])


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(slice(0, 30), slice(0, 30)), (slice(170, 200), slice(220, 250))], id="two corners"),
        pytest.param([(slice(0, 5), slice(None)), (slice(195, 200), slice(None))], id="two edges"),
    ],
)
def test_between_two_regions_the_middle_window_takes_the_nearer_one(parts: list[tuple[slice, slice]]) -> None:
    """What calls an image tampered must be seen, or no student could be right about the window."""
    target = np.zeros((200, 250), dtype=np.float32)
    for part in parts:
        target[part] = 1
    assert middle_window(place(200, 250), target, SPEC)[1].any()


def test_the_middle_window_of_an_unsure_mask_lies_where_it_is_surest() -> None:
    target = np.zeros((200, 250), dtype=np.float32)
    target[10:40, 10:40], target[15:20, 15:20] = 0.2, 0.4
    assert middle_window(place(200, 250), target, SPEC)[1].max() == np.float32(0.4)


@pytest.mark.parametrize(
    ("size", "shown"),
    [((100, 200), (100, 200)), ((256, 256), (256, 256)), ((512, 1024), (128, 256)), ((600, 3), (256, 1))],
)
def test_images_are_fitted_as_deployment_fits_them(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image, target = fitted(place(*size), np.ones(size, np.float32), SPEC)
    assert image.shape[:2] == target.shape == shown
    fed = SPEC.feed(place(*size))
    assert (fed.rows, fed.columns) == shown
    assert np.array_equal(fed.pixels[:, : fed.rows, : fed.columns], image.transpose(2, 0, 1))


def test_zooming_keeps_image_and_target_aligned() -> None:
    target = np.zeros((80, 120), dtype=np.float32)
    target[20:60, 30:90] = 1
    image = np.repeat((target * 255).astype(np.uint8)[..., None], 3, axis=2)
    small, mask = scaled(image, target, 0.5)
    assert mask.shape == (40, 60)
    assert np.abs(small[..., 0] / 255 - mask).max() < 0.01
