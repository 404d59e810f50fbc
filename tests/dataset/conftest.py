"""A small dataset on disk, made with NumPy and Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    """An empty dataset in ``tmp_path/data``."""
    with Dataset.create(tmp_path / "data") as made:
        yield made


@pytest.fixture
def save() -> Callable[..., Path]:
    """``save(path, array)`` writes a PNG (or what the suffix says) and makes the folders."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def photo() -> Callable[..., np.ndarray]:
    """``photo(width, height, seed)``: RGB noise; other seeds, other pixels."""

    def make(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def blob() -> Callable[..., np.ndarray]:
    """``blob(box, width, height)``: a 0/255 mask that is 255 inside the box."""

    def make(box: tuple[int, int, int, int] = (10, 5, 20, 15), width: int = 40, height: int = 30) -> np.ndarray:
        mask = np.zeros((height, width), np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 255
        return mask

    return make
