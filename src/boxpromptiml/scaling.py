"""Probabilities through their logits: calibration, and thresholds that follow an image. Torch-free."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

# Logits of float32 probabilities stay finite: between 2**-24 and 1 - 2**-24.
LOGIT_EDGE = 2.0**-24
LEVEL_EDGE = 2.0**-13  # logits of 9
MOST_SLOPE = 1000.0
_MOST_BIAS = 17_000.0  # the highest slope times the largest logit, 24 log 2 = 16.6
_PEAK_FRACTION = 0.01


def logit(probability: Any) -> NDArray[np.float64]:
    """log(p / (1 - p)) in float64; p is kept 2**-24 away from 0 and 1, so that it is finite."""
    values = np.clip(np.asarray(probability, np.float64), LOGIT_EDGE, 1 - LOGIT_EDGE)
    return np.asarray(np.log(values) - np.log1p(-values))


def sigmoid(logits: Any) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) in float64."""
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -700, 700))))


def highest(map_: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
    """The given share of a map's highest values, at least one, in no order."""
    flat = map_.ravel()
    count = min(flat.size, max(1, round(fraction * flat.size)))
    return np.partition(flat, flat.size - count)[flat.size - count :]


class Scaling(BaseModel):
    """Calibration of probabilities: sigmoid(slope * logit(p) + bias).

    Platt scaling (Platt 1999) of the logit; without bias it is temperature scaling with temperature 1 / slope
    (Guo et al. 2017). It never changes which of two values is the higher one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = Field(1.0, gt=0, le=MOST_SLOPE, description="1 / temperature.")
    bias: float = Field(0.0, ge=-_MOST_BIAS, le=_MOST_BIAS, description="Added to the scaled logit.")

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.slope == 1 and self.bias == 0

    @property
    def temperature(self) -> float:
        """1 / slope."""
        return 1 / self.slope

    def apply(self, probability: NDArray[np.float32], shift: float = 0.0) -> NDArray[np.float32]:
        """Scale a map, float32 in [0, 1], with `shift` added to its logits; the array itself where nothing changes."""
        if self.is_identity and not shift:
            return probability
        values = np.clip(probability, np.float32(LOGIT_EDGE), np.float32(1 - LOGIT_EDGE))
        # In float32 and in place: it runs over every map.
        logits = np.log(values)
        logits -= np.log1p(-values)
        logits *= np.float32(self.slope)
        logits += np.float32(self.bias + self.slope * shift)
        np.negative(np.clip(logits, -80, 80, out=logits), out=logits)
        np.exp(logits, out=logits)
        logits += np.float32(1)
        return np.reciprocal(logits, out=logits)

    def forward(self, probability: Any) -> NDArray[np.float64]:
        """As `apply`, for few values, float64."""
        return sigmoid(self.slope * logit(probability) + self.bias)

    def inverse(self, probability: NDArray[Any]) -> NDArray[np.float64]:
        """What `forward` was given."""
        values = np.asarray(probability, np.float64)
        return values if self.is_identity else sigmoid((logit(values) - self.bias) / self.slope)


class AdaptiveThreshold(BaseModel):
    """A threshold that follows each image, as a shift of its map's logits before the threshold that all share.

    ``background * (b - usual_background) - peak * (t - usual_peak)``, where b is the lower quartile of the map's logits
    and t the mean of the highest hundredth of them (at least one). Traces that are faint all over an image, as after
    compression, make t low: then less is asked for. Within an image it never changes which of two values is the higher
    one. A threshold from the map itself is usual for saliency maps (Achanta et al. 2009: twice its mean); quantiles of
    logits are this project's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    background: float = Field(ge=0, lt=1, description="Weight of the map's background.")
    peak: float = Field(ge=0, lt=1, description="Weight of the map's highest values.")
    usual_background: float = Field(ge=-100, le=100, description="Of usual images, which keep the threshold.")
    usual_peak: float = Field(ge=-100, le=100, description="Of usual images.")

    @staticmethod
    def levels(map_: NDArray[np.float32]) -> tuple[float, float]:
        """Background and highest values of a map, float32 in [0, 1], as logits.

        Beyond `LEVEL_EDGE` runtimes and precisions differ, and no threshold lies there: values are kept within.
        """
        quartile = map_.size // 4
        # Not together with the highest ones: NumPy finds two places at once many times more slowly.
        background = np.partition(map_.ravel(), quartile)[quartile]
        edges = np.float32(LEVEL_EDGE), np.float32(1 - LEVEL_EDGE)
        peak = logit(np.clip(highest(map_, _PEAK_FRACTION), *edges)).mean()
        return float(logit(np.clip(background, *edges))), float(peak)

    def shift(self, levels: tuple[float, float]) -> float:
        """What is added to the logits of a map with these `levels`."""
        background, peak = levels
        return self.background * (background - self.usual_background) - self.peak * (peak - self.usual_peak)
