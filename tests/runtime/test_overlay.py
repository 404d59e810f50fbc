"""The picture for people."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.regions import Box
from boxpromptiml.runtime import Localizer, draw_overlay
from boxpromptiml.runtime.overlay import encode_overlay, shrink
from boxpromptiml.runtime.result import LocalizedCopy


@pytest.fixture(scope="module")
def localizer(red_model: Path) -> Localizer:
    return Localizer.load(red_model, threads=1)


def half_red(width: int, height: int) -> np.ndarray:
    image = np.full((height, width, 3), 90, np.uint8)
    image[:, : width // 2] = (255, 0, 0)
    return image


def test_tints_what_is_suspicious_and_outlines_it(localizer: Localizer) -> None:
    image = half_red(400, 300)
    result = localizer.localize(image)

    picture = draw_overlay(image, result)

    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[:, 230:], image[:, 230:])  # authentic pixels stay as they are
    assert (picture[100:200, 50:150] != image[100:200, 50:150]).any(axis=2).all()
    cyan = (picture == (0, 230, 255)).all(axis=2)
    assert cyan.any()
    assert not cyan[~result.mask].any()
    assert cyan[150, 190:201].any()  # along the edge
    assert not cyan[100:200, 50:150].any()  # not inside
    assert (image == half_red(400, 300)).all()  # the input is left alone


@pytest.mark.parametrize("scale", [1, 2])
def test_parts_that_are_there_twice_are_framed_and_tied(localizer: Localizer, scale: int) -> None:
    image = np.full((100, 200, 3), 90, np.uint8)
    result = localizer.localize(image)
    boxes = Box(10, 20, 40, 60), Box(150, 20, 180, 60)
    result.copies = [LocalizedCopy(boxes, None, [[1, 0, 140], [0, 1, 0]], 0.99, 20)]

    shown = image.repeat(scale, axis=0).repeat(scale, axis=1)
    picture = draw_overlay(shown, result)

    drawn = (picture == (255, 70, 230)).all(axis=2)
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max()) == (20 * scale, 60 * scale - 1)
    assert (columns.min(), columns.max()) == (10 * scale, 180 * scale - 1)
    assert drawn[20 * scale, 10 * scale : 40 * scale].all()
    assert drawn[20 * scale : 60 * scale, 150 * scale].all()
    assert drawn[:, 100 * scale].any()  # the line between them
    assert not drawn[20 * scale, 100 * scale]
    assert (picture[~drawn] == 90).all()


def test_an_authentic_image_stays_as_it_is(localizer: Localizer) -> None:
    image = np.random.default_rng(0).integers(60, 90, (90, 120, 3), dtype=np.uint8)

    np.testing.assert_array_equal(draw_overlay(image, localizer.localize(image)), image)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((400, 300), 2048, (400, 300)),
        ((400, 300), 200, (200, 150)),
        ((300, 400), 100, (75, 100)),
        ((5000, 2), 100, (100, 1)),  # a whole factor from one and a half times the limit on
        ((4000, 3000), 2048, (2000, 1500)),
    ],
)
def test_large_images_are_shrunk(
    localizer: Localizer, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    image = half_red(*size)

    picture = draw_overlay(image, localizer.localize(image), side)

    assert (picture.shape[1], picture.shape[0]) == expected


@pytest.mark.parametrize("width", [100, 101, 120, 150, 151, 200, 201, 999])
def test_pictures_of_pillow_shrink_alike(width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, width, 3), dtype=np.uint8)

    small = shrink(image, 100)

    assert 50 < max(small.shape) <= 100
    np.testing.assert_array_equal(shrink(Image.fromarray(image), 100), small)


def test_shrinking_twice_changes_nothing() -> None:
    once = shrink(half_red(3000, 1000))

    assert once.shape == (683, 2048, 3)
    assert shrink(once) is once


def test_is_saved_as_jpeg() -> None:
    with Image.open(io.BytesIO(encode_overlay(half_red(64, 32)))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (64, 32)
