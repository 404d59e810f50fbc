"""Small datasets with boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import save_png
from boxpromptiml.regions import Box

WIDTH, HEIGHT = 80, 60
DISC = Box(20, 15, 50, 45)


def _truth() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (np.hypot(y - 29.5, x - 34.5) < 15).astype(np.uint8) * 255


def _scene(seed: int) -> np.ndarray:
    image = np.where(_truth()[..., None] > 0, [190, 40, 40], [50, 140, 60])
    noise = np.random.default_rng(seed).normal(0, 8, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Make `tmp_path/name` with `number` tampered images (red disc, its box, its mask) and one authentic image."""

    def make(number: int = 4, name: str = "data") -> Dataset:
        root = tmp_path / name
        save_png(root / "masks" / "disc.png", _truth())
        dataset = Dataset.create(root)
        records = []
        for index in range(number):
            image = f"images/{index:03d}.png"
            save_png(root / image, _scene(index))
            split = "train" if index % 2 == 0 else "test"
            records.append(
                ImageRecord(
                    image, WIDTH, HEIGHT, "tampered", (DISC,), mask="masks/disc.png", split=split, kind="splice"
                )
            )
        save_png(root / "images" / "authentic.png", _scene(99))
        records.append(ImageRecord("images/authentic.png", WIDTH, HEIGHT, "authentic"))
        dataset.put(records)
        return dataset

    return make
