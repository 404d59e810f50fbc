"""`images.shrinking`: pictures for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import ImageError, ImageTooLargeError
from boxpromptiml.images import open_image
from boxpromptiml.images.shrinking import browser_type, open_shrunk


def waves(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 6, height))
    pixels = np.stack([np.sin(x + i) * np.cos(y - i) for i in range(3)], axis=2)
    return Image.fromarray((127 + 120 * pixels).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((900, 300), 256, (256, 85)),
        ((300, 900), 256, (85, 256)),
        ((256, 10), 256, (256, 10)),
        ((100, 50), 256, (100, 50)),
        ((3000, 2), 256, (256, 1)),
        ((1, 1), 256, (1, 1)),
        ((900, 300), None, (900, 300)),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_the_longer_side_is_at_most_so_long(
    tmp_path: Path, suffix: str, size: tuple[int, int], side: int | None, expected: tuple[int, int]
) -> None:
    path = tmp_path / f"a{suffix}"
    waves(*size).save(path)
    shrunk = open_shrunk(path, side)
    assert (shrunk.size, shrunk.mode) == (expected, "RGB")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "LA", "1", "I;16"])
@pytest.mark.parametrize("side", [64, 256])
def test_it_looks_like_the_image(tmp_path: Path, mode: str, side: int) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture = waves(1000, 700).convert("I" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    picture.save(path, **({"quality": 95} if mode == "CMYK" else {}))
    exact = Image.fromarray(open_image(path)).resize((side, round(side * 0.7)), Image.Resampling.BICUBIC)
    shrunk = open_shrunk(path, side)
    difference = np.abs(np.asarray(shrunk, np.float32) - np.asarray(exact, np.float32))
    assert difference.mean() < 2.5


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("gone.png", None, ImageError),
        ("text.png", b"no image", ImageError),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00", ImageError),
        ("large.png", (1001, 1000), ImageTooLargeError),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, name: str, options: Any, error: type[ImageError]) -> None:
    path = tmp_path / name
    if isinstance(options, bytes):
        path.write_bytes(options)
    elif options is not None:
        waves(*options).save(path)
    for call in (lambda: open_shrunk(path, 64, max_pixels=10**6), lambda: browser_type(path, max_pixels=10**6)):
        with pytest.raises(error, match=name):
            call()


def test_an_animation_is_not_shown_as_it_is(tmp_path: Path) -> None:
    frames = [waves(30, 20), Image.new("RGB", (30, 20))]
    for suffix in (".png", ".webp"):
        path = tmp_path / f"moving{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert browser_type(path) == (None, (30, 20))
        assert np.abs(np.asarray(open_shrunk(path, None), int) - np.asarray(frames[0], int)).max() == 0
