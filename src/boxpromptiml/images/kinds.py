"""Which formats are read, and how a file tells its own."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from boxpromptiml.errors import ImageError

SUFFIXES = {
    ".bmp": "BMP",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".mpo": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
}
IMAGE_SUFFIXES: frozenset[str] = frozenset(SUFFIXES)
# Of photographs and pictures in formats that are not read: whoever names a folder should hear of them.
_RAW = {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"}
_MODERN = {".avif", ".heic", ".heif", ".hif", ".j2k", ".jp2", ".jxl"}
_OLD = {".gif", ".ico", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga"}
UNREAD_SUFFIXES: frozenset[str] = frozenset(_RAW | _MODERN | _OLD)

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


def format_of(stream: IO[bytes], name: str | Path) -> str:
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
