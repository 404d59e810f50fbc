"""Sizes and orientations are told without decoding a pixel, wherever a file says them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from boxpromptiml.images import (
    browser_type,
    decode_image,
    decode_mask,
    decode_photo,
    encoded_size,
    image_size,
    picture_pixels,
)

WIDTH, HEIGHT = 7, 5
COLOUR = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PIXELS = zlib.compress(b"".join(b"\0" + row.tobytes() for row in COLOUR))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(before: bytes = b"", behind: bytes = b"", parts: int = 1) -> bytes:
    """A PNG with chunks before and behind those of its pixels."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    size = -(-len(PIXELS) // parts)
    pixels = b"".join(chunk(b"IDAT", PIXELS[place : place + size]) for place in range(0, len(PIXELS), size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + behind + chunk(b"IEND", b"")


def tiff(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)


def exif(orientation: int) -> bytes:
    return chunk(b"eXIf", tiff(orientation))


def xmp(orientation: int) -> bytes:
    text = f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)


def raw_profile(orientation: int) -> bytes:
    """As ImageMagick writes EXIF."""
    block = b"Exif\0\0" + tiff(orientation)
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


def comment(orientation: int) -> bytes:
    return chunk(b"tEXt", b"Comment\0Orientation %d" % orientation)


def private(orientation: int) -> bytes:
    return chunk(b"prVt", bytes([orientation]) * 5)


def by_pillow(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return ImageOps.exif_transpose(picture)


KINDS = [exif, xmp, raw_profile, comment, private]
CHUNKS = st.lists(st.builds(lambda kind, turn: kind(turn), st.sampled_from(KINDS), st.integers(0, 9)), max_size=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [exif, xmp, raw_profile])
def test_an_orientation_behind_the_pixels_is_applied(kind: Callable[[int], bytes], orientation: int) -> None:
    """The PNG format allows it, and some programs append their metadata."""
    data = png(behind=kind(orientation), parts=3)
    upright = by_pillow(data)

    assert upright.size == ((HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT))
    assert encoded_size(data) == upright.size
    np.testing.assert_array_equal(decode_image(data), np.asarray(upright))
    np.testing.assert_array_equal(decode_mask(data), np.asarray(upright.convert("L")))
    np.testing.assert_array_equal(np.asarray(decode_photo(data).picture), np.asarray(upright))
    np.testing.assert_array_equal(picture_pixels(Image.open(io.BytesIO(data))), np.asarray(upright))


@settings(deadline=None, max_examples=100)
@given(CHUNKS, CHUNKS, st.integers(1, 4))
def test_the_size_is_that_of_the_pixels_wherever_a_png_says_its_orientation(
    before: list[bytes], behind: list[bytes], parts: int
) -> None:
    data = png(b"".join(before), b"".join(behind), parts)
    pixels = decode_image(data)
    photo = decode_photo(data)

    np.testing.assert_array_equal(pixels, np.asarray(by_pillow(data)))
    assert encoded_size(data) == pixels.shape[1::-1] == (photo.width, photo.height) == photo.picture.size


def test_the_metadata_of_later_frames_is_not_that_of_the_first() -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "PNG", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    end = stream.getvalue().rindex(b"IEND") - 4
    data = stream.getvalue()[:end] + exif(6) + stream.getvalue()[end:]

    assert encoded_size(data) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(decode_image(data), COLOUR)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize(
    "behind",
    [
        exif(6)[:-20],
        struct.pack(">I", 2**32 - 1) + b"eXIf" + tiff(6),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        chunk(b"zTXt", b"Comment\0\7") + exif(6),
        chunk(b"tEXt", b"") + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no stream"),
        b"\0\0\0\4 \0\n\xff" + exif(6),
    ],
    ids=["cut short", "a length past the end", "no TIFF inside", "no method", "nothing inside", "no name"],
)
def test_damaged_metadata_behind_the_pixels_says_nothing(behind: bytes) -> None:
    assert encoded_size(png(behind=behind)) == (WIDTH, HEIGHT)


KIND_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {},
    "TIFF": {},
    "LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "WEBP": {},
    "BMP": {},
}


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, **{"format": kind, **KIND_OPTIONS[kind]})
    return stream.getvalue()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each picture that Pillow takes memory for."""
    events: list[str] = []
    prepare = ImageFile.ImageFile.load_prepare

    def counted(picture: ImageFile.ImageFile) -> None:
        events.append("decoded")
        prepare(picture)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", counted)
    return events


@pytest.mark.parametrize("kind", KIND_OPTIONS)
def test_nothing_is_decoded_for_a_size(tmp_path: Path, decoded: list[str], kind: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encoded(kind))

    assert image_size(path) == encoded_size(path.read_bytes()) == browser_type(path)[1] == (WIDTH, HEIGHT)
    assert not decoded


def test_the_size_of_a_png_is_told_whatever_its_pixels_are() -> None:
    assert encoded_size(png()[:-40]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", [*KIND_OPTIONS, "16 bits"])
def test_memory_is_asked_for_before_anything_is_decoded(decoded: list[str], kind: str) -> None:
    if kind == "16 bits":
        stream = io.BytesIO()
        Image.fromarray(COLOUR[..., 0].astype(np.uint16)).save(stream, "PNG")
        data = stream.getvalue()
    else:
        data = encoded(kind)

    decode_photo(data, before=lambda pixels: decoded.append(f"asked for {pixels}"))

    assert decoded == [f"asked for {WIDTH * HEIGHT}", "decoded"]
