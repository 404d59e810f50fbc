"""Calibration of maps, and a threshold that follows each image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxpromptiml.model_config import DecisionRule
from boxpromptiml.scaling import LEVEL_EDGE, AdaptiveThreshold, Scaling, logit, sigmoid

ADAPTIVE = AdaptiveThreshold(background=0.3, peak=0.5, usual_background=-4.0, usual_peak=1.0)


@settings(max_examples=200)
@given(
    slope=st.floats(0.05, 20),
    bias=st.floats(-5, 5),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
)
def test_scaling_keeps_the_order_and_can_be_undone(slope: float, bias: float, values: list[float]) -> None:
    scaling = Scaling(slope=slope, bias=bias)
    given_values = np.sort(np.array(values, np.float32))
    scaled = scaling.apply(given_values.copy())
    assert scaled.dtype == np.float32
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled) >= 0).all()
    exact = scaling.forward(given_values)
    np.testing.assert_allclose(scaled, exact, atol=2e-6)
    middle = (exact > 1e-6) & (exact < 1 - 1e-6) & (given_values > 1e-6) & (given_values < 1 - 1e-6)
    np.testing.assert_allclose(scaling.inverse(exact)[middle], given_values[middle], atol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "probability", "expected"),
    [
        (Scaling(), 0.3, 0.3),
        (Scaling(slope=0.5), 0.5, 0.5),  # a temperature leaves the cut at 0.5 where it is
        (Scaling(slope=0.5), 0.9, 0.75),  # sqrt(9) : 1
        (Scaling(bias=-math.log(4)), 0.8, 0.5),
    ],
)
def test_scaling(scaling: Scaling, probability: float, expected: float) -> None:
    assert float(scaling.forward(probability)) == pytest.approx(expected)
    assert scaling.apply(np.array([probability], np.float32))[0] == pytest.approx(expected)


def test_a_scaling_that_changes_nothing_copies_nothing() -> None:
    values = np.array([0.0, 0.25, 1.0], np.float32)
    assert Scaling().apply(values) is values
    assert Scaling().is_identity
    assert Scaling(slope=0.5).temperature == 2


def test_levels_are_the_lower_quartile_and_the_mean_of_the_highest_hundredth() -> None:
    logits = np.random.default_rng(0).permutation(np.linspace(-6, 4, 400))
    background, peak = AdaptiveThreshold.levels(sigmoid(logits).astype(np.float32).reshape(20, 20))
    ordered = np.sort(logits)
    assert background == pytest.approx(ordered[100], abs=1e-5)
    assert peak == pytest.approx(ordered[-4:].mean(), abs=1e-5)


def test_levels_do_not_depend_on_what_is_out_of_reach() -> None:
    """Where a runtime says 1e-7 and another 1e-9, or 1."""
    map_ = np.full((10, 10), 1e-7, np.float32)
    map_[0, 0] = 1.0
    edge = float(logit(LEVEL_EDGE))
    assert AdaptiveThreshold.levels(map_) == (pytest.approx(edge), pytest.approx(-edge))
    assert AdaptiveThreshold.levels(np.full((1, 1), 0.5, np.float32)) == (0.0, 0.0)


def test_a_faint_image_gets_a_lower_threshold() -> None:
    usual = sigmoid(np.array([[-4.0, -4.0, -4.0, 1.0]])).astype(np.float32)
    faint = sigmoid(np.array([[-4.0, -4.0, -4.0, -1.0]])).astype(np.float32)
    rule = DecisionRule(adaptive=ADAPTIVE)
    np.testing.assert_allclose(rule.finished(usual), usual, rtol=1e-5)
    np.testing.assert_allclose(rule.finished(faint), sigmoid(logit(faint) + 0.5 * 2), rtol=1e-5)


@given(
    background=st.floats(0, 0.9),
    peak=st.floats(0, 0.9),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40),
)
def test_the_order_within_an_image_stays(background: float, peak: float, values: list[float]) -> None:
    rule = AdaptiveThreshold(background=background, peak=peak, usual_background=-5, usual_peak=2)
    adapted = DecisionRule(adaptive=rule).finished(np.sort(np.array([values], np.float32)))
    assert adapted.dtype == np.float32
    assert ((adapted >= 0) & (adapted <= 1)).all()
    assert (np.diff(adapted[0]) >= 0).all()


def test_a_map_is_adapted_before_it_is_calibrated() -> None:
    map_ = sigmoid(np.random.default_rng(0).normal(-2, 2, (16, 16))).astype(np.float32)
    scaling = Scaling(slope=2.0, bias=1.0)
    rule = DecisionRule(adaptive=ADAPTIVE, map_scaling=scaling)
    shift = ADAPTIVE.shift(ADAPTIVE.levels(map_))
    np.testing.assert_allclose(rule.finished(map_), scaling.forward(sigmoid(logit(map_) + shift)), atol=1e-6)
    plain = DecisionRule()
    assert plain.finished(map_) is map_
