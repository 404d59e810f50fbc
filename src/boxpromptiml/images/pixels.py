"""From an opened picture to pixels: upright, 8 bits, without a second copy of a large image."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from boxpromptiml.errors import ImageError
from boxpromptiml.images.opening import PILLOW_LIMIT
from boxpromptiml.images.orientation import MOVES, orientation_of
from boxpromptiml.images.png_chunks import check_pixels, text_behind_passed_over

_STRIP_PIXELS = 1 << 16  # a strip fits into a core's cache


def upright_pixels(picture: Image.Image, mode: str, name: str | Path, faint: bool = False) -> NDArray[np.uint8]:
    """The pixels of a picture, upright and 8 bits: (h, w, 3) for mode RGB, (h, w) for mode L.

    With `faint` no 16-bit grey becomes 0 that is not 0.
    """
    # A TIFF's depth and polarity have to be asked for before loading closes the file.
    bits, inverted = _depth(picture)
    turn = load(picture, name)
    if picture.mode.startswith("I"):
        return _in_strips(picture, mode, turn, lambda strip: _high_byte(strip, bits, inverted, name, faint))
    return _in_strips(picture, mode, turn, lambda strip: strip if strip.mode == mode else strip.convert(mode))


def load(picture: Image.Image, name: str | Path) -> int:
    """Decode the pixels and return the orientation that is still to be applied."""
    if picture.mode == "F":
        raise ImageError(name, "has floating-point pixels, whose range is not defined; save it with 8 or 16 bits")
    if picture.mode in ("LAB", "HSV"):
        raise ImageError(name, f"has {picture.mode} colours; save it as RGB")
    limit = Image.MAX_IMAGE_PIXELS
    lifted = limit is not None and picture.width * picture.height > limit
    with PILLOW_LIMIT.lifted() if lifted else nullcontext():
        if isinstance(picture, PngImageFile):
            check_pixels(picture)
            with text_behind_passed_over(picture):
                picture.load()
        else:
            picture.load()
    picture.info.pop("transparency", None)  # or Pillow warns that it gets lost
    # Not before: decoding a PNG also reads what it says behind its pixels.
    return orientation_of(picture)


def _in_strips(picture: Image.Image, mode: str, turn: int, converted: Any) -> NDArray[np.uint8]:
    """Convert, turn and copy strip by strip, so that no second copy of a large image is ever needed."""
    move, sideways, reverse = MOVES.get(turn, (None, False, False))
    width, height = picture.size
    shape = (width, height) if sideways else (height, width)
    out = np.empty((*shape, 3) if mode == "RGB" else shape, dtype=np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        whole = top == 0 and bottom == height
        strip = converted(picture if whole else picture.crop((0, top, width, bottom)))
        if move is not None:
            strip = strip.transpose(move)
        pixels = np.asarray(strip)
        if mode == "RGB" and pixels.ndim == 2:
            pixels = pixels[..., None]
        place = slice(height - bottom, height - top) if reverse else slice(top, bottom)
        out[(slice(None), place) if sideways else place] = pixels
    return out


def _high_byte(strip: Image.Image, bits: int, inverted: bool, name: str | Path, faint: bool) -> Image.Image:
    """Integer grey of up to 16 bits to 8 bits by its high byte, as Pillow does for 16-bit colour."""
    values = np.asarray(strip)
    if strip.mode == "I":
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 0xFFFF:
            raise ImageError(name, f"has 32-bit pixels from {low} to {high}; save it with 8 or 16 bits")
    grey = (values >> (bits - 8)).astype(np.uint8)
    if inverted:
        grey = 255 - grey
    if faint:
        grey = np.maximum(grey, (values != ((1 << bits) - 1 if inverted else 0)).astype(np.uint8))
    return Image.fromarray(grey)


def _depth(picture: Image.Image) -> tuple[int, bool]:
    """Bits of an integer grey image, and whether 0 is white. Pillow inverts such images at 8 bits only."""
    if not isinstance(picture, TiffImageFile) or not picture.mode.startswith("I"):
        return 16, False
    bits = picture.tag_v2.get(258, (16,))[0]
    return (bits if 8 < bits < 16 else 16), picture.tag_v2.get(262) == 0
