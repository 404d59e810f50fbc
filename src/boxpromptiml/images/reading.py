"""The functions that read image files and encoded images."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from boxpromptiml.errors import ImageError
from boxpromptiml.images.opening import DEFAULT_MAX_PIXELS, one_error, open_file, open_picture
from boxpromptiml.images.orientation import MOVES, orientation_of, turned_size, upright_box, upright_size
from boxpromptiml.images.pixels import load, upright_pixels

Enough = Callable[[int, int], tuple[int, int] | None]


class Photo(NamedTuple):
    """A decoded photo, perhaps at a part of its size.

    Attributes:
        picture: upright, RGB.
        width, height: of the upright photo at full size, pixels.
        box: left, top, right and bottom of the photo in the picture, in the picture's pixels. A picture at an eighth
            of a size that is no multiple of eight ends, or begins, with a pixel that only partly belongs to the photo.
    """

    picture: Image.Image
    width: int
    height: int
    box: tuple[float, float, float, float]


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
    return decode_photo(data, name, max_pixels=max_pixels, before=before).picture


def picture_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a picture of Pillow, by the rules of `decode_image`: upright RGB, uint8 (h, w, 3).

    Raises:
        ImageError: pixels of a type that is not read, or a file behind it that cannot be decoded.
    """
    transparency = picture.info.get("transparency")
    try:
        with one_error("<picture>", "cannot be decoded"):
            return upright_pixels(picture, "RGB", "<picture>")
    finally:
        if transparency is not None:
            picture.info["transparency"] = transparency


def decode_photo(
    data: bytes,
    name: str | Path = "<bytes>",
    *,
    enough: Enough = lambda width, height: None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    before: Callable[[int], object] = lambda pixels: None,
) -> Photo:
    """Decode as `decode_picture` does, a JPEG at 1/2, 1/4 or 1/8 of its size where that is enough.

    JPEG's own reduced decoding: blocks of 8 x 8 pixels become blocks of 4 x 4, 2 x 2 or 1 pixel. All other formats are
    decoded at full size.

    Args:
        data: the encoded image.
        name: used in errors only.
        enough: told the upright width and height of a photo; the least width and height that will do, or None for full
            size. Networks say it by `boxpromptiml.preprocessing.PreprocessingSpec.enough`.
        max_pixels: larger images are refused by their header; counted at full size.
        before: told the number of pixels that will be decoded before memory is taken for them.

    Raises:
        ImageError: as `decode_image`.
    """
    with open_picture(io.BytesIO(data), name, max_pixels) as picture:
        full = picture.size
        part = (0.0, 0.0, float(picture.width), float(picture.height))
        if isinstance(picture, JpegImageFile):
            turn = orientation_of(picture)
            least = enough(*turned_size(full, turn))
            drafted = picture.draft(None, turned_size(least, turn)) if least is not None else None
            part = drafted[1] if drafted is not None else part
        before(picture.width * picture.height)
        if picture.mode.startswith("I"):
            whole = Image.fromarray(upright_pixels(picture, "RGB", name))
            return Photo(whole, *whole.size, (0.0, 0.0, float(whole.width), float(whole.height)))
        turn = load(picture, name)
        box = upright_box(part, picture.size, turn)
        colour = picture if picture.mode == "RGB" else picture.convert("RGB")
        return Photo(colour.transpose(MOVES[turn][0]) if turn in MOVES else colour, *turned_size(full, turn), box)


def read_image_file(path: str | Path, *, any_suffix: bool = False) -> bytes:
    """The bytes of an image file, for callers that hash and decode them without reading twice.

    Args:
        path: of the file.
        any_suffix: take a PNG file called ``.jpg``, too: a photograph to look at may come from anywhere, and evidence
            is not to be renamed. Of a dataset such a file is refused, as other programs go by the name.

    Raises:
        ImageError: as `open_image` for all that can be told without decoding (missing, empty, wrong suffix ...).
    """
    with open_file(path, any_suffix=any_suffix) as stream:
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


def open_mask(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS, faint: bool = False) -> NDArray[np.uint8]:
    """Read a mask file as upright 8-bit grey, uint8 (h, w): 1 bit becomes 0/255, colour its luminance (ITU-R 601).

    Args:
        path: the file.
        max_pixels: see `open_image`.
        faint: let what is not 0 among 16 bits be at least 1 among 8, to see that a mask is not empty.

    Raises:
        ImageError: as `open_image`.
    """
    with open_file(path) as stream:
        return _decoded(stream, path, "L", max_pixels, faint)


def decode_mask(
    data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an encoded mask as `open_mask` does; `name` is used in errors only, its suffix is not checked."""
    return _decoded(io.BytesIO(data), name, "L", max_pixels)


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


def _decoded(stream: IO[bytes], name: str | Path, mode: str, max_pixels: int, faint: bool = False) -> NDArray[np.uint8]:
    with open_picture(stream, name, max_pixels) as picture:
        return upright_pixels(picture, mode, name, faint)


def _size(stream: IO[bytes], name: str | Path, max_pixels: int) -> tuple[int, int]:
    with open_picture(stream, name, max_pixels) as picture:
        return upright_size(picture)
