"""Every kind of image file is really encoded here and read back."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from boxpromptiml.errors import ImageError
from boxpromptiml.images import (
    decode_image,
    decode_picture,
    image_size,
    mask_is_coloured,
    open_image,
    open_mask,
    pixels,
    read_image_file,
)

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
ALPHA = COLOUR[..., 1]
GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)
DEEP = RNG.integers(0, 65536, (23, 31), dtype=np.uint16)
DEEP_RGB = np.repeat((DEEP >> 8).astype(np.uint8)[..., None], 3, axis=2)
DEEP_COLOUR = RNG.integers(0, 65536, (23, 31, 3), dtype=np.uint16)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def deep_png(samples: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG of any number of channels (Pillow writes only grey ones)."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff(samples: NDArray[np.generic], photometric: int | None = None, order: str = "<") -> bytes:
    """An uncompressed TIFF of 16-bit samples, of either byte order and polarity."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if photometric is None:
        photometric = 1 if channels == 1 else 2
    data = samples.astype(f"{order}u2").tobytes()
    depths = struct.pack(f"{order}{channels}H", *[16] * channels)
    offset = 8
    pixels = offset + len(depths)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, offset if channels > 2 else 16),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, pixels),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        field = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", pixels + len(data))
    return head + depths + data + directory + struct.pack(f"{order}I", 0)


def palette(transparency: object = None) -> bytes:
    picture = Image.fromarray(COLOUR).quantize(16)
    return saved(picture, "PNG", **({} if transparency is None else {"transparency": transparency}))


PALETTE = np.asarray(Image.fromarray(COLOUR).quantize(16).convert("RGB"))
BITS = GREY > 127
BITS_RGB = np.repeat((BITS * np.uint8(255))[..., None], 3, axis=2)
OTHER = Image.new("RGB", (31, 23))
RGBA = Image.fromarray(np.dstack([COLOUR, ALPHA]))
LA = Image.fromarray(np.dstack([GREY, ALPHA]))

# name, encoded file, pixels expected
EXACT: list[tuple[str, bytes, NDArray[np.uint8]]] = [
    ("rgb.png", saved(Image.fromarray(COLOUR), "PNG"), COLOUR),
    ("rgb.bmp", saved(Image.fromarray(COLOUR), "BMP"), COLOUR),
    ("rgb.tif", saved(Image.fromarray(COLOUR), "TIFF"), COLOUR),
    ("lzw.tiff", saved(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw"), COLOUR),
    ("big.tif", saved(Image.fromarray(COLOUR), "TIFF", big_tiff=True), COLOUR),
    (
        "pages.tif",
        saved(Image.fromarray(COLOUR), "TIFF", save_all=True, append_images=[Image.new("L", (5, 5))]),
        COLOUR,
    ),
    ("rgb.webp", saved(Image.fromarray(COLOUR), "WEBP", lossless=True), COLOUR),
    (
        "animated.webp",
        saved(
            Image.fromarray(COLOUR), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (31, 23))]
        ),
        COLOUR,
    ),
    ("UPPER.PNG", saved(Image.fromarray(COLOUR), "PNG"), COLOUR),
    ("no-suffix", saved(Image.fromarray(COLOUR), "PNG"), COLOUR),
    ("grey.png", saved(Image.fromarray(GREY), "PNG"), GREY_RGB),
    ("grey.bmp", saved(Image.fromarray(GREY), "BMP"), GREY_RGB),
    ("grey.tif", saved(Image.fromarray(GREY), "TIFF"), GREY_RGB),
    ("bits.png", saved(Image.fromarray(BITS), "PNG"), BITS_RGB),
    ("bits.bmp", saved(Image.fromarray(BITS), "BMP"), BITS_RGB),
    ("fax.tif", saved(Image.fromarray(BITS), "TIFF", compression="group4"), BITS_RGB),
    ("palette.png", palette(), PALETTE),
    ("palette-one-clear-colour.png", palette(3), PALETTE),
    ("palette-alpha.png", palette(bytes(range(0, 240, 15))), PALETTE),
    ("palette.bmp", saved(Image.fromarray(COLOUR).quantize(16), "BMP"), PALETTE),
    ("rgba.png", saved(RGBA, "PNG"), COLOUR),
    ("rgba.tif", saved(RGBA, "TIFF"), COLOUR),
    ("rgba.webp", saved(RGBA, "WEBP", lossless=True, exact=True), COLOUR),
    ("la.png", saved(LA, "PNG"), GREY_RGB),
    ("la.tif", saved(LA, "TIFF"), GREY_RGB),
    ("deep-grey.png", saved(Image.fromarray(DEEP), "PNG"), DEEP_RGB),
    ("deep-grey.tif", saved(Image.fromarray(DEEP), "TIFF"), DEEP_RGB),
    ("deep-grey-mm.tif", deep_tiff(DEEP, order=">"), DEEP_RGB),
    (
        "white-is-zero.tif",
        deep_tiff(DEEP, photometric=0),
        255 - DEEP_RGB,
    ),
    ("deep-rgb.png", deep_png(DEEP_COLOUR), (DEEP_COLOUR >> 8).astype(np.uint8)),
    ("deep-rgb.tif", deep_tiff(DEEP_COLOUR), (DEEP_COLOUR >> 8).astype(np.uint8)),
    ("deep-rgb-mm.tif", deep_tiff(DEEP_COLOUR, order=">"), (DEEP_COLOUR >> 8).astype(np.uint8)),
    ("deep-la.png", deep_png(DEEP_COLOUR[..., :2]), np.repeat((DEEP_COLOUR[..., :1] >> 8).astype(np.uint8), 3, 2)),
    ("deep-rgba.png", deep_png(np.dstack([DEEP_COLOUR, DEEP])), (DEEP_COLOUR >> 8).astype(np.uint8)),
    (
        "int32.tif",
        saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        DEEP_RGB,
    ),
]


@pytest.mark.parametrize(("name", "data", "expected"), EXACT, ids=[row[0] for row in EXACT])
def test_reads_pixels_exactly(tmp_path: Path, name: str, data: bytes, expected: NDArray[np.uint8]) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    pixels = open_image(path)

    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(decode_image(data), expected)
    np.testing.assert_array_equal(np.asarray(decode_picture(data)), expected)
    assert image_size(path) == (31, 23)
    assert read_image_file(path) == data


def smooth() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:40, 0:60]
    return np.dstack([x * 4, y * 6, 255 - x * 2 - y]).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rgb.jpg", saved(Image.fromarray(smooth()), "JPEG", quality=95, subsampling=0)),
        ("progressive.jpeg", saved(Image.fromarray(smooth()), "JPEG", quality=95, subsampling=0, progressive=True)),
        ("cmyk.jpg", saved(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=95)),
        ("cmyk.tif", saved(Image.fromarray(smooth()).convert("CMYK"), "TIFF")),
        ("ycbcr.tif", saved(Image.fromarray(smooth()), "TIFF", compression="jpeg", quality=95)),
        ("mpo.jpg", saved(Image.fromarray(smooth()), "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40))])),
        ("lossy.webp", saved(Image.fromarray(smooth()), "WEBP", quality=95)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_reads_lossy_and_cmyk_files(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    difference = np.abs(open_image(path).astype(int) - smooth())

    assert difference.mean() < 3  # inverted CMYK would be off by about 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_applies_the_orientation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, orientation: int) -> None:
    monkeypatch.setattr(pixels, "_STRIP_PIXELS", 100)  # several strips, the last one short
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{kind.lower()}"
    Image.fromarray(COLOUR).save(path, kind, exif=exif)
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")

    np.testing.assert_array_equal(open_image(path), np.asarray(upright))
    np.testing.assert_array_equal(open_mask(path), np.asarray(upright.convert("L")))
    np.testing.assert_array_equal(np.asarray(decode_picture(path.read_bytes())), np.asarray(upright))
    assert image_size(path) == upright.size


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_ignores_orientations_that_do_not_exist(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value

    assert decode_image(saved(Image.fromarray(COLOUR), "PNG", exif=exif)).shape == COLOUR.shape


def test_a_damaged_exif_block_does_not_harm_the_pixels() -> None:
    data = saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")

    assert decode_image(data).shape == COLOUR.shape


PNG = saved(Image.fromarray(COLOUR), "PNG")
JPEG = saved(Image.fromarray(COLOUR), "JPEG")
TIFF = saved(Image.fromarray(COLOUR), "TIFF")
LZW = saved(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw")
WEBP = saved(Image.fromarray(COLOUR), "WEBP", lossless=True)
BMP = saved(Image.fromarray(COLOUR), "BMP")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jpg", b"", r"is empty \(0 bytes\)"),
        ("text.png", b"not an image at all, but long enough to be looked at", "is not an image"),
        ("short.bmp", b"BM", "is not an image"),
        ("start.png", PNG[:20], "damaged or truncated PNG"),
        ("half.png", PNG[: len(PNG) // 2], "damaged or truncated PNG"),
        ("half.jpg", JPEG[: len(JPEG) // 2], "damaged or truncated JPEG"),
        ("start.jpg", JPEG[:30], "damaged or truncated JPEG"),
        ("half.tif", TIFF[: len(TIFF) // 2], "damaged or truncated TIFF"),
        ("half-lzw.tif", LZW[: len(LZW) // 2], "damaged or truncated TIFF"),
        ("half.webp", WEBP[: len(WEBP) // 2], "damaged or truncated WebP"),
        ("half.bmp", BMP[: len(BMP) // 2], "damaged or truncated BMP"),
        ("crc.png", PNG[:30] + bytes([PNG[30] ^ 255]) + PNG[31:], "damaged or truncated PNG"),
        ("png.jpg", PNG, r"is a PNG file, not what \.jpg says; rename it to end in \.png"),
        ("jpeg.png", JPEG, r"is a JPEG file, not what \.png says; rename it to end in \.jpg"),
        ("webp.jpeg", WEBP, r"is a WebP file, not what \.jpeg says"),
        ("png.txt", PNG, r"is a PNG file, not what \.txt says"),
        ("animation.gif", saved(Image.fromarray(GREY), "GIF"), "GIF files are not read; convert it to PNG, JPEG"),
        ("phone.heic", b"\0\0\0\x18ftypheic" + bytes(40), "HEIC files are not read"),
        ("paper.pdf", b"%PDF-1.7" + bytes(40), "PDF files are not read"),
        ("float.tif", saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "floating-point"),
        ("lab.tif", saved(Image.new("LAB", (9, 9)), "TIFF"), "LAB colours"),
        ("negative.tif", saved(Image.fromarray(np.full((4, 4), -5, np.int32)), "TIFF"), "32-bit pixels from -5"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)
def test_bad_files_raise_one_error_with_path_and_reason(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    def decode(path: Path) -> object:
        return decode_picture(read_image_file(path), path)

    for read in (open_image, open_mask, decode):
        with pytest.raises(ImageError, match=reason) as caught:
            read(path)
        assert caught.value.path == path
        assert caught.value.reason
        assert str(caught.value) == f"{path}: {caught.value.reason}"
        assert "\n" not in str(caught.value)


def test_a_sound_file_of_an_odd_layout_is_not_called_damaged() -> None:
    """A TIFF with 64 bits a pixel, which Pillow has no mode for."""
    tags = ((256, 4), (257, 4), (258, 64), (259, 1), (262, 1), (273, 122), (277, 1), (278, 4), (279, 128))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 128)
    with pytest.raises(ImageError, match="has a pixel layout that is not read; save it with 8 bits"):
        decode_image(data)


@pytest.mark.parametrize("read", [open_image, open_mask, image_size, mask_is_coloured, read_image_file])
def test_missing_files_folders_and_odd_names(tmp_path: Path, read: Callable[[Path | str], object]) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(ImageError, match="cannot be opened"):
        read("null\0byte.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        read(tmp_path / ("x" * 300 + ".png"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(PNG)
    path.chmod(0)

    with pytest.raises(ImageError, match="cannot be opened: Permission denied"):
        open_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(ImageError, match="is not a regular file"):
        open_image(tmp_path / "pipe.png")


def test_errors_of_bytes_carry_the_given_name() -> None:
    with pytest.raises(ImageError, match=r"upload 7: is not an image"):
        decode_image(b"x" * 50, "upload 7")
    with pytest.raises(ImageError, match=r"upload 8: damaged or truncated JPEG"):
        decode_picture(JPEG[:-200], "upload 8")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_the_limit_is_checked_by_the_header(tmp_path: Path, kind: str) -> None:
    data = saved(Image.fromarray(COLOUR), kind)
    path = tmp_path / f"large.{kind.lower()}"
    path.write_bytes(data)

    assert open_image(path, max_pixels=23 * 31).shape == COLOUR.shape
    for read in (open_image, open_mask, image_size):
        with pytest.raises(ImageError, match=r"31 x 23 = .* megapixels, over the limit"):
            read(path, max_pixels=23 * 31 - 1)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """65,500 x 65,500 pixels in a header and no data: decoding would ask for 12 GB."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 65500, 65500, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = start + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))

    with pytest.raises(ImageError, match=r"65500 x 65500 = 4290.2 megapixels, over the limit of 200 megapixels"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_our_limit_holds_and_not_pillows(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, kind: str
) -> None:
    """Pillow's own limit (179 MP, with warnings from 89 MP on) neither refuses nor warns, and stays as it was."""
    data = saved(Image.fromarray(COLOUR), kind, **({"lossless": True} if kind == "WEBP" else {}))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    np.testing.assert_array_equal(decode_image(data), COLOUR)

    assert Image.MAX_IMAGE_PIXELS == 100
    assert not recwarn.list


def test_many_threads_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    barrier = threading.Barrier(8)

    def work(data: bytes) -> NDArray[np.uint8]:
        barrier.wait()
        for _ in range(20):
            pixels = decode_image(data)
        return pixels

    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(work, [PNG, TIFF, LZW, WEBP] * 2):
            np.testing.assert_array_equal(pixels, COLOUR)
    assert Image.MAX_IMAGE_PIXELS == 100


@settings(deadline=None, max_examples=150)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@given(st.sampled_from([PNG, JPEG, TIFF, LZW, WEBP, BMP]), st.data())
def test_mangled_bytes_give_pixels_or_an_image_error(data: bytes, draw: st.DataObject) -> None:
    mangled = bytearray(data[: draw.draw(st.integers(0, len(data)), label="length")])
    for _ in range(draw.draw(st.integers(0, 4), label="changes") if mangled else 0):
        mangled[draw.draw(st.integers(0, len(mangled) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):  # any other exception fails the test
        assert decode_image(bytes(mangled), max_pixels=10**6).ndim == 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.fromarray(GREY), "PNG"), GREY),
        (saved(Image.fromarray(BITS), "PNG"), BITS * np.uint8(255)),
        (saved(Image.fromarray(DEEP), "PNG"), (DEEP >> 8).astype(np.uint8)),
        (saved(Image.fromarray(GREY_RGB), "PNG"), GREY),
        (saved(LA, "PNG"), GREY),
        (saved(Image.fromarray(COLOUR), "PNG"), np.asarray(Image.fromarray(COLOUR).convert("L"))),
        (saved(Image.fromarray(GREY // 64 * 64).quantize(4), "PNG"), GREY // 64 * 64),
    ],
    ids=["grey", "bits", "16-bit", "grey as RGB", "grey and alpha", "colour", "palette"],
)
def test_masks_are_read_as_8_bit_grey(tmp_path: Path, data: bytes, expected: NDArray[np.uint8]) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(data)

    np.testing.assert_array_equal(open_mask(path), expected)


def test_tells_coloured_masks(tmp_path: Path) -> None:
    one_off = GREY_RGB.copy()
    one_off[22, 30, 2] ^= 1
    table = {
        "grey.png": (Image.fromarray(GREY), False),
        "bits.png": (Image.fromarray(BITS), False),
        "deep.png": (Image.fromarray(DEEP), False),
        "grey-rgb.png": (Image.fromarray(GREY_RGB), False),
        "one-pixel.png": (Image.fromarray(one_off), True),
        "palette.png": (Image.fromarray(COLOUR).quantize(8), True),
        "grey-palette.png": (Image.fromarray(GREY_RGB).quantize(8), False),
    }
    for name, (picture, _) in table.items():
        picture.save(tmp_path / name)

    assert {name: mask_is_coloured(tmp_path / name) for name in table} == {n: c for n, (_, c) in table.items()}
