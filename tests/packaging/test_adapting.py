"""A threshold that follows each image: chosen where it helps, within the bound of the false area."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import DecisionRule
from boxpromptiml.packaging.adapting import CLEAN, choose_adaptive
from boxpromptiml.packaging.observing import Observed
from boxpromptiml.scaling import AdaptiveThreshold, sigmoid

Observe = Callable[..., Observed]


@pytest.fixture
def scene(observed: Observe) -> Callable[..., list[Observed]]:
    """``scene(peaks, background)``: maps whose 64 tampered pixels have a logit each image its own; then authentic."""

    def make(peaks: list[float], background: float = -5.0) -> list[Observed]:
        rng = np.random.default_rng(0)
        images = []
        for peak in peaks:
            for tampered in (True, False):
                truth = np.zeros((40, 40), bool)
                truth[:8, :8] = tampered
                # Half as far from the background in between: what a low threshold would mark beside the tampered part.
                halo = rng.random(truth.shape) < 0.1
                logits = np.where(truth, peak, np.where(halo & tampered, (peak + background) / 2, background))
                values = sigmoid(logits + rng.normal(0, 0.1, truth.shape)).astype(np.float32)
                seen = observed(values, truth)
                images.append(replace(seen, levels=AdaptiveThreshold.levels(values)))
        return images

    return make


def test_images_of_different_strength_get_thresholds_of_their_own(scene: Callable[..., list[Observed]]) -> None:
    """At -1 the faint images' parts are above, and so is what surrounds those of the strong ones."""
    clean = scene([4.0, 3.0, 4.0])
    found = choose_adaptive({CLEAN: clean, "JPEG 70": scene([-1.5, -2.0, -1.0])})
    rule, fact = found
    assert rule is not None
    assert rule.peak > 0
    assert fact.model_dump(include=set(rule.model_dump())) == rule.model_dump()
    assert fact.f1_adaptive.keys() == {CLEAN, "JPEG 70"}
    assert np.mean(list(fact.f1_adaptive.values())) > np.mean(list(fact.f1_fixed.values())) + 0.05
    assert rule.usual_peak == pytest.approx(np.mean([image.levels[1] for image in clean]), abs=1e-4)


def test_images_that_are_alike_need_no_other_threshold(scene: Callable[..., list[Observed]]) -> None:
    found = choose_adaptive({CLEAN: scene([3.0, 3.0]), "JPEG 70": scene([3.0, 3.0])})
    assert found[0] is None
    assert (found[1].background, found[1].peak) == (0.0, 0.0)
    assert found[1].f1_fixed == found[1].f1_adaptive


def test_what_it_finds_is_what_the_map_gives(observed: Observe) -> None:
    """The F1 from counts in bins is that of the adapted map itself, cut at the threshold."""
    rng = np.random.default_rng(3)
    images, maps, truths = [], [], []
    for strength in (1.0, 2.5, 4.0, 1.5):
        truth = np.zeros((32, 32), bool)
        truth[:10, :10] = True
        values = sigmoid(rng.normal(-4, 1.5, truth.shape) + strength * 2 * truth).astype(np.float32)
        images.append(replace(observed(values, truth), levels=AdaptiveThreshold.levels(values)))
        maps.append(values)
        truths.append(truth)
    found = choose_adaptive({CLEAN: images})
    rule, fact = found
    assert rule is not None
    means = []
    for cut in sigmoid(np.arange(-10, 10.01, 0.1)):
        marked = [DecisionRule(adaptive=rule).finished(values) > cut for values in maps]
        scores = [2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in zip(marked, truths, strict=True)]
        means.append(np.mean(scores))
    assert fact.f1_adaptive[CLEAN] == pytest.approx(max(means), abs=0.01)


def test_the_bound_of_the_false_area_is_that_of_images_as_they_are(scene: Callable[..., list[Observed]]) -> None:
    """Authentic images whose background is what faint parts are: marking those would mark all of it."""
    clean = [image for image in scene([4.0, 4.0, 4.0]) if image.tampered]
    bright = [image for image in scene([4.0, 4.0, 4.0], background=-1.0) if not image.tampered]
    faint = scene([-1.5, -2.0, -1.0])
    free = choose_adaptive({CLEAN: clean + bright, "JPEG 70": faint})
    bound = choose_adaptive({CLEAN: clean + bright, "JPEG 70": faint}, max_false_area=0.001)
    assert np.mean(list(bound[1].f1_fixed.values())) < np.mean(list(free[1].f1_fixed.values()))
    # Also with the weights that were chosen: there is no threshold that keeps the bound and finds more.
    assert np.mean(list(bound[1].f1_adaptive.values())) < np.mean(list(free[1].f1_adaptive.values()))


def test_without_authentic_images_there_is_no_bound(scene: Callable[..., list[Observed]]) -> None:
    tampered = [image for image in scene([4.0, 3.0, -1.0]) if image.tampered]
    assert choose_adaptive({CLEAN: tampered}, 0.01) == choose_adaptive({CLEAN: tampered})


def test_a_bound_that_nothing_keeps_gives_the_least_there_is(observed: Observe) -> None:
    """Authentic images that are marked whatever the threshold."""
    full = observed(np.ones((8, 8), np.float32), np.zeros((8, 8), bool))
    truth = np.zeros((8, 8), bool)
    truth[:4] = True
    found = choose_adaptive({CLEAN: [full, full, observed(np.where(truth, 0.9, 0.1).astype(np.float32), truth)]}, 0.01)
    assert found[1].f1_adaptive[CLEAN] == pytest.approx(1.0)


def test_without_masks_there_is_nothing_to_choose_by(scene: Callable[..., list[Observed]]) -> None:
    with pytest.raises(ModelError, match="leave out --adaptive"):
        choose_adaptive({CLEAN: [image for image in scene([3.0]) if not image.tampered]})
