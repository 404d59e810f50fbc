"""Masks that come over the wire: exactly what our own are, or refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ImageError
from boxpromptiml.images.opening import DEFAULT_MAX_PIXELS, open_picture
from boxpromptiml.images.pixels import upright_pixels


def decode_grey_png(
    data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode a mask that must be an 8-bit grey PNG without transparency; uint8 (h, w).

    Raises:
        ImageError: it is not, or it is damaged or over the limit.
    """
    with open_picture(io.BytesIO(data), name, max_pixels) as picture:
        if picture.format != "PNG":
            raise ImageError(name, f"is a {picture.format} image, not an 8-bit grey PNG")
        if picture.mode != "L" or "transparency" in picture.info:
            raise ImageError(name, f"is a PNG of mode {picture.mode}, not 8-bit grey")
        return upright_pixels(picture, "L", name)
