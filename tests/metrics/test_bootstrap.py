from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from boxpromptiml.metrics import bootstrap_interval


def _mean(table: np.ndarray) -> list[float]:
    return [float(np.nanmean(column)) if not np.isnan(column).all() else math.nan for column in table.T]


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.2, (400, 1))
    ((low, high),) = bootstrap_interval(values, _mean, resamples=4000)
    half = stats.norm.ppf(0.975) * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.002)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random((30, 2))
    assert bootstrap_interval(values, _mean) == bootstrap_interval(values, _mean)
    assert bootstrap_interval(values, _mean) != bootstrap_interval(values, _mean, seed=1)


def test_a_wider_level_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).random((30, 1))
    ((a, b),) = bootstrap_interval(values, _mean, level=0.5)
    ((c, d),) = bootstrap_interval(values, _mean, level=0.99)
    assert c < a < b < d


@pytest.mark.parametrize(("values", "expected"), [([0.25], 0.25), ([0.5] * 9, 0.5)])
def test_without_spread_the_interval_is_a_point(values: list[float], expected: float) -> None:
    assert bootstrap_interval(np.array(values)[:, None], _mean) == [(expected, expected)]


def test_figures_that_are_not_defined_have_no_interval() -> None:
    table = np.array([[0.1, math.nan], [0.2, math.nan]])
    (first, second) = bootstrap_interval(table, _mean)
    assert not math.isnan(first[0])
    assert all(math.isnan(end) for end in second)
    assert all(math.isnan(end) for pair in bootstrap_interval(table[:0], lambda t: [math.nan] * 2) for end in pair)
