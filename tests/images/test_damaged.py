"""Files of which a byte has changed: refused, or the pixels that they hold; never others."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from boxpromptiml.errors import ImageError
from boxpromptiml.images import (
    decode_image,
    decode_mask,
    decode_photo,
    decode_picture,
    encode_png,
    image_size,
    mask_is_coloured,
    open_image,
    open_mask,
    picture_pixels,
)
from boxpromptiml.images.painted import decode_grey_png
from boxpromptiml.images.shrinking import open_shrunk

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(NOISE[:4, :4]).resize((60, 50), Image.Resampling.BICUBIC))
MASK = np.zeros((90, 80), np.uint8)
MASK[20:70:3, 15:60] = 255
MASK[30:60, 20:50] = 255
SOFT = np.clip(255 - 4 * np.hypot(*np.mgrid[-30:40, -20:50]), 0, 255).astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def changed(data: bytes, place: int, bits: int = 0x10) -> bytes:
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


def in_short_chunks(png: bytes, length: int = 50) -> bytes:
    """The same PNG, its pixels cut into many chunks, as other programs write them."""
    start = png.index(b"IDAT") - 4
    end = png.index(b"IEND") - 4
    pixels = png[start + 8 : end - 4]
    assert pixels.count(b"IDAT") == 0
    parts = [pixels[place : place + length] for place in range(0, len(pixels), length)]
    return png[:start] + b"".join(chunk(b"IDAT", part) for part in parts) + png[end:]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


TURNED = Image.Exif()
TURNED[0x0112] = 6
PNGS = {
    "noise": saved(Image.fromarray(NOISE), "PNG"),
    "smooth": saved(Image.fromarray(SMOOTH), "PNG"),
    "short chunks": in_short_chunks(saved(Image.fromarray(SMOOTH), "PNG")),
    "turned": saved(Image.fromarray(SMOOTH), "PNG", exif=TURNED),
    "palette": saved(Image.fromarray(SMOOTH).quantize(16), "PNG"),
    "deep": encode_png(SOFT.astype(np.uint16) * 257),
    "mask": encode_png(MASK),
    "soft mask": encode_png(SOFT),
    "bits": saved(Image.fromarray(MASK > 0), "PNG"),
}
OTHERS = {
    "JPEG": saved(Image.fromarray(SMOOTH), "JPEG"),
    "TIFF": saved(Image.fromarray(SMOOTH), "TIFF"),
    "LZW": saved(Image.fromarray(SMOOTH), "TIFF", compression="tiff_lzw"),
    "WebP": saved(Image.fromarray(SMOOTH), "WEBP"),
    "lossless WebP": saved(Image.fromarray(SMOOTH), "WEBP", lossless=True),
    "BMP": saved(Image.fromarray(SMOOTH), "BMP"),
}

READERS: dict[str, Callable[[Path], object]] = {
    "open_image": open_image,
    "open_mask": open_mask,
    "mask_is_coloured": mask_is_coloured,
    "open_shrunk": lambda path: open_shrunk(path, 16),
    "decode_image": lambda path: decode_image(path.read_bytes()),
    "decode_mask": lambda path: decode_mask(path.read_bytes()),
    "decode_picture": lambda path: decode_picture(path.read_bytes()),
    "decode_photo": lambda path: decode_photo(path.read_bytes()),
    "picture_pixels": lambda path: picture_pixels(Image.open(path)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", ["noise", "short chunks", "turned", "palette"])
def test_every_reader_refuses_a_png_with_a_changed_byte_in_the_middle(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "damaged.png"
    path.write_bytes(changed(PNGS[name], len(PNGS[name]) * 2 // 3))

    with pytest.raises(ImageError, match=r"damaged or truncated PNG|cannot be decoded"):
        read(path)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_every_reader_refuses_a_png_that_ends_early(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(PNGS["short chunks"][: int(len(PNGS["short chunks"]) * cut)])

    for read in READERS.values():
        with pytest.raises(ImageError, match=r"damaged or truncated PNG|cannot be decoded"):
            read(path)


def test_a_damaged_mask_over_the_wire_is_refused() -> None:
    with pytest.raises(ImageError, match="damaged or truncated PNG"):
        decode_grey_png(changed(PNGS["mask"], len(PNGS["mask"]) * 2 // 3))


def test_pixels_that_are_not_those_of_the_checksum_are_refused() -> None:
    """They unpack without a complaint, so Pillow alone reads them."""
    png = PNGS["bits"]
    start, end = png.index(b"IDAT") + 4, png.index(b"IEND") - 8
    rows = bytearray(zlib.decompress(png[start:end]))
    rows[len(rows) // 2 + 5] ^= 255
    other = zlib.compress(bytes(rows))
    data = png[: start - 8] + struct.pack(">I", len(other)) + b"IDAT" + other + png[end:]
    Image.open(io.BytesIO(data)).load()

    with pytest.raises(ImageError, match=r"damaged or truncated PNG file \(the checksum of its pixels is wrong\)"):
        decode_mask(data)


def behind_pixels(png: bytes, *chunks: bytes) -> bytes:
    end = png.index(b"IEND") - 4
    return png[:end] + b"".join(chunks) + png[end:]


TOO_LONG = chunk(b"zTXt", b"notes\0\0" + zlib.compress(b"." * 2_000_000))
TOO_MANY = [chunk(b"tEXt", b"%d\0" % number + b"." * 900_000) for number in range(75)]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("text", [[TOO_LONG], TOO_MANY], ids=["too long", "too many"])
def test_text_behind_the_pixels_that_pillow_refuses_is_no_damage(
    tmp_path: Path, read: Callable[[Path], object], text: list[bytes]
) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(behind_pixels(PNGS["mask"], *text))
    read(path)

    np.testing.assert_array_equal(open_mask(path), decode_mask(PNGS["mask"]))
    png = PNGS["mask"]
    start, end = png.index(b"IDAT") - 4, png.index(b"IEND") - 8
    half = chunk(b"IDAT", png[start + 8 : (start + end) // 2])
    path.write_bytes(behind_pixels(png[:start] + half + png[end + 4 :], *text))
    with pytest.raises(ImageError, match="damaged or truncated PNG"):
        open_mask(path)


def test_a_chunk_behind_the_pixels_may_have_a_name_that_pillow_passes_over(tmp_path: Path) -> None:
    """What follows it counts, for its size as for its pixels."""
    png = PNGS["turned"]
    start = png.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", png[start : start + 4])[0]
    exif = png[start : start + length]
    path = tmp_path / "file.png"
    path.write_bytes(behind_pixels(png[:start] + png[start + length :], chunk(b"pr1v", b"?"), exif))

    height, width = open_image(path).shape[:2]
    assert image_size(path) == (width, height) == (50, 60)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(PNGS)), st.data(), st.integers(1, 255))
def test_a_png_with_a_changed_byte_is_refused_or_read_as_before(name: str, draw: st.DataObject, bits: int) -> None:
    data = PNGS[name]
    damaged = changed(data, draw.draw(st.integers(0, len(data) - 1), label="place"), bits)
    for read in (decode_image, decode_mask):
        try:
            pixels = read(damaged)
        except ImageError:
            continue
        np.testing.assert_array_equal(pixels, read(data))


def by_pillow(data: bytes, mode: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return np.asarray(ImageOps.exif_transpose(picture).convert(mode))


@settings(deadline=None, max_examples=200)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@given(st.sampled_from(sorted(OTHERS)), st.data(), st.integers(1, 255))
def test_what_is_read_of_other_formats_is_what_pillow_reads(name: str, draw: st.DataObject, bits: int) -> None:
    """They carry no checksums. What Pillow refuses is refused, though."""
    data = OTHERS[name]
    damaged = changed(data, draw.draw(st.integers(0, len(data) - 1), label="place"), bits)
    for read, mode in ((decode_image, "RGB"), (decode_mask, "L")):
        try:
            pixels = read(damaged, max_pixels=10**6)
        except ImageError:
            continue
        with Image.open(io.BytesIO(damaged)) as picture:
            deep = picture.mode.startswith("I")
        if not deep:  # which Pillow clips
            np.testing.assert_array_equal(pixels, by_pillow(damaged, mode))


def test_pillows_leniency_is_no_way_around_the_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other packages switch it on for the whole process."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)

    with pytest.raises(ImageError, match="damaged or truncated PNG"):
        decode_image(changed(PNGS["noise"], len(PNGS["noise"]) // 2))
