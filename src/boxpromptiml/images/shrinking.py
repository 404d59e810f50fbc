"""Pictures for people to look at: shrunk while they are decoded, or the file itself where a browser shows it right."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from boxpromptiml.images.opening import DEFAULT_MAX_PIXELS, open_file, open_picture
from boxpromptiml.images.orientation import MOVES, exif_orientation, orientation_of, turned_size
from boxpromptiml.images.pixels import load, upright_pixels

# Decode to this times the final size at least: what JPEG shrinks by itself is not filtered as well. Below 2, so that a
# thumbnail of 256 pixels comes from an eighth of 4000.
_GAP = 1.75


def open_shrunk(path: str | Path, side: int | None, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Read an image file as an upright RGB picture of Pillow whose longer side is at most `side` pixels.

    Much faster than decoding all pixels of a large JPEG; not for networks, which need the exact pixels.

    Args:
        path: an image file, see `open_image`.
        side: at most so long; None for all pixels.
        max_pixels: larger images are refused by their header.

    Raises:
        ImageError: as `open_image`.
    """
    with open_file(path) as stream, open_picture(stream, path, max_pixels) as picture:
        if side is not None and isinstance(picture, JpegImageFile):
            scale = min(1.0, _GAP * side / max(picture.size))
            picture.draft(None, (max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))
        if picture.mode.startswith("I"):
            small = Image.fromarray(upright_pixels(picture, "RGB", path))
            turn = 1
        else:
            turn = load(picture, path)
            small = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        if side is not None and max(small.size) > side:
            scale = side / max(small.size)
            size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
            small = small.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        if turn in MOVES:
            small = small.transpose(MOVES[turn][0])
        return small if small.mode == "RGB" else small.convert("RGB")


def browser_type(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[str | None, tuple[int, int]]:
    """The media type under which a browser shows a file exactly as it is read here, and its upright (width, height).

    None where it would not: transparency that is dropped here, an orientation that only some browsers follow, several
    frames, CMYK, or a format that browsers do not know (TIFF).

    Raises:
        ImageError: as `image_size`.
    """
    with open_file(path) as stream, open_picture(stream, path, max_pixels) as picture:
        turn = orientation_of(picture)
        return _browser_type(picture, turn), turned_size(picture.size, turn)


def encoded_browser_type(
    data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> str | None:
    """The media type under which a browser shows an encoded image exactly as it is read here; see `browser_type`.

    Raises:
        ImageError: as `encoded_size`.
    """
    with open_picture(io.BytesIO(data), name, max_pixels) as picture:
        return _browser_type(picture, orientation_of(picture))


def _browser_type(picture: ImageFile.ImageFile, turn: int) -> str | None:
    if isinstance(picture, JpegImageFile):
        # Browsers turn a JPEG by its EXIF, but not by XMP, which Pillow follows too.
        upright = turn == 1 or exif_orientation(picture) == turn
        return "image/jpeg" if picture.mode in ("L", "RGB") and upright else None
    plain = turn == 1 and getattr(picture, "n_frames", 1) == 1 and "transparency" not in picture.info
    if isinstance(picture, PngImageFile) and plain and picture.mode in ("1", "L", "P", "RGB"):
        return "image/png"
    if isinstance(picture, WebPImageFile) and plain and picture.mode == "RGB":
        return "image/webp"
    return None
