"""From a file or bytes to a parsed header, within the limits; every failure becomes an `ImageError`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from boxpromptiml.errors import ImageError, ImageTooLargeError
from boxpromptiml.images.kinds import SUFFIXES, format_of

DEFAULT_MAX_PIXELS = 200_000_000

# Pillow's classes are used as they are: `Image.open` would add a size check of its own with a process-wide setting,
# and the formats that other packages registered.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "BMP": BmpImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}


class PillowLimit:
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


PILLOW_LIMIT = PillowLimit()


@contextmanager
def open_file(path: str | Path, *, any_suffix: bool = False) -> Iterator[IO[bytes]]:
    """Open a file whose content is what its suffix says, or any image with `any_suffix`, at its start."""
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
        found = format_of(stream, path)
        suffix = path.suffix.lower()
        if suffix and not any_suffix and SUFFIXES.get(suffix) != found:
            remedy = next(known for known in (".bmp", ".jpg", ".png", ".tif", ".webp") if SUFFIXES[known] == found)
            raise ImageError(path, f"is a {found} file, not what {suffix} says; rename it to end in {remedy}")
        yield stream


@contextmanager
def open_picture(stream: IO[bytes], name: str | Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Parse the header and check the size; nothing is decoded yet. Whatever fails inside becomes an ImageError."""
    kind = format_of(stream, name)
    with one_error(name, f"damaged or truncated {kind} file"):
        try:
            picture = _READERS[kind](stream)
        except Image.DecompressionBombError:
            # WebP alone is checked by Pillow as early as this.
            stream.seek(0)
            with PILLOW_LIMIT.lifted():
                picture = _READERS[kind](stream)
        with picture:
            width, height = picture.size
            if width * height > max_pixels:
                size = f"{width} x {height} = {width * height / 1e6:.1f} megapixels"
                raise ImageTooLargeError(
                    name, f"{size}, over the limit of {max_pixels / 1e6:g} megapixels; scale it down"
                )
            yield picture


@contextmanager
def one_error(name: str | Path, otherwise: str) -> Iterator[None]:
    """Make an `ImageError` of whatever fails inside; `otherwise` is what to say of failures without a name."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(name, "does not fit into memory") from error
    # Pillow's parsers let nearly any exception through for bytes made to confuse them, and one bad file must cost no
    # more than one error.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason == "unknown pixel mode":  # a sound TIFF: three bands of 16 bits, odd sample formats ...
            raise ImageError(name, "has a pixel layout that is not read; save it with 8 bits, RGB or grey") from error
        raise ImageError(name, f"{otherwise} ({reason})") from error
