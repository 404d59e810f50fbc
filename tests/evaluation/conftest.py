"""Data sets that the red model (see `make_red_model`) answers in a known way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.runtime import Localizer

SIDE = 64  # that of the network: nothing is resized, so figures can be worked out by hand


@pytest.fixture(scope="session")
def red(make_red_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    """The model that calls red pixels tampered, at 64 x 64."""
    return Localizer.load(make_red_model(tmp_path_factory.mktemp("red") / "model", SIDE, SIDE), threads=1)


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """``draw(columns)``: a grey image, uint8 (64, 64, 3), whose first columns are red."""

    def make(columns: int, side: int = SIDE) -> np.ndarray:
        image = np.full((side, side, 3), 120, np.uint8)
        image[:, :columns] = (255, 0, 0)
        return image

    return make


@pytest.fixture
def folders(tmp_path: Path, draw: Callable[..., np.ndarray]) -> Path:
    """Tp/Gt/Au: the model finds all of a.png, half of b.png and nothing of c.png; au2.png is half red."""
    root = tmp_path / "set"
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    for name, columns in {"a": 32, "b": 16, "c": 0}.items():
        Image.fromarray(draw(columns)).save(root / "Tp" / f"{name}.png")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, :32] = 255
        Image.fromarray(mask).save(root / "Gt" / f"{name}.png")
    Image.fromarray(draw(0)).save(root / "Au" / "au1.png")
    Image.fromarray(draw(32)).save(root / "Au" / "au2.png")
    return root
