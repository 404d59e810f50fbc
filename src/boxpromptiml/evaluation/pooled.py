"""Curves over the pixels of all images, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics import Bounded, ScoreHistogram, ThresholdSweep

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Interval = tuple[float, float]
GROUPS = 32
_RESAMPLES = 200  # of at most 32 groups: more would not make the intervals any better
_CHUNK = 50  # drawn histograms held at a time
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class ImagePixels:
    """What one image adds.

    Attributes:
        counts: int64 (2, bins), untouched and tampered pixels by probability, see `ScoreHistogram`.
        f1: int64 (thresholds,), see `ThresholdSweep`; None where nothing is tampered.
    """

    counts: Counts
    f1: Counts | None

    @classmethod
    def of(cls, probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> ImagePixels:
        """Count the pixels of a map, float32 (h, w) in [0, 1], with its truth, boolean (h, w)."""
        histogram = ScoreHistogram()
        histogram.update(probability, truth)
        f1 = None
        if truth.any():
            sweep = ThresholdSweep()
            sweep.update(probability, truth)
            f1 = sweep.sums
        return cls(np.stack([histogram.negatives, histogram.positives]), f1)


class Pooled(NamedTuple):
    """Figures over the pixels of many images; NaN where one is not defined.

    Attributes:
        auc: area under the ROC curve of all pixels in one pot, with the largest possible error of its value.
        average_precision: the same of the precision-recall curve.
        best_f1: of all pixels in one count, at `best_threshold`, the best one.
        best_threshold: see `best_f1`.
        shared_f1: mean over images of F1 at `shared_threshold`, the one that suits all of them best together.
        shared_threshold: see `shared_f1`.
    """

    auc: Bounded
    average_precision: Bounded
    best_f1: float
    best_threshold: float
    shared_f1: float
    shared_threshold: float

    def shared(self) -> dict[str, float]:
        """The figures at a threshold that images share, as in the report."""
        return {"best_shared_f1": self.shared_f1, "best_shared_threshold": self.shared_threshold}

    def in_one_pot(self) -> dict[str, float]:
        """The figures of all pixels in one pot, as in the report."""
        return {
            "auc": self.auc.value,
            "auc_error": self.auc.error,
            "average_precision": self.average_precision.value,
            "average_precision_error": self.average_precision.error,
            "best_f1": self.best_f1,
            "best_threshold": self.best_threshold,
        }


NOT_POOLED = Pooled(Bounded(_NAN, _NAN), Bounded(_NAN, _NAN), _NAN, _NAN, _NAN, _NAN)


class CurvePoints(NamedTuple):
    """ROC and precision-recall curves at the edges of the histogram's bins, the highest threshold first.

    Attributes:
        fpr: (k,) false positive rate.
        tpr: (k,) true positive rate, which is recall.
        precision: (k,); 1 where nothing is predicted.
        share: share of the pixels that is tampered.
    """

    fpr: Floats
    tpr: Floats
    precision: Floats
    share: float


class PixelCurves:
    """Counts of the pixels of tampered and of authentic images, for the figures of `Pooled` and their intervals.

    Images are dealt out to 32 groups in turn, each with counts of its own: intervals are those of a bootstrap over
    groups, which is that over images as long as there are no more than 32. So curves of several data sets together
    are their own, and not the sums of those of each: these all begin with the same groups. About 3 MB in all.
    """

    def __init__(self) -> None:
        bins, thresholds = ScoreHistogram().bins, len(ThresholdSweep().sums)
        self._tampered: Counts = np.zeros((GROUPS, 2, bins), np.int64)
        self._authentic: Counts = np.zeros((GROUPS, bins), np.int64)  # their pixels are all untouched
        self._f1: Counts = np.zeros((GROUPS, thresholds), np.int64)
        self._images: Counts = np.zeros((3, GROUPS), np.int64)  # tampered, authentic, those that count in `_f1`

    def add(self, pixels: ImagePixels, *, tampered: bool) -> None:
        """Add an image. The order of images decides on their groups alone."""
        group = int(self._images[0 if tampered else 1].sum()) % GROUPS
        self._images[0 if tampered else 1, group] += 1
        if not tampered:
            self._authentic[group] += pixels.counts[0]
            return
        self._tampered[group] += pixels.counts
        if pixels.f1 is not None:
            self._f1[group] += pixels.f1
            self._images[2, group] += 1

    def arrays(self) -> dict[str, Counts]:
        """All that `restore` needs, by name."""
        return {
            "tampered": self._tampered,
            "authentic": self._authentic,
            "f1": self._f1,
            "images": self._images,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` gave."""
        for name, values in self.arrays().items():
            values[...] = arrays[name]

    def counts(self) -> tuple[Counts, Counts]:
        """Untouched and tampered pixels of all images by probability, int64 (bins,) each."""
        negatives, positives = self._tampered.sum(axis=0)
        return negatives + self._authentic.sum(axis=0), positives

    def pooled(self, *, authentic: bool) -> Pooled:
        """The figures over tampered images, or over all; the shared threshold is over tampered ones in either case."""
        negatives, positives = self._tampered.sum(axis=0)
        histogram = _histogram(negatives + self._authentic.sum(axis=0) if authentic else negatives, positives)
        return Pooled(
            histogram.roc_auc(),
            histogram.average_precision(),
            *histogram.best_f1(),
            *self._sweep(np.ones(GROUPS, np.int64)).best_shared(),
        )

    def intervals(self, *, authentic: bool) -> dict[str, Interval]:
        """95 % intervals of `pooled`, by name; of what is not defined, and of a single tampered image, none.

        Tampered and authentic images are drawn each among themselves, 200 times, seed 0.
        """
        if self._images[0].sum() < 2:  # which is drawn every time: an interval without width would be a false promise
            return {}
        rng = np.random.default_rng(0)
        tampered = _draws(rng, self._images[0])
        other = _draws(rng, self._images[1]) if authentic else np.zeros_like(tampered)
        drawn: list[tuple[float, ...]] = []
        for start in range(0, _RESAMPLES, _CHUNK):
            part = slice(start, start + _CHUNK)
            for negatives, positives in self._counts(tampered[part], other[part]).astype(np.int64):
                histogram = _histogram(negatives, positives)
                area, precision = histogram.roc_auc().value, histogram.average_precision().value
                drawn.append((area, precision, histogram.best_f1()[0]))
        columns = dict(
            zip(("pooled.auc", "pooled.average_precision", "pooled.best_f1"), np.array(drawn).T, strict=True)
        )
        if not authentic:
            shared = [self._sweep(weights).best_shared()[0] for weights in tampered]
            columns["best_shared_f1"] = np.array(shared)
        known = {name: column[~np.isnan(column)] for name, column in columns.items()}
        return {
            name: (float(np.quantile(column, 0.025)), float(np.quantile(column, 0.975)))
            for name, column in known.items()
            if column.size
        }

    def points(self) -> CurvePoints:
        """The curves of the pixels of tampered images."""
        negatives, positives = (np.cumsum(part[::-1]).astype(np.float64) for part in self._tampered.sum(axis=0))
        tp, fp = (np.concatenate([[0.0], part]) for part in (positives, negatives))
        precision = np.divide(tp, tp + fp, out=np.ones_like(tp), where=tp + fp > 0)
        total = max(tp[-1] + fp[-1], 1.0)
        return CurvePoints(fp / max(fp[-1], 1.0), tp / max(tp[-1], 1.0), precision, float(tp[-1] / total))

    def f1_by_threshold(self) -> tuple[Floats, Floats]:
        """Thresholds, and the mean F1 of the tampered images at each."""
        sweep = self._sweep(np.ones(GROUPS, np.int64))
        return sweep.thresholds.astype(np.float64), sweep.f1()

    def _sweep(self, weights: Counts) -> ThresholdSweep:
        images = np.array(int(weights @ self._images[2]), dtype=np.int64)
        return ThresholdSweep.from_state({"sums": weights @ self._f1, "images": images})

    def _counts(self, tampered: Counts, authentic: Counts) -> Floats:
        """Untouched and tampered pixels by bin, float64 (r, 2, bins), whole numbers; args: int64 (r, GROUPS)."""
        # In float64 this is a product of matrices that libraries are good at; counts stay exact below 2**53.
        shape = (-1, 2, self._tampered.shape[2])
        counts = (tampered.astype(np.float64) @ self._tampered.reshape(GROUPS, -1).astype(np.float64)).reshape(shape)
        counts[:, 0] += authentic.astype(np.float64) @ self._authentic.astype(np.float64)
        return counts


def _histogram(negatives: Counts, positives: Counts) -> ScoreHistogram:
    return ScoreHistogram.from_state({"negatives": negatives, "positives": positives})


def _draws(rng: np.random.Generator, images: Counts) -> Counts:
    """How often each group is drawn, int64 (resamples, GROUPS): those that have images, as many as they are."""
    used = int(np.count_nonzero(images))
    drawn = np.zeros((_RESAMPLES, GROUPS), np.int64)
    if used:
        drawn[:, :used] = rng.multinomial(used, np.full(used, 1 / used), _RESAMPLES)
    return drawn
