"""Confidence intervals by resampling images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def bootstrap_interval(
    table: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], Sequence[float]],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Percentile bootstrap: draw as many images as there are, with replacement, again and again.

    Args:
        table: (n, ...), one row an image.
        statistic: the figures of a table of drawn rows.
        level: share of the drawn figures that lies inside an interval.
        resamples: how often a table is drawn.
        seed: of the draws; the same seed gives the same intervals.

    Returns:
        Low and high end for each figure; NaN where the figure is NaN for every draw, or there are no images.
    """
    count = len(table)
    if count == 0:
        return [(float("nan"), float("nan")) for _ in statistic(table)]
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(table[rng.integers(0, count, count)]) for _ in range(resamples)], dtype=np.float64)
    ends = ((1 - level) / 2, (1 + level) / 2)
    columns = [column[~np.isnan(column)] for column in drawn.T]
    return [
        (float(np.quantile(c, ends[0])), float(np.quantile(c, ends[1]))) if c.size else (float("nan"), float("nan"))
        for c in columns
    ]
