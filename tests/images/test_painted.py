"""Masks that come over the wire."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import ImageError
from boxpromptiml.images import encode_png
from boxpromptiml.images.painted import decode_grey_png

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_an_8_bit_grey_png_comes_through_unchanged() -> None:
    np.testing.assert_array_equal(decode_grey_png(encode_png(GREY)), GREY)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(Image.fromarray(GREY), "JPEG"), "is a JPEG image, not an 8-bit grey PNG"),
        (encoded(Image.fromarray(GREY).convert("RGBA")), "PNG of mode RGBA"),
        (encoded(Image.fromarray(GREY).convert("LA")), "PNG of mode LA"),
        (encoded(Image.fromarray(GREY).convert("1")), "PNG of mode 1"),
        (encoded(Image.fromarray(GREY).convert("P")), "PNG of mode P"),
        (encode_png(GREY.astype(np.uint16) * 257), "PNG of mode I;16"),
        (encode_png(GREY)[:-30], "damaged or truncated"),
        (b"", "is empty"),
        (b"<svg/>", "SVG files are not read"),
    ],
)
def test_everything_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        decode_grey_png(data, "the mask")
    assert "\n" not in str(caught.value)


def test_size_is_checked_before_decoding() -> None:
    with pytest.raises(ImageError, match="over the limit"):
        decode_grey_png(encode_png(np.zeros((100, 100), np.uint8)), max_pixels=9999)
