"""The figures of an evaluation, each with what it takes to reproduce it."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml import __version__
from boxpromptiml.metrics import ImageScore, Preset, Summary, bootstrap_interval, roc_auc

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image.

    Attributes:
        dataset: index of its dataset among those evaluated.
        image: path relative to the dataset.
        tampered: the truth about the image.
        score: the model's answer for the image, in [0, 1].
        pixels: its map against its mask (for an authentic image: against nothing tampered); None for a tampered
            image without a true mask.
        positive_area: share of the map's pixels above the preset's threshold.
    """

    dataset: int
    image: str
    tampered: bool
    score: float
    pixels: ImageScore | None
    positive_area: float


@dataclass(frozen=True)
class Figures:
    """Figures of a set of images; NaN where one is not defined.

    Attributes:
        n_tampered: tampered images.
        n_authentic: authentic images.
        n_without_mask: tampered images that have no true mask: they count for the image-level figures only.
        pixel: over the tampered images with masks.
        pixel_all_images: over these and the authentic ones, which score 0 when nothing else is said: what
            IMDLBenCo prints for a mixed set.
        image_auc: of the image scores, over tampered and authentic images.
        false_positive_area: mean share of an authentic image's pixels that is called tampered.
    """

    n_tampered: int
    n_authentic: int
    n_without_mask: int
    pixel: Summary
    pixel_all_images: Summary
    image_auc: float
    false_positive_area: float

    @classmethod
    def of(cls, images: Sequence[ImageResult], preset: Preset) -> Figures:
        """Sum up the results of images."""
        authentic = [image for image in images if not image.tampered]
        truth = np.array([image.tampered for image in images], dtype=bool)
        scores = np.array([image.score for image in images])
        tampered = [image for image in images if image.tampered]
        return cls(
            n_tampered=len(tampered),
            n_authentic=len(authentic),
            n_without_mask=sum(image.pixels is None for image in tampered),
            pixel=preset.summarise(_table(tampered)),
            pixel_all_images=preset.summarise(_table(images)),
            image_auc=roc_auc(scores, truth),
            false_positive_area=float(np.mean([i.positive_area for i in authentic])) if authentic else _NAN,
        )

    def to_json(self) -> dict[str, Any]:
        """Nested as in the report; None where a figure is not defined."""
        return {
            "n_tampered": self.n_tampered,
            "n_authentic": self.n_authentic,
            "n_without_mask": self.n_without_mask,
            "pixel": _defined(self.pixel._asdict()),
            "pixel_all_images": _defined(self.pixel_all_images._asdict()),
            "image": _defined({"auc": self.image_auc}),
            "authentic": _defined({"false_positive_area": self.false_positive_area}),
        }


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, over all its datasets together and over each of them.

    Attributes:
        preset: name of the protocol.
        mode: the protocol's mode.
        figures: over all images.
        ci95: 95 % bootstrap intervals of the figures of `Figures.pixel`, over images.
        datasets: for each dataset its name, the split evaluated (None: all images) and its figures.
        images: one result an image.
        n_skipped: images without label and mask, which were left out.
        model: what was evaluated.
        seconds: wall time of reading, localizing and scoring.
    """

    preset: str
    mode: str
    figures: Figures
    ci95: dict[str, tuple[float, float]]
    datasets: tuple[tuple[str, str | None, Figures], ...]
    images: tuple[ImageResult, ...]
    n_skipped: int
    model: dict[str, Any]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Everything but the single images, ready for `json.dumps`; None where a figure is not defined."""
        return {
            "preset": self.preset,
            "mode": self.mode,
            **self.figures.to_json(),
            "ci95": {name: [_number(low), _number(high)] for name, (low, high) in self.ci95.items()},
            "n_skipped": self.n_skipped,
            "datasets": [
                {"dataset": name, "split": split, **figures.to_json()} for name, split, figures in self.datasets
            ],
            "model": self.model,
            "environment": environment(),
            "seconds": round(self.seconds, 3),
        }


def pixel_intervals(images: Sequence[ImageResult], preset: Preset, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % intervals of the pixel figures over tampered images; figures that the preset lacks are left out."""
    summarise: Callable[[NDArray[np.float64]], Summary] = preset.summarise
    ends = bootstrap_interval(_table([i for i in images if i.tampered]), summarise, seed=seed)
    return {name: pair for name, pair in zip(Summary._fields, ends, strict=True) if not math.isnan(pair[0])}


def environment() -> dict[str, Any]:
    """Versions and machine."""
    return {
        "boxpromptiml": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnxruntime", "pillow")},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _table(images: Sequence[ImageResult]) -> NDArray[np.float64]:
    rows = [image.pixels for image in images if image.pixels is not None]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(ImageScore._fields))


def _defined(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in figures.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
