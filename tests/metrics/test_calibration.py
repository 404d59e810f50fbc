"""Calibration against scikit-learn's and torchmetrics' figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import binary_calibration_error

from boxpromptiml.metrics.calibration import Reliability, ece_interval


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 400), bins=st.integers(1, 20), skew=st.floats(0.2, 5))
def test_agrees_with_torchmetrics_and_scikit_learn(seed: int, n: int, bins: int, skew: float) -> None:
    rng = np.random.default_rng(seed)
    probability = rng.random(n) ** skew
    truth = rng.random(n) < probability
    diagram = Reliability.of(probability, truth, bins=bins)
    assert diagram.count.sum() == n
    error = binary_calibration_error(torch.from_numpy(probability), torch.from_numpy(truth).int(), n_bins=bins)
    assert diagram.ece == pytest.approx(float(error), abs=1e-6)
    frequency, confidence = calibration_curve(truth, probability, n_bins=bins)
    used = diagram.count > 0
    np.testing.assert_allclose(diagram.frequency[used], frequency)
    np.testing.assert_allclose(diagram.confidence[used], confidence)
    assert diagram.brier == pytest.approx(brier_score_loss(truth, probability))


@pytest.mark.parametrize(
    ("probability", "truth", "ece"),
    [
        ([0.0, 0.0, 1.0], [0, 0, 1], 0.0),
        ([1.0, 1.0], [0, 0], 1.0),  # sure and wrong
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], 0.0),
        ([0.9] * 10, [1] * 7 + [0] * 3, 0.2),
    ],
)
def test_cases(probability: list[float], truth: list[int], ece: float) -> None:
    assert Reliability.of(np.array(probability), np.array(truth, bool)).ece == pytest.approx(ece)


def test_counts_stand_for_many() -> None:
    probability = np.array([0.2, 0.7])
    many = np.repeat(probability, [5, 4]), np.array([1, 0, 0, 0, 0, 1, 1, 0, 1], bool)
    one, other = Reliability.of(*many), Reliability.of_counts(probability, np.array([4, 1]), np.array([1, 3]))
    assert (one.ece, one.brier) == pytest.approx((other.ece, other.brier))
    np.testing.assert_allclose(one.confidence, other.confidence)
    np.testing.assert_allclose(one.frequency, other.frequency)
    assert json.loads(json.dumps(one.to_json()))["n"] == 9
    assert [part["count"] for part in one.to_json()["bins"]] == [5, 4]


def test_of_nothing() -> None:
    nothing = Reliability.of(np.empty(0), np.empty(0, bool))
    assert nothing.to_json() == {"n": 0, "ece": None, "brier": None, "bins": []}
    assert np.isnan(nothing.ece)
    assert np.isnan(ece_interval(np.empty(0), np.empty(0, bool))).all()


@pytest.mark.parametrize("bad", [np.array([1.1]), np.array([-0.1]), np.array([np.nan])])
def test_refuses_what_is_no_probability(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Reliability.of(bad, np.array([True]))


def test_interval_holds_the_error_and_is_reproducible() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(500)
    truth = rng.random(500) < probability**2  # too sure of itself
    low, high = ece_interval(probability, truth)
    assert low < Reliability.of(probability, truth).ece < high
    assert (low, high) == ece_interval(probability, truth)
    # The same by the definition, resampling whole images.
    drawn = [rng.integers(0, 500, 500) for _ in range(300)]
    plain = np.quantile([Reliability.of(probability[i], truth[i]).ece for i in drawn], [0.025, 0.975])
    np.testing.assert_allclose([low, high], plain, atol=0.012)
