"""Shifts by which an image echoes itself."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boxpromptiml.copymove.echo import echoes

Grey = NDArray[np.uint8]


@pytest.fixture
def scene(foliage: Callable[..., NDArray[np.uint8]]) -> Grey:
    return foliage()[..., 1].copy()


def with_copy(image: Grey, right: int, down: int) -> Grey:
    """The image with a piece of 70 x 60 pixels there once more, so far to the right and down."""
    top, left = (40, 60) if right >= 0 else (40, 220)
    forged = image.copy()
    forged[top + down : top + down + 60, left + right : left + right + 70] = image[top : top + 60, left : left + 70]
    return forged


@pytest.mark.parametrize(("right", "down"), [(140, 60), (-130, 25), (0, 80), (90, 0)])
def test_the_strongest_echo_is_the_shift_of_the_copy(right: int, down: int, scene: Grey) -> None:
    strongest, *_ = echoes(with_copy(scene, right, down), most=6)
    np.testing.assert_array_equal(strongest, [[1, 0, right], [0, 1, down]])


def test_a_shift_that_points_up_is_told_by_its_way_back(scene: Grey) -> None:
    upwards = with_copy(scene[::-1], 100, 50)[::-1]
    strongest, *_ = echoes(upwards, most=6)
    np.testing.assert_array_equal(strongest, [[1, 0, -100], [0, 1, 50]])


def test_in_a_photo_that_was_made_smaller_shifts_are_no_whole_pixels(
    foliage: Callable[..., NDArray[np.uint8]],
) -> None:
    large = foliage(480, 640)[..., 1].copy()
    large[200:330, 301:460] = large[50:180, 30:189]
    strongest, *_ = echoes(cv2.resize(large, (512, 384), interpolation=cv2.INTER_AREA), most=6)
    np.testing.assert_allclose(strongest[:, 2], [271 * 0.8, 150 * 0.8], atol=0.3)


def test_no_more_are_told_than_were_asked_for_nor_the_same_one_twice(scene: Grey) -> None:
    twice = with_copy(with_copy(scene, 140, 60), 0, 80)
    assert len(echoes(twice, most=1)) == 1
    shifts = [tuple(shift[:, 2]) for shift in echoes(twice, most=6)]
    assert len(set(shifts)) == len(shifts)
    assert {(140, 60), (0, 80)} <= set(shifts)


def test_what_is_close_by_is_no_echo(scene: Grey) -> None:
    smeared = scene.copy()
    smeared[100:150, 110:180] = scene[100:150, 100:170]
    assert all(np.abs(shift[:, 2]).max() >= 16 for shift in echoes(smeared, most=6))


@pytest.mark.parametrize("seed", range(4))
def test_an_image_that_repeats_nothing_has_no_echo(seed: int, foliage: Callable[..., NDArray[np.uint8]]) -> None:
    assert echoes(foliage(seed=seed)[..., 1], most=6) == []


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), level=st.integers(0, 255), noise=st.sampled_from([0, 1, 60])
)
def test_any_small_image_is_searched_without_a_complaint(height: int, width: int, level: int, noise: int) -> None:
    random = np.random.default_rng(level)
    grey = np.clip(level + noise * random.normal(size=(height, width)), 0, 255).astype(np.uint8)
    for shift in echoes(grey, most=6):
        assert abs(shift[0, 2]) < width
        assert 0 <= shift[1, 2] < height
