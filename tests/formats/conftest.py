"""Foreign data sets on disk, made with NumPy and Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset

Paint = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    """An empty dataset in ``tmp_path/data``."""
    with Dataset.create(tmp_path / "data") as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where a test makes its foreign data set."""
    return tmp_path / "source"


@pytest.fixture
def paint(source: Path) -> Paint:
    """``paint("Tp/a.png", colour, (width, height))`` makes an image below `source`.

    A colour is a grey value or RGB; its right half is black, so that a mask has something on both sides.
    """

    def make(name: str, colour: int | tuple[int, int, int] = 255, size: tuple[int, int] = (40, 30)) -> Path:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((size[1], size[0]) if isinstance(colour, int) else (size[1], size[0], 3), np.uint8)
        pixels[:, : size[0] // 2] = colour
        Image.fromarray(pixels).save(path)
        return path

    return make
