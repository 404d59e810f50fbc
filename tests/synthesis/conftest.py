"""Small photographs, made here: smooth light, some shapes, some grain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from boxpromptiml.synthesis import ObjectPool, PhotoPool, SynthesisConfig


def draw_photo(seed: int, width: int = 200, height: int = 150) -> NDArray[np.uint8]:
    """A picture with gradients, edges, texture and noise, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(14):
        x, y, w, h = rng.integers(0, width), rng.integers(0, height), rng.integers(8, 60), rng.integers(8, 60)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)((x, y, x + w, y + h), fill=colour)
    noisy = np.asarray(picture).astype(np.float64) + rng.normal(0, 4, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., Path]:
    """``make_photos(folder, number, first=0)`` writes that many JPEG photos."""

    def write(folder: Path, number: int, first: int = 0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + number):
            Image.fromarray(draw_photo(seed)).save(folder / f"photo{seed:02d}.jpg", quality=92)
        return folder

    return write


@pytest.fixture(scope="session")
def photo_folder(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", 8)


@pytest.fixture(scope="session")
def object_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs with two objects each."""
    folder = tmp_path_factory.mktemp("data") / "things"
    (folder / "images").mkdir(parents=True)
    (folder / "instances").mkdir()
    for seed in range(100, 104):
        photo, labels = Image.fromarray(draw_photo(seed)), Image.new("L", (200, 150))
        for label, box in ((1, (40, 40, 80, 110)), (2, (120, 30, 170, 75))):
            ImageDraw.Draw(photo).ellipse(box, fill=(seed, 255 - 90 * label, 40 * label))
            ImageDraw.Draw(labels).ellipse(box, fill=label)
        photo.save(folder / "images" / f"{seed}.jpg", quality=95)
        labels.save(folder / "instances" / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def photos(photo_folder: Path) -> PhotoPool:
    return PhotoPool(photo_folder)


@pytest.fixture(scope="session")
def objects(object_folder: Path) -> ObjectPool:
    return ObjectPool(object_folder)


@pytest.fixture(scope="session")
def only() -> Callable[..., SynthesisConfig]:
    """``only("removal", **settings)``: settings with one kind of manipulation."""

    def config(kind: str, **settings: object) -> SynthesisConfig:
        kinds = dict.fromkeys(("splice", "copy_move", "removal", "retouch"), 0.0) | {kind.replace("-", "_"): 1.0}
        return SynthesisConfig.model_validate({"kinds": kinds, **settings})

    return config


@pytest.fixture(scope="session")
def untouched() -> dict[str, object]:
    """Post-processing that does nothing, hard edges."""
    never = {"probability": 0, "quality": [90, 90, 90]}
    return {
        "postprocessing": {
            **dict.fromkeys(("host_jpeg", "donor_jpeg", "final_jpeg", "share_jpeg"), never),
            "resize_probability": 0,
            "blur_probability": 0,
        },
        "edge": {"feather_probability": 0},
        "second_region": 0,
    }
