"""Which way up a picture is, by what its file says; no pixel is decoded for it."""

from __future__ import annotations

from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from boxpromptiml.images.png_chunks import info_behind_pixels

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
_TAG = 0x0112


def orientation_of(picture: Image.Image) -> int:
    """The orientation, 1 to 8, that is still to be applied: 1 where none is told, or by a damaged block.

    Of a TIFF it is 1, for Pillow turns it, and swaps its sides, by itself.
    """
    if isinstance(picture, TiffImageFile):
        return 1
    if isinstance(picture, PngImageFile) and picture.tile:
        # Pillow would decode the whole picture to see what is behind its pixels, and of a damaged one keep a half.
        said = Image.Image()
        said.info = picture.info | info_behind_pixels(picture)
        return _orientation_in(said)
    return _orientation_in(picture)


def exif_orientation(picture: Image.Image) -> int:
    """The orientation by the EXIF block alone, not by XMP; 1 where there is none, or by a damaged block."""
    said = Image.Image()
    said.info = {"exif": picture.info.get("exif", b"")}
    return _orientation_in(said)


def turned_size(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Width and height once the orientation `turn` is applied, or before it was: it is the same swap."""
    return (size[1], size[0]) if turn in MOVES and MOVES[turn][1] else size


def upright_size(picture: ImageFile.ImageFile) -> tuple[int, int]:
    """Upright (width, height) of an opened picture."""
    return turned_size(picture.size, orientation_of(picture))


def upright_box(
    box: tuple[float, float, float, float], size: tuple[int, int], turn: int
) -> tuple[float, float, float, float]:
    """Where a box (left, top, right, bottom) of a picture of `size` lies once the orientation `turn` is applied."""
    left, top, right, bottom = box
    width, height = turned_size(size, turn)
    if turn in MOVES and MOVES[turn][1]:
        left, top, right, bottom = top, left, bottom, right
    if turn in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turn in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _orientation_in(picture: Image.Image) -> int:
    try:
        # Not a format's own `getexif`: that of PNG decodes, and its errors are not to be passed over here.
        value = Image.Image.getexif(picture).get(_TAG, 1)
    except Exception:  # damaged blocks raise whatever they like; they do not harm the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
