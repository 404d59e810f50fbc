"""Curves over the pixels of any number of images, in bounded memory."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics.functional import Bools, check_shapes

Counts = NDArray[np.int64]
_NAN = float("nan")
# Bins lie evenly between the bit patterns of 2**-25 and 0.5, that is: about as many in each halving of the distance to
# 0, and of that to 1. A trained network's probabilities crowd there.
_LOW_BITS = int(np.float32(2.0**-25).view(np.uint32))
_SPAN = int(np.float32(0.5).view(np.uint32)) - _LOW_BITS
_UNIT = 2.0**-36  # of F1, in `ThresholdSweep`


class Bounded(NamedTuple):
    """A figure with a guarantee: the exact one is at most `error` away."""

    value: float
    error: float


class ScoreHistogram:
    """Counts of probabilities of true and of false pixels, in bins: ROC and precision-recall over all of them.

    The bins are finer towards 0 and towards 1, each is (low, high], and 0.5 is an edge. Counts are whole numbers, so
    the order of images, and how they are spread over processes, change nothing.

    Example:
        >>> histogram = ScoreHistogram()
        >>> histogram.update(np.array([0.9, 0.5, 0.5, 0.1], np.float32), np.array([True, True, False, False]))
        >>> histogram.roc_auc()
        Bounded(value=0.875, error=0.125)
    """

    def __init__(self, bins: int = 4096) -> None:
        """Args: bins: a power of two, from 2 to 65536. Raises ValueError: another number."""
        if not _is_power_of_two(bins) or not 2 <= bins <= 1 << 16:
            raise ValueError(f"bins must be a power of two from 2 to 65536, got {bins}")
        self.positives: Counts = np.zeros(bins, dtype=np.int64)
        self.negatives: Counts = np.zeros(bins, dtype=np.int64)

    @property
    def bins(self) -> int:
        """The number of bins."""
        return len(self.positives)

    @property
    def edges(self) -> NDArray[np.float32]:
        """The upper edges of all bins but the last: a pixel is above edge i when its bin is above i.

        They do not fall; next to 1 the bins are finer than float32, so that some edges are equal.
        """
        half = self.bins // 2
        bits = _LOW_BITS + np.arange(1, half + 1, dtype=np.uint32) * np.uint32(_SPAN // half)
        low = bits.astype(np.uint32).view(np.float32)
        mirrored = low[-2::-1]
        high = np.float32(1) - mirrored  # rounded; where that is up, the next value down is the last one below the edge
        high = np.where(np.float32(1) - high < mirrored, np.nextafter(high, np.float32(0)), high)
        return np.concatenate([low, high]).astype(np.float32)

    @property
    def middles(self) -> NDArray[np.float64]:
        """A probability that stands for each bin: the middle between its edges."""
        edges = np.concatenate([[0.0], self.edges.astype(np.float64), [1.0]])
        return np.asarray((edges[:-1] + edges[1:]) / 2)

    def update(self, probability: NDArray[np.float32], truth: Bools) -> None:
        """Add pixels.

        Args:
            probability: float32, any shape, in [0, 1].
            truth: boolean, same shape.

        Raises:
            ValueError: the shapes differ, or a value is NaN or outside of [0, 1].
        """
        check_shapes("probability", probability, truth)
        places = _bin_of(_checked(probability), self.bins)
        # Both classes in one count: false pixels in the first half, true ones in the second.
        counts = np.bincount(places + truth.ravel() * np.int32(self.bins), minlength=2 * self.bins)
        self.negatives += counts[: self.bins]
        self.positives += counts[self.bins :]

    def merge(self, other: ScoreHistogram) -> None:
        """Add another one's pixels.

        Raises:
            ValueError: it has another number of bins.
        """
        if other.bins != self.bins:
            raise ValueError(f"histograms of {self.bins} and {other.bins} bins cannot be merged")
        self.positives = self.positives + other.positives
        self.negatives = self.negatives + other.negatives

    def state(self) -> dict[str, Counts]:
        """All that `from_state` needs, for a checkpoint."""
        return {"positives": self.positives.copy(), "negatives": self.negatives.copy()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Self:
        """Raises:
        ValueError: the arrays are not those of a histogram.
        """
        positives, negatives = (np.array(state[name], dtype=np.int64) for name in ("positives", "negatives"))
        if positives.ndim != 1 or positives.shape != negatives.shape or min(positives.min(), negatives.min()) < 0:
            raise ValueError("not the counts of a histogram")
        histogram = cls(len(positives))
        histogram.positives, histogram.negatives = positives, negatives
        return histogram

    def roc_auc(self) -> Bounded:
        """ROC AUC over all pixels; NaN where a class is missing.

        Pairs of a true and a false pixel in different bins are ranked exactly. A pair within a bin counts half; truly
        it counts between 0 and 1. So the error is at most half the share of pairs that fall into one bin.
        """
        p, n = self.positives.astype(np.float64), self.negatives.astype(np.float64)
        pairs = float(p.sum() * n.sum())
        if not pairs:
            return Bounded(_NAN, _NAN)
        below = np.cumsum(n) - n
        same = float(np.dot(p, n))
        return Bounded((float(np.dot(p, below)) + same / 2) / pairs, same / 2 / pairs)

    def average_precision(self) -> Bounded:
        """Average precision over all pixels; NaN without true ones.

        With P true and F false pixels in the bins above, the true pixels of a bin of p and n have a summed precision
        of at most p (P + p) / (P + p + F), when all of them tie above the false ones, and at least the sum over
        j = 1..p of (P + j) / (P + j + F + n), when they lie below these, one by one. That sum is at least its
        integral p - c ln((P + p + c) / (P + c)), c = F + n. The value is the middle of both bounds.
        """
        p, n = self.positives[::-1].astype(np.float64), self.negatives[::-1].astype(np.float64)
        total = float(p.sum())
        if not total:
            return Bounded(_NAN, _NAN)
        known = p > 0
        above_p, above_n = (np.cumsum(p) - p)[known], (np.cumsum(n) - n)[known]
        p, c = p[known], above_n + n[known]
        high = p * (above_p + p) / (above_p + p + above_n)
        low = p - c * np.log1p(p / np.maximum(above_p + c, 1))  # without c nothing is taken off
        ends = float(low.sum()) / total, float(high.sum()) / total
        return Bounded((ends[0] + ends[1]) / 2, max(0.0, ends[1] - ends[0]) / 2)

    def best_f1(self) -> tuple[float, float]:
        """The best F1 over the edges of the bins, all pixels in one count, and its threshold (strict).

        Exact at that threshold; the best over all thresholds may be a little higher. NaN without true pixels.
        """
        tp = np.cumsum(self.positives[::-1])[:-1][::-1].astype(np.float64)  # above each edge
        fp = np.cumsum(self.negatives[::-1])[:-1][::-1].astype(np.float64)
        total = float(self.positives.sum())
        if not total:
            return _NAN, _NAN
        f1 = 2 * tp / (tp + fp + total)
        best = int(np.argmax(f1))
        return float(f1[best]), float(self.edges[best])


class ThresholdSweep:
    """Mean over images of F1 = 2 TP / (2 TP + FP + FN) at each of a grid of thresholds: which suits all of them best.

    The thresholds are k / (n + 1), k = 1..n; 0.5 is one of them. Sums are kept in whole units of
    2**-36, so that neither the order of images nor the number of processes changes them.
    """

    def __init__(self, thresholds: int = 255) -> None:
        """Args: thresholds: one less than a power of two, 1 to 65535. Raises ValueError: another number."""
        if not _is_power_of_two(thresholds + 1) or not 1 <= thresholds < 1 << 16:
            raise ValueError(f"thresholds must be one less than a power of two, up to 65535, got {thresholds}")
        self.sums: Counts = np.zeros(thresholds, dtype=np.int64)
        self.images = 0

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """The grid, rising."""
        count = len(self.sums)
        return (np.arange(1, count + 1) / (count + 1)).astype(np.float32)

    def update(self, probability: NDArray[np.float32], truth: Bools) -> None:
        """Add an image.

        Args:
            probability: float32, any shape, in [0, 1].
            truth: boolean, same shape; some of it True, as nothing tampered has no best threshold.

        Raises:
            ValueError: the shapes differ, a value is NaN or outside of [0, 1], or nothing is True.
        """
        check_shapes("probability", probability, truth)
        if not truth.any():
            raise ValueError("the F1 of an image without tampered pixels says nothing about a threshold")
        values, count = _checked(probability), len(self.sums)
        # The number of thresholds strictly below; exact, as they are multiples of a power of two.
        places = np.maximum(np.ceil(values * np.float32(count + 1)).astype(np.int32) - 1, 0)
        counts = np.bincount(places + truth.ravel() * np.int32(count + 1), minlength=2 * count + 2)
        negatives, positives = counts.reshape(2, count + 1)
        tp, fp = (np.cumsum(part[::-1])[:-1][::-1] for part in (positives, negatives))
        self.sums += np.rint(2 * tp / (tp + fp + positives.sum()) / _UNIT).astype(np.int64)
        self.images += 1

    def merge(self, other: ThresholdSweep) -> None:
        """Add another one's images.

        Raises:
            ValueError: it has another number of thresholds.
        """
        if len(other.sums) != len(self.sums):
            raise ValueError(f"sweeps of {len(self.sums)} and {len(other.sums)} thresholds cannot be merged")
        self.sums = self.sums + other.sums
        self.images += other.images

    def state(self) -> dict[str, Counts]:
        """All that `from_state` needs, for a checkpoint."""
        return {"sums": self.sums.copy(), "images": np.array(self.images, dtype=np.int64)}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]]) -> Self:
        """Raises:
        ValueError: the arrays are not those of a sweep.
        """
        sums, images = np.array(state["sums"], dtype=np.int64), int(state["images"])
        if sums.ndim != 1 or sums.min() < 0 or sums.max() * _UNIT > images:
            raise ValueError("not the sums of a threshold sweep")
        sweep = cls(len(sums))
        sweep.sums, sweep.images = sums, images
        return sweep

    def f1(self) -> NDArray[np.float64]:
        """Mean F1 at each of `thresholds`; NaN without images."""
        return self.sums * _UNIT / self.images if self.images else np.full(len(self.sums), _NAN)

    def best_shared(self) -> tuple[float, float]:
        """The highest mean F1 and its threshold (strict), the lowest of several that are best; NaN without images."""
        if not self.images:
            return _NAN, _NAN
        best = int(np.argmax(self.sums))
        return float(self.f1()[best]), float(self.thresholds[best])


def _checked(probability: NDArray[Any]) -> NDArray[np.float32]:
    values = probability.ravel().astype(np.float32, copy=False)
    if not values.size:
        return values
    least = values.min()
    if not (least >= 0 and values.max() <= 1):  # NaN is neither
        raise ValueError("probabilities must be in [0, 1], and not NaN")
    # Bins are told by a value's bits, of which -0.0 has the sign: as an integer it is below all others.
    if least == 0 and values.view(np.int32).min() < 0:
        return np.abs(values)
    return values


def _bin_of(values: NDArray[np.float32], bins: int) -> NDArray[np.int32]:
    """The bin of each value: counted from below up to 0.5 in the value's own bits, above it in those of 1 - value."""
    upper = values > np.float32(0.5)
    distance = np.where(upper, np.float32(1) - values, values)  # exact: Sterbenz
    steps = distance.view(np.int32) - np.int32(_LOW_BITS)
    # (low, high] everywhere: in 1 - value that is [low, high), to be rounded down; below 0.5 round up.
    steps -= ~upper
    places = steps.clip(0, _SPAN - 1) // np.int32(_SPAN // (bins // 2))
    bin_: NDArray[np.int32] = np.where(upper, bins - 1 - places, places)
    return bin_


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
