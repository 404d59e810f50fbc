"""Calibration: are of all that is given probability p about a share p tampered?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics.bootstrap import draw_weights, percentile_interval
from boxpromptiml.metrics.functional import Bools

BINS = 15  # Guo et al. 2017
_NAN = float("nan")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: probabilities in bins of equal width, and how often each bin is right.

    Attributes:
        edges: (bins + 1,), from 0 to 1; a bin is [low, high), the last one [low, 1].
        count: (bins,), how many probabilities are in each; weights where they were given.
        confidence: (bins,), their mean; NaN in an empty bin.
        frequency: (bins,), the share of them that is tampered; NaN in an empty bin.
        brier: mean of (probability - truth) squared (Brier 1950); NaN for none.

    Example:
        >>> diagram = Reliability.of(np.array([0.1, 0.3, 0.8, 0.8]), np.array([False, True, True, True]), bins=2)
        >>> diagram.count.tolist(), diagram.frequency.tolist(), round(diagram.ece, 3)
        ([2.0, 2.0], [0.5, 1.0], 0.25)
    """

    edges: Floats
    count: Floats
    confidence: Floats
    frequency: Floats
    brier: float

    @classmethod
    def of(cls, probability: NDArray[Any], truth: Bools, *, bins: int = BINS) -> Reliability:
        """Count probabilities.

        Args:
            probability: (n,) in [0, 1].
            truth: boolean (n,).
            bins: of equal width.

        Raises:
            ValueError: the shapes differ, or a value is NaN or outside of [0, 1].
        """
        tampered = np.asarray(truth, np.float64)
        return cls.of_counts(probability, 1 - tampered, tampered, bins=bins)

    @classmethod
    def of_counts(
        cls, probability: NDArray[Any], negatives: NDArray[Any], positives: NDArray[Any], *, bins: int = BINS
    ) -> Reliability:
        """As `of`, of values that each stand for many: `negatives` untouched and `positives` tampered ones.

        Raises:
            ValueError: the shapes differ, or a value is NaN or outside of [0, 1].
        """
        values = np.asarray(probability, np.float64)
        no, yes = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
        if values.shape != no.shape or values.shape != yes.shape or values.ndim != 1:
            raise ValueError(f"shapes differ: {values.shape}, {no.shape} and {yes.shape}")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("probabilities must be in [0, 1]")
        edges = np.linspace(0, 1, bins + 1)
        places = np.clip(np.searchsorted(edges, values, "right") - 1, 0, bins - 1)
        weight = no + yes
        count, tampered, total = (
            np.bincount(places, w, bins).astype(np.float64) for w in (weight, yes, weight * values)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            confidence, frequency = total / count, tampered / count
        loss = float((no * values**2 + yes * (1 - values) ** 2).sum())
        return cls(edges, count, confidence, frequency, float(loss / weight.sum()) if weight.sum() else _NAN)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over all of |frequency - confidence| of their bins; NaN for none."""
        used = self.count > 0
        if not used.any():
            return _NAN
        gaps = np.abs(self.frequency[used] - self.confidence[used])
        return float((gaps * self.count[used]).sum() / self.count.sum())

    def to_json(self) -> dict[str, Any]:
        """``n``, ``ece``, ``brier`` (None for nothing) and the bins that are not empty, ready for `json.dumps`."""
        total = float(self.count.sum())
        return {
            "n": total if total % 1 else int(total),
            "ece": self.ece if total else None,
            "brier": self.brier if total else None,
            "bins": [
                {
                    "low": float(self.edges[i]),
                    "high": float(self.edges[i + 1]),
                    "count": float(self.count[i]) if self.count[i] % 1 else int(self.count[i]),
                    "confidence": float(self.confidence[i]),
                    "frequency": float(self.frequency[i]),
                }
                for i in np.flatnonzero(self.count > 0)
            ],
        }


def ece_interval(
    probability: NDArray[Any], truth: Bools, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap of the expected calibration error, over images; NaN for none.

    The error of few images is too high on average, and so are both ends: each bin adds its noise, whatever its sign.
    """
    n = len(probability)
    if n == 0:
        return _NAN, _NAN
    values, tampered = np.asarray(probability, np.float64), np.asarray(truth, np.float64)
    places = np.clip(np.searchsorted(np.linspace(0, 1, BINS + 1), values, "right") - 1, 0, BINS - 1)
    gaps = np.zeros((n, BINS))
    gaps[np.arange(n), places] = tampered - values
    # |frequency - confidence| x count of a bin is the absolute sum of its gaps.
    drawn = [np.abs(np.asarray(block, np.float64) @ gaps).sum(axis=1) / n for block in draw_weights(n, resamples, seed)]
    ((low, high),) = percentile_interval(np.concatenate(drawn)[:, None], level)
    return low, high
