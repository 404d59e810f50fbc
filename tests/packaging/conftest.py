"""A run of a tiny student, as `boxpromptiml train` leaves it, its dataset, and what a model says of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.dataset import Dataset
from boxpromptiml.formats import import_source
from boxpromptiml.metrics import ScoreHistogram, ThresholdSweep
from boxpromptiml.packaging.observing import Observed
from boxpromptiml.training.recipe import Recipe
from boxpromptiml.training.run import train


@pytest.fixture(scope="module", autouse=True)
def _convert_once(convert_once: object) -> None:
    """Nearly every test here packages the same run."""


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_dataset(name, tampered, authentic, seed, split)``: red patches on grey noise are tampered."""

    def make(name: str, tampered: int, authentic: int, seed: int = 0, split: str | None = "train") -> Path:
        root = tmp_path_factory.mktemp(name)
        rng = np.random.default_rng(seed)
        for part in ("Tp", "Gt", "Au"):
            (root / "source" / part).mkdir(parents=True)
        for place in range(tampered + authentic):
            pixels = rng.integers(90, 160, (64, 64, 3), dtype=np.uint8)
            if place < tampered:
                x, y = rng.integers(0, 36, 2)
                mask = np.zeros((64, 64), np.uint8)
                mask[y : y + 28, x : x + 28] = 255
                pixels[mask > 0] = (210, 60, 60)
                Image.fromarray(mask).save(root / "source" / "Gt" / f"{name}{place}.png")
            Image.fromarray(pixels).save(root / "source" / ("Tp" if place < tampered else "Au") / f"{name}{place}.png")
        with Dataset.create(root / "data") as dataset:
            import_source(root / "source", dataset, split=split, group_by="none")
        return root / "data"

    return make


@pytest.fixture(scope="session")
def dataset(make_dataset: Callable[..., Path]) -> Path:
    """30 tampered and 30 authentic training images."""
    return make_dataset("casia", 30, 30)


@pytest.fixture(scope="session")
def make_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``make_run(fit)``: trained for a few seconds, from true masks, with the image's own cross-entropy."""

    def make(fit: str) -> Path:
        recipe = Recipe.model_validate(
            {
                "epochs": 2,
                "student": {"backbone": "test_convnext", "width": 16, "memory_size": 8},
                "input": {"height": 64, "width": 64, "fit": fit},
                "data": {"workers": 0, "cache": False, "batch_size": 8},
                "validation": {"fraction": 0.4, "samples": 0},
                "loss": {"image": 0.2, "top_fraction": 0.1, "dice": 1.0},
                "optimizer": {"lr": 3e-3, "warmup_epochs": 0.2},
                "compute": {"accelerator": "cpu", "threads": 1},
            }
        )
        folder = tmp_path_factory.mktemp("run") / "run"
        train(dataset, folder, recipe, supervision="mask")
        return folder

    return make


@pytest.fixture(scope="session")
def run(make_run: Callable[[str], Path]) -> Path:
    """Of images resized to what the network takes."""
    return make_run("stretch")


@pytest.fixture(scope="session")
def observed() -> Callable[[NDArray[np.float32], NDArray[np.bool_]], Observed]:
    """``observed(values, truth)``: what a model says of an image, and what is right."""

    def make(values: NDArray[np.float32], truth: NDArray[np.bool_]) -> Observed:
        histogram, sweep = ScoreHistogram(), ThresholdSweep()
        histogram.update(values, truth)
        if truth.any():
            sweep.update(values, truth)
        return Observed(
            tampered=bool(truth.any()),
            highest=np.sort(values.ravel())[-10:],
            counts=np.stack([histogram.negatives, histogram.positives]),
            f1=sweep.f1() if truth.any() else None,
        )

    return make


@pytest.fixture(scope="session")
def make_images(observed: Callable[..., Observed]) -> Callable[..., list[Observed]]:
    """``make_images(count, level=, stray=)``: maps that give tampered pixels `level` and some untouched ones `stray`.

    Every second image is authentic.
    """

    def make(count: int, *, level: float, stray: float) -> list[Observed]:
        rng = np.random.default_rng(0)
        images = []
        for place in range(count):
            truth = np.zeros((20, 20), bool)
            if place % 2 == 0:
                truth[:8, :8] = True
            values = np.where(truth, level, np.where(rng.random((20, 20)) < 0.1, stray, 0.01))
            noisy = (values + rng.normal(0, 0.01, values.shape)).clip(0, 1).astype(np.float32)
            images.append(observed(noisy, truth))
        return images

    return make
