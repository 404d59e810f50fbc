"""Parts of an image that are there twice are found, and what repeats by nature is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.copymove.search import MAX_SIDE, find_copies

Pixels = NDArray[np.uint8]


def texture(height: int = 240, width: int = 320, seed: int = 0) -> Pixels:
    """Something like foliage: noise of several sizes, in colour."""
    random = np.random.default_rng(seed)
    sum_ = np.zeros((height, width, 3), np.float32)
    for cell, weight in ((2, 18.0), (5, 30.0), (14, 40.0), (40, 40.0)):
        coarse = random.normal(size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        sum_ += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(sum_ + 128, 0, 255).astype(np.uint8)


def disc(shape: tuple[int, ...], x: int, y: int, radius: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def moved(image: Pixels, source: NDArray[np.bool_], matrix: NDArray[np.float64]) -> tuple[Pixels, NDArray[np.bool_]]:
    """The image with `source` pasted where `matrix` takes it, and the mask of what was pasted."""
    size = image.shape[1], image.shape[0]
    twin = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(source.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    return np.where(mask[..., None], twin, image).astype(np.uint8), mask


def turned(x: float, y: float, degrees: float, scale: float, to: tuple[float, float]) -> NDArray[np.float64]:
    matrix = np.asarray(cv2.getRotationMatrix2D((x, y), degrees, scale), np.float64)
    matrix[:, 2] += np.subtract(to, (x, y))
    return matrix


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def agreement(copy: Copy, source: NDArray[np.bool_], pasted: NDArray[np.bool_]) -> float:
    """IoU of the worse part, whichever of the two came first."""
    first, second = copy.parts
    return max(
        min(iou(first, source), iou(second, pasted)),
        min(iou(first, pasted), iou(second, source)),
    )


@pytest.mark.parametrize(
    ("degrees", "scale"),
    [(0, 1.0), (40, 1.0), (180, 1.0), (0, 1.3), (-25, 0.8)],
    ids=["shifted", "turned", "upside down", "larger", "turned and smaller"],
)
def test_a_pasted_part_and_its_source_are_found(degrees: float, scale: float) -> None:
    image = texture()
    source = disc(image.shape, 90, 120, 38)
    forged, pasted = moved(image, source, turned(90, 120, degrees, scale, (230, 110)))
    (copy,) = find_copies(forged)
    assert agreement(copy, source, pasted) > 0.8
    assert copy.similarity > 0.97
    assert copy.matches >= 10


def test_the_matrix_leads_from_the_first_part_to_the_second() -> None:
    image = texture()
    source = disc(image.shape, 90, 120, 38)
    forged, _ = moved(image, source, turned(90, 120, 0, 1.0, (231, 108)))
    (copy,) = find_copies(forged)
    y, x = np.argwhere(copy.parts[0]).mean(axis=0)
    there = np.argwhere(copy.parts[1]).mean(axis=0)[::-1]
    np.testing.assert_allclose(copy.matrix @ [x, y, 1], there, atol=1)
    np.testing.assert_allclose(np.abs(copy.matrix[:, 2]), (141, 12), atol=1)


def test_two_different_copies_are_both_found() -> None:
    image = texture(300, 400)
    forged, _ = moved(image, disc(image.shape, 80, 80, 34), turned(80, 80, 0, 1.0, (300, 90)))
    forged, _ = moved(forged, disc(image.shape, 90, 220, 34), turned(90, 220, 30, 1.0, (300, 230)))
    assert len(find_copies(forged)) == 2


@pytest.mark.parametrize("quality", [95, 70])
def test_a_copy_survives_compression(quality: int) -> None:
    image = texture()
    source = disc(image.shape, 90, 120, 38)
    forged, pasted = moved(image, source, turned(90, 120, 0, 1.0, (230, 110)))
    compressed = cv2.imdecode(cv2.imencode(".jpg", forged, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    (copy,) = find_copies(np.asarray(compressed, np.uint8))
    assert agreement(copy, source, pasted) > 0.6


def test_large_images_are_searched_smaller() -> None:
    image = texture(900, 1200)
    source = disc(image.shape, 300, 450, 150)
    forged, pasted = moved(image, source, turned(300, 450, 0, 1.0, (850, 430)))
    (copy,) = find_copies(forged)
    assert copy.parts[0].shape == (MAX_SIDE * 3 // 4, MAX_SIDE)
    size = copy.parts[0].shape[::-1]
    small = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in (source, pasted)]
    assert agreement(copy, *small) > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_an_untouched_image_has_no_copies(seed: int) -> None:
    assert find_copies(texture(seed=seed)) == ()


@pytest.mark.parametrize("cell", [17, 40])
def test_what_repeats_by_nature_is_no_copy(cell: int) -> None:
    """Tiles look like every other tile, not like one; and they agree with their own neighbours."""
    tile = texture(cell, cell)
    random = np.random.default_rng(1)
    wall = np.tile(tile, (240 // cell, 320 // cell, 1)).astype(np.float32)
    wall += random.normal(size=wall.shape) * 3
    assert find_copies(np.clip(wall, 0, 255).astype(np.uint8)) == ()


def test_the_same_image_gives_the_same_copies() -> None:
    image = texture()
    forged, _ = moved(image, disc(image.shape, 90, 120, 38), turned(90, 120, 20, 1.1, (230, 110)))
    first, second = find_copies(forged), find_copies(forged)
    assert [copy.matches for copy in first] == [copy.matches for copy in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.parts, other.parts)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 70), width=st.integers(1, 70), level=st.integers(0, 255), noise=st.sampled_from([0, 1, 60])
)
def test_any_small_image_is_searched_without_a_complaint(height: int, width: int, level: int, noise: int) -> None:
    random = np.random.default_rng(level)
    pixels = np.clip(level + noise * random.normal(size=(height, width, 3)), 0, 255).astype(np.uint8)
    for copy in find_copies(pixels):
        assert all(part.shape == (height, width) for part in copy.parts)
