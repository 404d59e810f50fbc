"""The figures of an evaluation, each with what it takes to reproduce it."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from boxpromptiml import __version__
from boxpromptiml.evaluation.calibration import Calibrations
from boxpromptiml.evaluation.groups import Group
from boxpromptiml.evaluation.pooled import NOT_POOLED, PixelCurves, Pooled
from boxpromptiml.evaluation.table import ImageTable
from boxpromptiml.metrics import ImageFigures, Preset, Summary

_NAN = float("nan")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Figures:
    """Figures of a set of images; NaN where one is not defined.

    Attributes:
        n_tampered: tampered images.
        n_authentic: authentic images.
        n_without_mask: tampered images that have no true mask: they count for the image-level figures only.
        pixel: over the tampered images with masks.
        pooled: over the pixels of these images, all in one pot.
        pixel_all_images: over these and the authentic ones, which score 0 where the preset says nothing else: what
            IMDLBenCo prints for a mixed set.
        pooled_all_images: over the pixels of all of them.
        image: of the image scores, over tampered and authentic images.
        false_positive_area: mean share of an authentic image's pixels that is called tampered.
    """

    n_tampered: int
    n_authentic: int
    n_without_mask: int
    pixel: Summary
    pooled: Pooled
    pixel_all_images: Summary
    pooled_all_images: Pooled
    image: ImageFigures
    false_positive_area: float

    @classmethod
    def of(
        cls,
        table: ImageTable,
        preset: Preset,
        image_threshold: float,
        curves: PixelCurves | None,
        dataset: int | None = None,
    ) -> Figures:
        """Sum up the results of images.

        Args:
            table: one row an image.
            preset: the protocol.
            image_threshold: an image whose score is above it is called tampered.
            curves: of the pixels of these images; None where the mode has none.
            dataset: index of a dataset, to leave the images of the others out.
        """
        chosen = table.of_dataset(dataset)
        tampered, scored = chosen & table.tampered, chosen & table.scored
        authentic = chosen & ~table.tampered
        return cls(
            n_tampered=int(np.count_nonzero(tampered)),
            n_authentic=int(np.count_nonzero(authentic)),
            n_without_mask=int(np.count_nonzero(tampered & ~scored)),
            pixel=preset.summarise(table.pixels[tampered & scored]),
            pooled=NOT_POOLED if curves is None else curves.pooled(authentic=False),
            pixel_all_images=preset.summarise(table.pixels[scored]),
            pooled_all_images=NOT_POOLED if curves is None else curves.pooled(authentic=True),
            image=preset.image_figures(table.score[chosen], table.tampered[chosen], image_threshold),
            false_positive_area=float(np.mean(table.positive_area[authentic])) if authentic.any() else _NAN,
        )

    @property
    def image_auc(self) -> float:
        """Area under the ROC curve of the image scores."""
        return self.image.auc

    def to_json(self) -> dict[str, Any]:
        """Nested as in the report; None where a figure is not defined."""
        return {
            "n_tampered": self.n_tampered,
            "n_authentic": self.n_authentic,
            "n_without_mask": self.n_without_mask,
            "pixel": {
                **_defined(self.pixel._asdict()),
                **_defined(self.pooled.shared()),
                "pooled": _defined(self.pooled.in_one_pot()),
            },
            "pixel_all_images": {
                **_defined(self.pixel_all_images._asdict()),
                "pooled": _defined(self.pooled_all_images.in_one_pot()),
            },
            "image": _defined(self.image._asdict()),
            "authentic": _defined({"false_positive_area": self.false_positive_area}),
        }


class DatasetFigures(NamedTuple):
    """One of the datasets of an evaluation.

    Attributes:
        name: as it was given.
        split: the split that was evaluated; None for all images.
        figures: over its images.
        ci95: their intervals, see `EvaluationResult`.
        n_left_out: files that did not fit: they are in no figure.
        n_mended: masks of a foreign data set that did not fit and were mended.
    """

    name: str
    split: str | None
    figures: Figures
    ci95: dict[str, Interval]
    n_left_out: int
    n_mended: int


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation, over all its datasets together and over each of them.

    Attributes:
        preset: name of the protocol.
        mode: the protocol's mode.
        tie_blind: whether AUC depends on the order of tied pixels, as in the benchmark's own code.
        figures: over all images.
        ci95: 95 % bootstrap intervals, over images, by the name of the figure: ``f1`` and so on for `Figures.pixel`,
            ``image.auc`` and so on for `Figures.image`, ``false_positive_area``, ``pixel_all_images.f1`` ...
        datasets: for each dataset its name, split, figures and intervals.
        images: one result an image, in columns.
        by_region_size: the tampered images by the share of the image that is tampered.
        by_kind: the tampered images by kind of manipulation, where it is known.
        curves: of the pixels of all images, for plots; None where the mode has none.
        calibration: whether the model's probabilities are probabilities.
        image_threshold: an image whose score is above it is called tampered.
        n_skipped: images without label and mask, which were left out.
        model: what was evaluated.
        seconds: wall time of reading, localizing and scoring, that of interrupted runs included.
    """

    preset: str
    mode: str
    tie_blind: bool
    figures: Figures
    ci95: dict[str, Interval]
    datasets: tuple[DatasetFigures, ...]
    images: ImageTable
    by_region_size: tuple[Group, ...]
    by_kind: tuple[Group, ...]
    curves: PixelCurves | None
    calibration: Calibrations
    image_threshold: float
    n_skipped: int
    model: dict[str, Any]
    seconds: float

    @property
    def n_left_out(self) -> int:
        """Files that did not fit."""
        return sum(part.n_left_out for part in self.datasets)

    @property
    def n_mended(self) -> int:
        """Masks of foreign data sets that were mended."""
        return sum(part.n_mended for part in self.datasets)

    def to_json(self) -> dict[str, Any]:
        """Everything but the single images, ready for `json.dumps`; None where a figure is not defined."""
        return {
            "preset": self.preset,
            "mode": self.mode,
            "tie_blind": self.tie_blind,
            "image_threshold": self.image_threshold,
            **self.figures.to_json(),
            "ci95": _intervals(self.ci95),
            "by_region_size": [group.to_json() for group in self.by_region_size],
            "by_kind": [group.to_json() for group in self.by_kind],
            "calibration": self.calibration.to_json(),
            "n_skipped": self.n_skipped,
            "n_left_out": self.n_left_out,
            "n_mended": self.n_mended,
            "datasets": [
                {
                    "dataset": part.name,
                    "split": part.split,
                    **part.figures.to_json(),
                    "n_left_out": part.n_left_out,
                    "n_mended": part.n_mended,
                    "ci95": _intervals(part.ci95),
                }
                for part in self.datasets
            ],
            "model": self.model,
            "environment": environment(),
            "seconds": round(self.seconds, 3),
        }


def environment() -> dict[str, Any]:
    """Versions and machine."""
    return {
        "boxpromptiml": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnxruntime", "pillow")},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _intervals(ci95: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: [low, high] for name, (low, high) in ci95.items()}


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
