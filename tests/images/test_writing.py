"""PNG files keep every value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.images import encode_png, save_png

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
DEEP = RNG.integers(0, 65536, (23, 31), dtype=np.uint16)


@pytest.mark.parametrize("array", [GREY, COLOUR, DEEP, GREY[::2, ::-1]], ids=["grey", "rgb", "16-bit grey", "a view"])
def test_png_keeps_every_value(tmp_path: Path, array: NDArray[np.generic]) -> None:
    path = tmp_path / "new" / "folder" / "a.png"

    save_png(path, array)

    with Image.open(path) as picture:
        read = np.asarray(picture)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("array", [np.zeros((3, 3)), np.zeros((3, 3, 4), np.uint8), np.zeros((0, 3), np.uint8)])
def test_png_refuses_what_it_cannot_hold(array: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match=r"a PNG takes uint8"):
        encode_png(array)
