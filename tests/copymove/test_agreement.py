"""How alike an image and its moved self are, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boxpromptiml.copymove.agreement import Agreement, Surface, agreement, agreement_of_shift
from boxpromptiml.copymove.matching import Movement

Grey = NDArray[np.uint8]
SHIFT = 140


def along(photo: Grey, matrix: NDArray[np.float64], here: NDArray[np.float32]) -> Agreement:
    """A photo compared with itself along a map that keypoints here follow exactly."""
    there = (here @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return agreement(Surface.of(photo), Movement(matrix, here, there))


def moved_by(image: NDArray[np.float64]) -> Agreement:
    """An image whose left part is there once more, 140 pixels to the right, compared with itself."""
    matrix = np.array([[1.0, 0, SHIFT], [0, 1, 0]])
    here = np.array([[x, y] for x in range(30, 110, 10) for y in range(30, 170, 20)], np.float32)
    grey = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return along(grey, matrix, here)


@pytest.fixture
def scene(foliage: Callable[..., NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Leaves, 300 x 200 pixels, of which a square on the left is there once more on the right."""
    image = foliage(200, 300)[..., 1].astype(np.float64)
    image[20:180, 20 + SHIFT : 120 + SHIFT] = image[20:180, 20:120]
    return image


def noisy(image: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    return image + np.random.default_rng(1).normal(0, level, image.shape)


def test_a_true_copy_leaves_nothing(scene: NDArray[np.float64]) -> None:
    found = moved_by(scene)
    assert found.similarity > 0.99
    assert found.difference < 1
    assert found.here[40:160, 40:100].all()


def test_the_difference_tells_the_noise_whatever_the_texture(scene: NDArray[np.float64]) -> None:
    """Where there is less contrast the correlation falls; what is left of the windows stays."""
    dim = 120 + (scene - scene.mean()) / 3
    strong, weak = moved_by(noisy(scene, 5)), moved_by(noisy(dim, 5))
    assert weak.similarity < strong.similarity - 0.01
    assert weak.difference == pytest.approx(strong.difference, rel=0.25)
    assert moved_by(noisy(scene, 10)).difference > 2.5 * strong.difference


def test_more_contrast_is_no_difference(scene: NDArray[np.float64]) -> None:
    changed = scene.copy()
    part = changed[20:180, 20 + SHIFT : 120 + SHIFT]
    part[:] = part.mean() + 0.7 * (part - part.mean())
    found = moved_by(changed)
    assert found.similarity > 0.99
    assert found.difference < 2


def test_nothing_alike_is_no_agreement(foliage: Callable[..., NDArray[np.uint8]]) -> None:
    found = moved_by(foliage(200, 300)[..., 1].astype(np.float64))
    assert found.similarity == 0
    assert found.difference == np.inf
    assert not found.here.any()


def shifted_by(image: NDArray[np.float64], right: float = SHIFT) -> Agreement:
    """The same without a matched keypoint."""
    grey = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return agreement_of_shift(Surface.of(grey), np.array([[1.0, 0, right], [0, 1, 0]]))


def test_a_shift_alone_says_as_much_as_matched_keypoints(scene: NDArray[np.float64]) -> None:
    matched, alone = moved_by(scene), shifted_by(scene)
    assert (matched.here & alone.here).sum() > 0.95 * (matched.here | alone.here).sum()
    assert alone.similarity == pytest.approx(matched.similarity, abs=0.005)
    assert alone.matches == 0


def test_nearly_all_that_agrees_with_a_true_copy_is_in_it(scene: NDArray[np.float64]) -> None:
    assert shifted_by(scene).share > 0.9


def test_what_repeats_all_over_agrees_in_many_places(foliage: Callable[..., NDArray[np.uint8]]) -> None:
    """Patches of a wall of bricks, one paler than the other, with joints between them that are all different."""
    wall = foliage(200, 300)[..., 1].astype(np.float64)
    brick = foliage(30, 30, seed=9)[..., 1].astype(np.float64)
    for top in range(5, 165, 40):
        for left in range(5, 265, 35):
            wall[top : top + 30, left : left + 30] = brick
    assert shifted_by(wall, right=35 * 4).share < 0.3


def test_a_wall_of_tiles_agrees_wherever_it_could(foliage: Callable[..., NDArray[np.uint8]]) -> None:
    wall = np.tile(foliage(20, 20)[..., 1], (10, 15)).astype(np.float64)
    assert shifted_by(wall).extent > 0.9


def test_a_copy_that_fills_half_of_what_could_agree_is_told_from_it(scene: NDArray[np.float64]) -> None:
    assert 0.3 < shifted_by(scene).extent < 0.7


@pytest.mark.parametrize("scale", [1.3, 1.7])
def test_what_was_made_larger_or_smaller_is_compared_at_the_smaller_size(
    scale: float, foliage: Callable[..., NDArray[np.uint8]]
) -> None:
    """Of what was made smaller the finest detail is gone: it is not asked for."""
    photo = cv2.GaussianBlur(foliage(300, 400)[..., 1], (0, 0), 0.7)
    size = round(120 / scale)
    smaller = cv2.resize(photo[20:140, 20:140], (size, size), interpolation=cv2.INTER_AREA)
    photo[160 : 160 + size, 220 : 220 + size] = smaller
    matrix = np.array([[120 / size, 0, 20 - 220 * 120 / size], [0, 120 / size, 20 - 160 * 120 / size]])
    matrix[:, 2] += (120 / size - 1) / 2  # centres of pixels
    here = np.array([[x, y] for x in range(225, 215 + size, 8) for y in range(165, 155 + size, 8)], np.float32)

    found = along(photo, matrix, here)

    assert found.similarity > 0.98
    assert found.here[165 : 155 + size, 225 : 215 + size].all()


def test_of_a_half_turn_the_way_back_is_no_other_place(foliage: Callable[..., NDArray[np.uint8]]) -> None:
    photo = foliage(200, 300)[..., 1]
    photo[50:150, 180:260] = photo[50:150, 40:120][::-1, ::-1]
    matrix = np.array([[-1.0, 0, 299], [0, -1, 199]])
    here = np.array([[x, y] for x in range(50, 115, 8) for y in range(60, 145, 8)], np.float32)
    assert along(photo, matrix, here).share > 0.9


def test_a_mirror_that_fills_nearly_all_that_could_agree_is_told_as_such(
    foliage: Callable[..., NDArray[np.uint8]],
) -> None:
    """Both sides of the axis agree, with a pillar between them; the part is one of them."""
    photo = foliage(200, 300)[..., 1]
    photo[:, 170:] = photo[:, 129::-1]
    matrix = np.array([[-1.0, 0, 299], [0, 1, 0]])
    here = np.array([[x, y] for x in range(20, 120, 8) for y in range(20, 180, 8)], np.float32)
    found = along(photo, matrix, here)
    assert found.extent > 0.8
    assert not found.here[:, 170:].any()


def test_another_brightness_is_no_difference_if_it_is_the_same_all_over(scene: NDArray[np.float64]) -> None:
    brighter = scene / 2 + 60
    brighter[20:180, 20 + SHIFT : 120 + SHIFT] += 40
    assert shifted_by(brighter).here[40:160, 40:100].all()


def test_a_shift_that_leads_nowhere_finds_nothing(foliage: Callable[..., NDArray[np.uint8]]) -> None:
    found = shifted_by(foliage(200, 300)[..., 1].astype(np.float64))
    assert not found.here.any()
    assert found.share == 0


def test_grain_goes_all_ways_and_edges_go_one(foliage: Callable[..., NDArray[np.uint8]]) -> None:
    stripes = np.where(np.arange(300) % 20 < 10, 60.0, 180.0) * np.ones((200, 1))
    assert Surface.of(foliage(200, 300)[..., 1]).grainy.mean() > 0.9
    assert Surface.of(stripes.astype(np.uint8)).grainy.mean() == 0
