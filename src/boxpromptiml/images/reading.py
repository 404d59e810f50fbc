"""The functions that read image files and encoded images."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.errors import ImageError
from boxpromptiml.images.opening import DEFAULT_MAX_PIXELS, open_file, open_picture
from boxpromptiml.images.pixels import MOVES, load, upright_pixels, upright_size


def open_image(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image file as an upright RGB array, uint8 (h, w, 3), writable.

    Args:
        path: a PNG, JPEG, TIFF, WebP or BMP file.
        max_pixels: images with more pixels are refused by their header, before anything is decoded.

    Raises:
        ImageError: the file is missing, a folder, unreadable, empty, truncated, no image, of another format than its
            suffix says, of a format or pixel type that is not read, or over the limit.
    """
    with open_file(path) as stream:
        return _decoded(stream, path, "RGB", max_pixels)


def decode_image(
    data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an encoded image as `open_image` does; `name` is used in errors only, its suffix is not checked."""
    return _decoded(io.BytesIO(data), name, "RGB", max_pixels)


def decode_picture(
    data: bytes,
    name: str | Path = "<bytes>",
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    before: Callable[[int], object] = lambda pixels: None,
) -> Image.Image:
    """Decode to an upright RGB picture of Pillow, pixels as `decode_image` gives them.

    For callers that only shrink the image: what goes through an array is copied twice on the way. `before` is told the
    number of pixels before memory is taken for them.
    """
    with open_picture(io.BytesIO(data), name, max_pixels) as picture:
        before(picture.width * picture.height)
        if not picture.mode.startswith("I"):
            turn = load(picture, name)
            colour = picture if picture.mode == "RGB" else picture.convert("RGB")
            return colour.transpose(MOVES[turn][0]) if turn in MOVES else colour
    return Image.fromarray(decode_image(data, name, max_pixels=max_pixels))


def read_image_file(path: str | Path) -> bytes:
    """The bytes of an image file, for callers that hash and decode them without reading twice.

    Raises:
        ImageError: as `open_image` for all that can be told without decoding (missing, empty, wrong suffix ...).
    """
    with open_file(path) as stream:
        try:
            return stream.read()
        except OSError as error:
            raise ImageError(path, f"cannot be read: {error.strerror or error}") from error


def image_size(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Upright (width, height) of an image file, from its header. Raises ImageError as `open_image`."""
    with open_file(path) as stream:
        return _size(stream, path, max_pixels)


def encoded_size(data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Upright (width, height) of an encoded image, from its header. Raises ImageError as `decode_image`."""
    return _size(io.BytesIO(data), name, max_pixels)


def open_mask(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a mask file as upright 8-bit grey, uint8 (h, w): 1 bit becomes 0/255, colour its luminance (ITU-R 601).

    Raises:
        ImageError: as `open_image`.
    """
    with open_file(path) as stream:
        return _decoded(stream, path, "L", max_pixels)


def mask_is_coloured(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bool:
    """Whether any pixel of a mask file is not grey, so that reading it by luminance would be a guess.

    Raises:
        ImageError: as `open_image`.
    """
    with open_file(path) as stream, open_picture(stream, path, max_pixels) as picture:
        if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I"):
            return False
    pixels = open_image(path, max_pixels=max_pixels)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool((red != green).any() or (green != blue).any())


def _decoded(stream: IO[bytes], name: str | Path, mode: str, max_pixels: int) -> NDArray[np.uint8]:
    with open_picture(stream, name, max_pixels) as picture:
        return upright_pixels(picture, mode, name)


def _size(stream: IO[bytes], name: str | Path, max_pixels: int) -> tuple[int, int]:
    with open_picture(stream, name, max_pixels) as picture:
        return upright_size(picture)
