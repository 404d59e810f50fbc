"""The adaptive threshold of a network's own map, from what it says of held-out images, as they are and compressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ModelError
from boxpromptiml.metrics import ScoreHistogram
from boxpromptiml.models.card import AdaptiveFact
from boxpromptiml.packaging.observing import Observed
from boxpromptiml.packaging.threshold import authentic, within_bound
from boxpromptiml.scaling import AdaptiveThreshold, logit

QUALITIES = (90, 80, 70)  # of JPEG: what photos go through on their way
CLEAN = "as they are"
_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(9))
# Thresholds that are tried, as logits: between those that `choose_cut` can take, 1 / 256 and 255 / 256.
_LOGITS = np.arange(-55, 56) / 10
Floats = NDArray[np.float64]


def choose_adaptive(
    seen: Mapping[str, Sequence[Observed]], max_false_area: float | None = None
) -> tuple[AdaptiveThreshold | None, AdaptiveFact]:
    """The weights whose best threshold gives the highest mean F1.

    The mean is over the tampered images, as they are and compressed; thresholds that mark too much of the authentic
    ones as they are, by the bound of `boxpromptiml.packaging.threshold.choose_cut`, do not count. Of equals the
    smallest weights.

    Args:
        seen: by condition, what the model says of the same images with one threshold for all; `CLEAN` among them.
        max_false_area: see `choose_cut`.

    Returns:
        The choice, usual images being those of `CLEAN` in the mean, None where one threshold for all is best; and what
        it brings.

    Raises:
        ModelError: there is no mask to choose by.
    """
    if not any(image.f1 is not None for image in seen[CLEAN]):
        raise ModelError("no held-out image has a mask to choose an adaptive threshold by; leave out --adaptive")
    usual = np.mean([image.levels for image in seen[CLEAN]], axis=0)
    best: tuple[float, AdaptiveThreshold, dict[str, float]] | None = None
    fixed: dict[str, float] = {}
    for background in _WEIGHTS:
        for peak in _WEIGHTS:
            rule = AdaptiveThreshold(
                background=background, peak=peak, usual_background=round(usual[0], 4), usual_peak=round(usual[1], 4)
            )
            f1 = _f1(seen, rule, max_false_area)
            mean = float(np.mean(list(f1.values())))
            if not fixed:  # both weights are 0
                fixed = f1
            if best is None or mean > best[0] + 1e-9:
                best = mean, rule, f1
    assert best is not None
    chosen = best[1] if best[1].background or best[1].peak else None
    return chosen, AdaptiveFact(**best[1].model_dump(), f1_fixed=fixed, f1_adaptive=best[2])


def _f1(
    seen: Mapping[str, Sequence[Observed]], rule: AdaptiveThreshold, max_false_area: float | None
) -> dict[str, float]:
    """Mean F1 by condition at the threshold that is best for all of them."""
    allowed = np.ones(len(_LOGITS), bool)
    if max_false_area is not None and (images := authentic(seen[CLEAN])):
        shares = np.stack([_above(image, rule)[0] / _pixels(image)[0] for image in images])
        allowed, _ = within_bound(shares, [image.group for image in images], max_false_area)
    means = {name: _mean_f1(images, rule) for name, images in seen.items()}
    best = int(np.flatnonzero(allowed)[np.mean(list(means.values()), axis=0)[allowed].argmax()])
    return {name: float(values[best]) for name, values in means.items()}


def _mean_f1(images: Sequence[Observed], rule: AdaptiveThreshold) -> Floats:
    f1 = []
    for image in images:
        if image.f1 is not None:
            false, true = _above(image, rule)
            f1.append(2 * true / (false + true + _pixels(image)[1]))
    return np.asarray(np.mean(f1, axis=0))


def _above(image: Observed, rule: AdaptiveThreshold) -> Floats:
    """How many of an image's untouched and tampered pixels are above each threshold, (2, thresholds)."""
    assert image.counts is not None
    least = np.searchsorted(_BIN_LOGITS + rule.shift(image.levels), _LOGITS, side="right")
    from_there = np.cumsum(image.counts[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([from_there, np.zeros((2, 1))], axis=1)[:, least]


def _pixels(image: Observed) -> Floats:
    assert image.counts is not None
    return np.asarray(image.counts.sum(axis=1), np.float64)


_BIN_LOGITS = logit(ScoreHistogram().middles)
