"""From an opened picture to pixels: upright, 8 bits, without a second copy of a large image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from boxpromptiml.errors import ImageError
from boxpromptiml.images.opening import PILLOW_LIMIT

# Orientation -> (Pillow's move, whether rows become columns, whether the order of rows is reversed by it).
MOVES: dict[int, tuple[Image.Transpose, bool, bool]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False, False),
    3: (Image.Transpose.ROTATE_180, False, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: (Image.Transpose.TRANSPOSE, True, False),
    6: (Image.Transpose.ROTATE_270, True, True),
    7: (Image.Transpose.TRANSVERSE, True, True),
    8: (Image.Transpose.ROTATE_90, True, False),
}
_ORIENTATION_TAG = 0x0112
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
    # Pillow turns a TIFF by itself.
    turn = 1 if isinstance(picture, TiffImageFile) else orientation_of(picture)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > limit:
        with PILLOW_LIMIT.lifted():
            picture.load()
    else:
        picture.load()
    picture.info.pop("transparency", None)  # or Pillow warns that it gets lost
    return turn


def orientation_of(picture: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the EXIF block is damaged, which does not harm the pixels."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_size(picture: ImageFile.ImageFile) -> tuple[int, int]:
    """Upright (width, height) of an opened picture."""
    width, height = picture.size
    # Pillow swaps a TIFF's sides by itself.
    turned = not isinstance(picture, TiffImageFile) and orientation_of(picture) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def upright_box(
    box: tuple[float, float, float, float], size: tuple[int, int], turn: int
) -> tuple[float, float, float, float]:
    """Where a box (left, top, right, bottom) of a picture of `size` lies once the orientation `turn` is applied."""
    left, top, right, bottom = box
    width, height = size
    if turn in MOVES and MOVES[turn][1]:
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if turn in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turn in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


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
