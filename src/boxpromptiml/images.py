"""The one place that opens image files: upright, 8 bits, never half read, never without a limit.

What every function here does:

- The EXIF (or TIFF, or XMP) orientation is applied: arrays and sizes are those of the upright image.
- 16 bits become 8 by their high byte, grey as well as colour; they are scaled, never clipped.
- Alpha and palette transparency are dropped, not composited, as the field's detectors do (``convert("RGB")``): an edit
  under a transparent pixel stays visible.
- Colour profiles are not applied. CMYK becomes RGB by Pillow's plain rule; Adobe's inverted CMYK JPEGs are handled.
- The first frame or page counts. Floating-point and Lab pixels are refused: they have no defined 8-bit range.
- PNG, JPEG, TIFF, WebP and BMP are read, by what is in the file; a suffix that says otherwise is an error.

All functions may be called from many threads at once.
"""

from __future__ import annotations

import io
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from boxpromptiml.errors import ImageError
from boxpromptiml.files import write_bytes

DEFAULT_MAX_PIXELS = 200_000_000

_SUFFIXES = {
    ".bmp": "BMP",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
}
IMAGE_SUFFIXES: frozenset[str] = frozenset(_SUFFIXES)

# Pillow's classes are used as they are: `Image.open` would add a size check of its own with a process-wide setting,
# and the formats that other packages registered.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "BMP": BmpImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Formats that people meet and that are not read, so that the error can name them.
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"<svg", "SVG"),
    (0, b"\0\0\1\0", "icon"),
)
_SUPPORTED = "PNG, JPEG, TIFF, WebP or BMP"

# Orientation -> (Pillow's move, whether rows become columns, whether the order of rows is reversed by it).
_MOVES: dict[int, tuple[Image.Transpose, bool, bool]] = {
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


def open_image(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image file as an upright RGB array, uint8 (h, w, 3), writable.

    Args:
        path: a PNG, JPEG, TIFF, WebP or BMP file.
        max_pixels: images with more pixels are refused by their header, before anything is decoded.

    Raises:
        ImageError: the file is missing, a folder, unreadable, empty, truncated, no image, of another format than its
            suffix says, of a format or pixel type that is not read, or over the limit.
    """
    with _file(path) as stream:
        return _decoded(stream, path, "RGB", max_pixels)


def decode_image(
    data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an encoded image as `open_image` does; `name` is used in errors only, its suffix is not checked."""
    return _decoded(io.BytesIO(data), name, "RGB", max_pixels)


def decode_picture(data: bytes, name: str | Path = "<bytes>", *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Decode to an upright RGB picture of Pillow, pixels as `decode_image` gives them.

    For callers that only shrink the image: what goes through an array is copied twice on the way.
    """
    with _reader(io.BytesIO(data), name, max_pixels) as picture:
        if not picture.mode.startswith("I"):
            turn = _load(picture, name)
            colour = picture if picture.mode == "RGB" else picture.convert("RGB")
            return colour.transpose(_MOVES[turn][0]) if turn in _MOVES else colour
    return Image.fromarray(decode_image(data, name, max_pixels=max_pixels))


def read_image_file(path: str | Path) -> bytes:
    """The bytes of an image file, for callers that hash and decode them without reading twice.

    Raises:
        ImageError: as `open_image` for all that can be told without decoding (missing, empty, wrong suffix ...).
    """
    with _file(path) as stream:
        try:
            return stream.read()
        except OSError as error:
            raise ImageError(path, f"cannot be read: {error.strerror or error}") from error


def image_size(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Upright (width, height) of an image file, from its header. Raises ImageError as `open_image`."""
    with _file(path) as stream, _reader(stream, path, max_pixels) as picture:
        width, height = picture.size
        # Pillow swaps a TIFF's sides by itself.
        turned = not isinstance(picture, TiffImageFile) and _orientation(picture) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def open_mask(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a mask file as upright 8-bit grey, uint8 (h, w): 1 bit becomes 0/255, colour its luminance (ITU-R 601).

    Raises:
        ImageError: as `open_image`.
    """
    with _file(path) as stream:
        return _decoded(stream, path, "L", max_pixels)


def mask_is_coloured(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bool:
    """Whether any pixel of a mask file is not grey, so that reading it by luminance would be a guess.

    Raises:
        ImageError: as `open_image`.
    """
    with _file(path) as stream, _reader(stream, path, max_pixels) as picture:
        if picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I"):
            return False
    pixels = open_image(path, max_pixels=max_pixels)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool((red != green).any() or (green != blue).any())


def encode_png(array: NDArray[Any]) -> bytes:
    """Encode an array as PNG: uint8 (h, w) grey, uint8 (h, w, 3) RGB or uint16 (h, w) 16-bit grey.

    Raises:
        ValueError: another shape or type.
    """
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (grey or colour) or array.size == 0:
        raise ValueError(f"a PNG takes uint8 (h, w), uint8 (h, w, 3) or uint16 (h, w), got {array.dtype} {array.shape}")
    stream = io.BytesIO()
    # Level 1 is several times faster than the default, and maps compress well at any. Masks are long runs of one
    # value: looking for runs alone makes them a third of the size in the same time.
    strategy = zlib.Z_RLE if array.ndim == 2 and array.dtype == np.uint8 else zlib.Z_DEFAULT_STRATEGY
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.save(stream, "PNG", compress_level=1, compress_type=strategy)
    return stream.getvalue()


def save_png(path: str | Path, array: NDArray[Any]) -> None:
    """Write an array as PNG, atomically; see `encode_png` for what it takes."""
    write_bytes(path, encode_png(array))


def find_images(folder: str | Path, recursive: bool = True) -> list[Path]:
    """The files below `folder` with a suffix of `IMAGE_SUFFIXES`, in any case, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out; links to folders are not followed.
    """
    found: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        found += [
            Path(where, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


@contextmanager
def _file(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file whose content is what its suffix says, at its start."""
    path = Path(path)
    try:
        if path.is_dir():
            raise ImageError(path, "is a folder, not an image file")
        if path.exists() and not path.is_file():  # opening a named pipe would wait for ever
            raise ImageError(path, "is not a regular file")
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(path, "no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(path, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    with stream:
        found = _format(stream, path)
        suffix = path.suffix.lower()
        if suffix and _SUFFIXES.get(suffix) != found:
            remedy = next(known for known in (".bmp", ".jpg", ".png", ".tif", ".webp") if _SUFFIXES[known] == found)
            raise ImageError(path, f"is a {found} file, not what {suffix} says; rename it to end in {remedy}")
        yield stream


def _format(stream: IO[bytes], name: str | Path) -> str:
    """The format of an encoded image by its first bytes; leaves the stream at its start."""
    try:
        start = stream.read(32)
        stream.seek(0)
    except OSError as error:
        raise ImageError(name, f"cannot be read: {error.strerror or error}") from error
    if not start:
        raise ImageError(name, "is empty (0 bytes)")
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(_TIFF_STARTS):
        return "TIFF"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    # Two letters are a weak sign of BMP; the size of its information header makes it sure.
    if start.startswith(b"BM") and start[14:15] in (b"\x0c", b"\x28", b"\x34", b"\x38", b"\x40", b"\x6c", b"\x7c"):
        return "BMP"
    for offset, sign, other in _OTHERS:
        if start[offset:].startswith(sign):
            raise ImageError(name, f"{other} files are not read; convert it to {_SUPPORTED}")
    raise ImageError(name, f"is not an image ({_SUPPORTED})")


@contextmanager
def _reader(stream: IO[bytes], name: str | Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Parse the header and check the size; nothing is decoded yet. Whatever fails inside becomes an ImageError."""
    kind = _format(stream, name)
    try:
        try:
            picture = _READERS[kind](stream)
        except Image.DecompressionBombError:
            # WebP alone is checked by Pillow as early as this.
            stream.seek(0)
            with _LIMIT.lifted():
                picture = _READERS[kind](stream)
        with picture:
            width, height = picture.size
            if width * height > max_pixels:
                size = f"{width} x {height} = {width * height / 1e6:.1f} megapixels"
                raise ImageError(name, f"{size}, over the limit of {max_pixels / 1e6:g} megapixels; scale it down")
            yield picture
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(name, "does not fit into memory") from error
    # Pillow's parsers let nearly any exception through for bytes made to confuse them, and one bad file must cost no
    # more than one error.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(name, f"damaged or truncated {kind} file ({reason})") from error


def _decoded(stream: IO[bytes], name: str | Path, mode: str, max_pixels: int) -> NDArray[np.uint8]:
    """Decode to upright uint8 RGB (h, w, 3) or grey (h, w)."""
    with _reader(stream, name, max_pixels) as picture:
        # A TIFF's depth and polarity have to be asked for before loading closes the file.
        bits, inverted = _depth(picture)
        turn = _load(picture, name)
        if picture.mode.startswith("I"):
            return _in_strips(picture, mode, turn, lambda strip: _high_byte(strip, bits, inverted, name))
        return _in_strips(picture, mode, turn, lambda strip: strip if strip.mode == mode else strip.convert(mode))


def _load(picture: ImageFile.ImageFile, name: str | Path) -> int:
    """Decode the pixels and return the orientation that is still to be applied."""
    if picture.mode == "F":
        raise ImageError(name, "has floating-point pixels, whose range is not defined; save it with 8 or 16 bits")
    if picture.mode in ("LAB", "HSV"):
        raise ImageError(name, f"has {picture.mode} colours; save it as RGB")
    # Pillow turns a TIFF by itself.
    turn = 1 if isinstance(picture, TiffImageFile) else _orientation(picture)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > limit:
        with _LIMIT.lifted():
            picture.load()
    else:
        picture.load()
    picture.info.pop("transparency", None)  # or Pillow warns that it gets lost
    return turn


def _in_strips(picture: Image.Image, mode: str, turn: int, converted: Any) -> NDArray[np.uint8]:
    """Convert, turn and copy strip by strip, so that no second copy of a large image is ever needed."""
    move, sideways, reverse = _MOVES.get(turn, (None, False, False))
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


def _high_byte(strip: Image.Image, bits: int, inverted: bool, name: str | Path) -> Image.Image:
    """Integer grey of up to 16 bits to 8 bits by its high byte, as Pillow does for 16-bit colour."""
    values = np.asarray(strip)
    if strip.mode == "I":
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 0xFFFF:
            raise ImageError(name, f"has 32-bit pixels from {low} to {high}; save it with 8 or 16 bits")
    grey = (values >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - grey if inverted else grey)


def _depth(picture: ImageFile.ImageFile) -> tuple[int, bool]:
    """Bits of an integer grey image, and whether 0 is white. Pillow inverts such images at 8 bits only."""
    if not isinstance(picture, TiffImageFile) or not picture.mode.startswith("I"):
        return 16, False
    bits = picture.tag_v2.get(258, (16,))[0]
    return (bits if 8 < bits < 16 else 16), picture.tag_v2.get(262) == 0


def _orientation(picture: ImageFile.ImageFile) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the EXIF block is damaged, which does not harm the pixels."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


class _PillowLimit:
    """Lifts Pillow's process-wide size limit for as long as any thread decodes an image that our own limit allows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved: int | None = None

    @contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    Image.MAX_IMAGE_PIXELS = self._saved


_LIMIT = _PillowLimit()
