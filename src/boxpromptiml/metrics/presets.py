"""Protocols of the field. The same masks give different "F1" under each, so every number carries a preset's name.

Presets compare on the model's grid: the mask is resized to it by nearest neighbour. A preset scores image by image
(`Preset.score`) and sums a table of such rows up (`Preset.summarise`); a new preset is a new row of `PRESETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics.functional import Bools, Confusion, confusion, f1_score, iou_score, roc_auc

Mode = Literal["origin", "reverse", "double"]
MODES: tuple[Mode, ...] = get_args(Mode)
Map = NDArray[np.float32]
_NAN = float("nan")


Table = NDArray[np.float64]


class ImageScore(NamedTuple):
    """One image under a preset, a row of the table that is summed up; `auc` is NaN where it is not defined."""

    f1: float
    iou: float
    auc: float
    tp: int
    fp: int
    fn: int
    tn: int


class Summary(NamedTuple):
    """A set of images under a preset; NaN where a figure is not defined."""

    f1: float
    iou: float
    auc: float


@dataclass(frozen=True)
class Preset:
    """How one protocol turns probability maps and masks into numbers.

    Attributes:
        name: goes beside every number.
        rule: in one line, for tables and reports.
        threshold: a pixel counts as tampered strictly above it.
        modes: the modes that the protocol knows: ``origin``; ``reverse``, which inverts the prediction; ``double``,
            the better of the two for each image ("permute F1").
    """

    name: str
    rule: str
    threshold: float
    modes: tuple[Mode, ...]
    _score: Callable[[Map, Bools, float, Mode], ImageScore]
    _summarise: Callable[[Table], Summary]

    def score(self, probability: Map, truth: Bools, mode: Mode = "origin") -> ImageScore:
        """Score one image.

        Args:
            probability: (h, w) in [0, 1].
            truth: boolean (h, w), True = tampered.
            mode: one of `modes`.

        Raises:
            ValueError: the shapes differ, or the preset does not know the mode.
        """
        if mode not in self.modes:
            raise ValueError(f"preset {self.name} has no mode {mode!r}; it has {', '.join(self.modes)}")
        return self._score(probability, truth, self.threshold, mode)

    def summarise(self, table: Table) -> Summary:
        """Sum up a set of images: float64 (n, 7), one `ImageScore` a row; all NaN for none."""
        return self._summarise(table) if len(table) else Summary(_NAN, _NAN, _NAN)


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _imdlbenco(probability: Map, truth: Bools, threshold: float, mode: Mode) -> ImageScore:
    """IMDLBenCo ``evaluation/F1.py``, ``IOU.py`` and ``AUC.py``, in float64.

    Kept as they are there: F1 inverts the binary prediction, IoU and AUC invert the probability, which differs where
    it equals the threshold; nothing predicted on an authentic image scores 0, not 1; the AUC of an image without a
    tampered pixel is 0. Not kept: its AUC depends on the order of tied pixels, this one does not; and the AUC of an
    image that is tampered all over is left out of the mean, where it would turn the mean into NaN.
    """
    plain = confusion(probability > threshold, truth)
    rows: list[tuple[float, float, float]] = []
    if mode != "reverse":
        rows.append((_smooth_f1(plain), _smooth_iou(plain), _auc_or_zero(probability, truth)))
    if mode != "origin":
        inverse = 1 - probability
        inverted = _smooth_iou(confusion(inverse > threshold, truth))
        rows.append((_smooth_f1(plain.flipped), inverted, _auc_or_zero(inverse, truth)))
    f1, iou, auc = (float(np.max(column)) for column in zip(*rows, strict=True))
    return ImageScore(f1, iou, auc, *plain)


def _smooth_f1(counts: Confusion) -> float:
    precision = counts.tp / (counts.tp + counts.fp + 1e-8)
    recall = counts.tp / (counts.tp + counts.fn + 1e-8)
    return 2 * precision * recall / (precision + recall + 1e-8)


def _smooth_iou(counts: Confusion) -> float:
    return counts.tp / (counts.tp + counts.fp + counts.fn + 1e-8)


def _auc_or_zero(scores: Map, truth: Bools) -> float:
    return roc_auc(scores, truth) if truth.any() else 0.0


def _micro(probability: Map, truth: Bools, threshold: float, mode: Mode) -> ImageScore:
    counts = confusion(probability > threshold, truth)
    return ImageScore(f1_score(counts), iou_score(counts), roc_auc(probability, truth), *counts)


def _mean_of_images(table: Table) -> Summary:
    return Summary(*(float(np.mean(kept)) if kept.size else _NAN for kept in (c[~np.isnan(c)] for c in table[:, :3].T)))


def _one_count(table: Table) -> Summary:
    total = Confusion(*(int(column.sum()) for column in table[:, 3:].T))
    # Counts of different images can be pooled; pooling the ranks of the AUC would need all maps at once.
    return Summary(f1_score(total), iou_score(total), _NAN)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "imdlbenco",
            "mean over images of F1, IoU and AUC on the model's grid, epsilon 1e-8, above 0.5",
            0.5,
            MODES,
            _imdlbenco,
            _mean_of_images,
        ),
        Preset(
            "micro",
            "one count over all pixels of all images on the model's grid, above 0.5; no AUC",
            0.5,
            ("origin",),
            _micro,
            _one_count,
        ),
    )
}
