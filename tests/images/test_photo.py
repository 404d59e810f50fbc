"""Photos decoded at a part of their size."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import ImageError, ImageTooLargeError
from boxpromptiml.images import decode_image, decode_photo
from boxpromptiml.preprocessing import PreprocessingSpec


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """Colours that differ in every corner, with detail that a part of the size still shows."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        ((800, 600), (100, 75), (100, 75)),  # 1/8
        ((800, 600), (101, 75), (200, 150)),  # 1/8 would be too narrow
        ((800, 600), (400, 300), (400, 300)),
        ((800, 600), (401, 300), (800, 600)),
        ((800, 600), (5000, 5000), (800, 600)),
        ((803, 605), (100, 75), (101, 76)),  # rounded up
        ((8000, 16), (100, 8), (4000, 8)),
    ],
)
def test_the_smallest_part_that_is_enough(
    size: tuple[int, int], least: tuple[int, int], expected: tuple[int, int]
) -> None:
    photo = decode_photo(encoded(smooth(*size)), enough=lambda width, height: least)

    assert photo.picture.size == expected
    assert (photo.width, photo.height) == size
    scale = max(1, round(size[0] / expected[0]))
    assert photo.box == (0, 0, size[0] / scale, size[1] / scale)


def test_without_a_wish_all_pixels_are_decoded() -> None:
    data = encoded(smooth(803, 605))
    photo = decode_photo(data)

    np.testing.assert_array_equal(np.asarray(photo.picture), decode_image(data))
    assert photo.box == (0, 0, 803, 605)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(800, 608), (803, 605), (801, 607)])
def test_a_part_is_upright_and_in_its_place(orientation: int, size: tuple[int, int]) -> None:
    """What the network is shown is what it is shown of all pixels, to a few grey levels."""
    data = encoded(smooth(*size), exif=turned(orientation), quality=95)
    spec = PreprocessingSpec(height=48, width=64, draft_margin=1.5)

    photo = decode_photo(data, enough=spec.enough)
    upright = decode_image(data)

    assert (photo.height, photo.width) == upright.shape[:2]
    assert photo.picture.width <= photo.width / 3
    difference = np.abs(spec.resize(photo).astype(int) - spec.resize(upright))
    assert difference.max() <= 4
    assert difference.mean() <= 1


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 2}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_every_kind_of_jpeg(mode: str, options: dict[str, Any]) -> None:
    data = encoded(smooth(803, 605).convert(mode), quality=95, **options)
    spec = PreprocessingSpec(height=64, width=64, draft_margin=2)

    photo = decode_photo(data, enough=spec.enough)

    assert photo.picture.size == (201, 152)
    assert photo.picture.mode == "RGB"
    assert np.abs(spec.resize(photo).astype(int) - spec.resize(decode_image(data))).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WebP"])
def test_other_formats_are_decoded_at_full_size(kind: str) -> None:
    data = encoded(smooth(400, 300), kind)
    photo = decode_photo(data, enough=lambda width, height: (10, 10))

    np.testing.assert_array_equal(np.asarray(photo.picture), decode_image(data))


def test_limits_are_those_of_the_full_size() -> None:
    data = encoded(smooth(800, 600))
    pixels: list[int] = []

    with pytest.raises(ImageTooLargeError, match="over the limit"):
        decode_photo(data, enough=lambda width, height: (100, 75), max_pixels=400_000)
    decode_photo(data, enough=lambda width, height: (100, 75), before=pixels.append)

    assert pixels == [100 * 75]


def test_a_truncated_photo_is_an_error_at_any_size() -> None:
    data = encoded(smooth(800, 600))
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode_photo(data[: len(data) // 2], enough=lambda width, height: (100, 75))
