"""What Pillow leaves out of a PNG: the checksums of its pixels, and what is said behind them, without decoding them."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from PIL.PngImagePlugin import PngImageFile, PngStream

_HEAD = struct.Struct(">I4s")
# In which Pillow finds EXIF or XMP.
_METADATA = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
_NAME = re.compile(rb"\w{4}")  # of a chunk, by Pillow's rule, which is wider than the standard's
_BLOCK = 1 << 18  # bytes; fits into a core's cache


def check_pixels(picture: PngImageFile) -> None:
    """Compare the checksums of the compressed pixels of a PNG that is not decoded yet.

    Pillow passes them over. In a mask, which is compressed a hundredfold, every third byte can then be another one
    without anything but the pixels being wrong. It takes some 3 % of the time of decoding a photo, less of a mask.

    Raises:
        ValueError: a checksum is wrong.
    """
    for name, stream, length in _chunks_from_pixels(picture):
        if name != b"IDAT":
            return
        found = zlib.crc32(name)
        while block := stream.read(min(length, _BLOCK)):
            found = zlib.crc32(block, found)
            length -= len(block)
        if stream.read(4) != found.to_bytes(4, "big"):
            raise ValueError("the checksum of its pixels is wrong")


@contextmanager
def text_behind_passed_over(picture: PngImageFile) -> Iterator[None]:
    """While a PNG is decoded, text behind its pixels beyond Pillow's limits is left unread, and is no error.

    An error of the pixels, which Pillow raises after it has read what is behind them, stays one.
    """
    read_on = picture.load_end

    def load_end() -> None:
        with suppress(ValueError):
            read_on()

    picture.load_end = load_end  # type: ignore[method-assign]
    try:
        yield
    finally:
        del picture.load_end  # or the picture, whose method is in there, would not be freed with its last user


def info_behind_pixels(picture: PngImageFile) -> dict[Any, Any]:
    """What decoding would add to `info`: EXIF and text may follow the pixels. Damaged chunks end the search."""
    parser: PngStream | None = None
    for name, stream, length in _chunks_from_pixels(picture):
        if name == b"fcTL" and picture.is_animated:  # what follows belongs to the next frame
            break
        if name in _METADATA:
            parser = parser or PngStream(stream)
            try:
                parser.call(name, stream.tell(), length)
            # Bytes made to confuse the parser raise whatever they like; decoding them is an error of its own.
            except (ValueError, SyntaxError, LookupError):
                break
    return parser.im_info if parser is not None else {}


def _chunks_from_pixels(picture: PngImageFile) -> Iterator[tuple[bytes, IO[bytes], int]]:
    """Name, stream at its data and length of each whole chunk from the first of pixels to the end."""
    stream = picture.fp
    if stream is None or not picture.tile:
        return
    place = picture.tile[0][2] - _HEAD.size
    end = stream.seek(0, os.SEEK_END)
    while place + _HEAD.size <= end:
        stream.seek(place)
        length, name = _HEAD.unpack(stream.read(_HEAD.size))
        place += _HEAD.size + length + 4
        if name == b"IEND" or not _NAME.fullmatch(name) or place - 4 > end:
            return
        yield name, stream, length
