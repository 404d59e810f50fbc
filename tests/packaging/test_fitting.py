"""Scalings from what is known to be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxpromptiml.metrics import ScoreHistogram
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.model_config import DecisionRule
from boxpromptiml.packaging.fitting import cross_validated, fit, fit_map, fit_score
from boxpromptiml.packaging.observing import Observed
from boxpromptiml.packaging.threshold import choose_cut
from boxpromptiml.scaling import Scaling, logit, sigmoid

Make = Callable[..., list[Observed]]


@settings(max_examples=25)
@given(slope=st.floats(0.3, 3), bias=st.floats(-1.5, 1.5), seed=st.integers(0, 1000))
def test_a_score_that_was_distorted_is_set_right(slope: float, bias: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, 3000)
    tampered = rng.random(3000) < sigmoid(true)
    found = fit_score((true - bias) / slope, tampered)
    assert found.slope == pytest.approx(slope, rel=0.2)
    assert found.bias == pytest.approx(bias, abs=0.25)
    assert Reliability.of(sigmoid(found.slope * (true - bias) / slope + found.bias), tampered).ece < 0.04


@pytest.mark.parametrize(
    ("pooled", "tampered"),
    [
        ([-3.0, -2.0, 2.0, 3.0], [False, False, True, True]),  # separable: no infinite slope
        ([1.0, 1.0, 1.0, 1.0], [False, True, False, True]),  # says nothing
        ([2.0, 3.0, -3.0, -2.0], [False, False, True, True]),  # says the opposite: the order stays
    ],
)
def test_few_images_give_sane_scalings(pooled: list[float], tampered: list[bool]) -> None:
    scaling = fit_score(np.array(pooled), np.array(tampered))
    assert 0 < scaling.slope < 10
    assert abs(scaling.bias) < 10
    scores = sigmoid(scaling.slope * np.array(pooled) + scaling.bias)
    assert (scores > 0.05).all()
    assert (scores < 0.95).all()
    assert (np.argsort(scores, kind="stable") == np.argsort(pooled, kind="stable")).all()


def test_the_map_gets_its_temperature_back() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(-1, 2, 200_000)
    truth = rng.random(len(true)) < sigmoid(true)
    histogram = ScoreHistogram()
    histogram.update(sigmoid(3 * true).astype(np.float32), truth)  # three times too sure
    scaling = fit_map(histogram.middles, histogram.negatives, histogram.positives, cut=0.5)
    assert scaling.bias == 0
    assert scaling.temperature == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.8])
def test_the_cut_of_a_map_becomes_one_half(cut: float) -> None:
    values = ScoreHistogram().middles
    rng = np.random.default_rng(0)
    scaling = fit_map(values, rng.integers(1, 50, len(values)), rng.integers(1, 50, len(values)), cut)
    assert float(scaling.forward(cut)) == pytest.approx(0.5, abs=1e-5)


def test_fit_gives_a_rule_whose_scores_are_probabilities(observed: Callable[..., Observed]) -> None:
    rng = np.random.default_rng(1)
    images = []
    for _ in range(300):
        level = rng.random()
        truth = np.zeros((10, 10), bool)
        truth[:5, :5] = rng.random() < level  # the map's height says how likely, but much too timidly
        values = np.full((10, 10), sigmoid(0.3 * logit(level) - 1), np.float32)
        images.append(observed(values, truth))
    fitted = fit(images, DecisionRule(score_pooling="logit", score_fraction=0.1), "true masks", choose_cut(images))
    facts = fitted.facts
    assert facts.score_before is not None
    assert facts.score_after is not None
    assert facts.score_cross_validated is not None
    assert facts.score_before.ece is not None
    assert facts.score_cross_validated.ece is not None
    assert facts.score_before.ece > 0.15
    assert facts.score_cross_validated.ece < 0.12
    assert fitted.rule.threshold == 0.5
    assert fitted.rule.score_fraction == 0.1


def test_without_masks_only_the_score_is_fitted() -> None:
    images = [Observed(bool(n % 2), np.full(5, 0.4 + 0.02 * (n % 7), np.float32), None, None) for n in range(20)]
    fitted = fit(images, DecisionRule(), "labels alone", None)
    assert fitted.rule.map_scaling == Scaling()
    assert not fitted.rule.score_scaling.is_identity
    assert (fitted.facts.cut, fitted.facts.pixel_after) == (None, None)


def test_one_kind_of_images_calibrates_no_score(make_images: Make) -> None:
    images = [image for image in make_images(10, level=0.9, stray=0.1) if image.tampered]
    fitted = fit(images, DecisionRule(), "true masks", choose_cut(images))
    assert fitted.rule.score_scaling.is_identity
    assert fitted.facts.score_cross_validated is None


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("level", [-16.6, -5.0, 0.0, 16.6])
@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-4, 0.01, 1.0])
def test_scores_that_hardly_differ_are_scaled_too(level: float, spread: float, order: int) -> None:
    """A network that has learnt nothing says nearly the same of every image."""
    pooled = level + spread * np.linspace(-1, 1, 12)
    tampered = order * np.arange(12) > order * 5.5
    scaling = fit_score(pooled, tampered)
    middle = float(sigmoid(scaling.slope * level + scaling.bias))
    assert middle == pytest.approx(0.5, abs=0.05)
    assert scaling.slope > 0


def test_cross_validation_scores_every_image_without_itself() -> None:
    rng = np.random.default_rng(0)
    pooled = rng.normal(0, 1, 40)
    tampered = pooled + rng.normal(0, 1, 40) > 0
    scores: Any = cross_validated(pooled, tampered)
    assert scores.shape == (40,)
    assert ((scores > 0) & (scores < 1)).all()
    everything = fit_score(pooled, tampered)
    assert (scores != sigmoid(everything.slope * pooled + everything.bias)).all()
    assert cross_validated(pooled[:3], np.array([True, False, False])) is None


def test_cross_validation_keeps_a_group_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    pooled = np.concatenate([rng.normal(0, 1, 40), np.full(30, 2.0)])
    tampered = np.concatenate([rng.random(40) < 0.5, np.zeros(30, bool)])
    groups = [*(None,) * 40, *("scene",) * 30]

    alone: Any = cross_validated(pooled, tampered)
    together: Any = cross_validated(pooled, tampered, groups)

    # The scene shows that high scores may be authentic; who has not seen it does not know.
    assert len(set(together[40:])) == 1
    assert len(set(alone[40:])) > 1
    assert together[40] > alone[40:].max()
    assert cross_validated(pooled, tampered, ["one"] * 70) is None
