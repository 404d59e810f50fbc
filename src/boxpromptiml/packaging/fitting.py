"""Calibration, around a chosen threshold, from what a model says of held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.metrics import ScoreHistogram
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.model_config import DecisionRule
from boxpromptiml.models.card import CalibrationFact, Cut, Diagram, ScalingFact
from boxpromptiml.packaging.observing import HALF, Observed, group_labels
from boxpromptiml.scaling import MOST_SLOPE, Scaling, logit, sigmoid

_LEAST_SLOPE = 0.01  # a score that says nothing, or the opposite, still keeps its order
_FOLDS = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A decision rule and how it was found."""

    rule: DecisionRule
    facts: CalibrationFact


def fit(
    seen: Sequence[Observed],
    rule: DecisionRule,
    truth: str,
    cut: Cut | None,
) -> Fitted:
    """Calibrate map and score.

    The threshold is moved to 0.5 by the map's bias, so that 0.5 cuts the map everywhere; around it the map gets a
    temperature. The score gets Platt scaling.

    Args:
        seen: what the model says of held-out images.
        rule: how the score is made; its scalings are replaced.
        truth: where the masks come from, for the card.
        cut: the threshold, see `boxpromptiml.packaging.threshold`; 0.5 leaves the map with a temperature alone, None
            as it is.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    map_scaling = Scaling()
    pixels: tuple[Diagram | None, Diagram | None] = (None, None)
    if cut is not None:
        values, negatives, positives = pixel_counts(seen)
        map_scaling = fit_map(values, negatives, positives, cut.cut)
        pixels = (
            _diagram(Reliability.of_counts(values, negatives, positives)),
            _diagram(Reliability.of_counts(map_scaling.forward(values), negatives, positives)),
        )
    labels = np.array([image.tampered for image in seen])
    raw = np.array([_pooled(image.highest, rule) for image in seen])
    scaled = np.array([_pooled(map_scaling.apply(image.highest), rule) for image in seen])
    score_scaling, crossed = Scaling(), None
    if 0 < labels.sum() < len(labels):
        score_scaling = fit_score(scaled, labels)
        crossed = cross_validated(scaled, labels, [image.group for image in seen])
    after = sigmoid(score_scaling.slope * scaled + score_scaling.bias)
    facts = CalibrationFact(
        tampered=int(labels.sum()),
        authentic=int((~labels).sum()),
        truth=truth,
        map_scaling=ScalingFact(**map_scaling.model_dump()),
        score_scaling=ScalingFact(**score_scaling.model_dump()),
        cut=cut,
        score_before=_diagram(Reliability.of(sigmoid(raw), labels)),
        score_after=_diagram(Reliability.of(after, labels)),
        score_cross_validated=None if crossed is None else _diagram(Reliability.of(crossed, labels)),
        pixel_before=pixels[0],
        pixel_after=pixels[1],
    )
    update = {"threshold": HALF, "map_scaling": map_scaling, "score_scaling": score_scaling}
    return Fitted(rule.model_copy(update=update), facts)


def pixel_counts(seen: Sequence[Observed]) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Probabilities (n,), and how many untouched and tampered pixels of all images have each."""
    negatives, positives = np.sum([image.counts for image in seen if image.counts is not None], axis=0)
    return ScoreHistogram().middles, negatives, positives


def fit_map(values: Floats, negatives: NDArray[Any], positives: NDArray[Any], cut: float) -> Scaling:
    """Temperature of the map around the threshold, which becomes 0.5 (Guo et al. 2017, by maximum likelihood).

    Args:
        values: (n,) probabilities.
        negatives, positives: (n,) how many untouched and tampered pixels have each.
        cut: the threshold.
    """
    shift = float(logit(cut))
    x = np.concatenate([logit(values) - shift] * 2)[:, None]
    y = np.repeat([0, 1], len(values))
    weight = np.concatenate([negatives, positives]).astype(np.float64)
    slope = _bounded(float(_regression(x, y, weight, intercept=False).coef_[0, 0]))
    return Scaling(slope=_rounded(slope), bias=_rounded(-slope * shift))


def fit_score(pooled: Floats, tampered: NDArray[np.bool_]) -> Scaling:
    """Platt scaling of the scores' logits, with his targets, which keep few separable images from infinite slopes.

    Args:
        pooled: (n,) logits of the scores.
        tampered: boolean (n,), both kinds among them.
    """
    positives, negatives = int(tampered.sum()), int((~tampered).sum())
    # Platt 1999: (N+ + 1) / (N+ + 2) for tampered images, 1 / (N- + 2) for authentic ones.
    target = np.where(tampered, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.concatenate([pooled, pooled])[:, None]
    y = np.repeat([1, 0], len(pooled))
    found = _regression(x, y, np.concatenate([target, 1 - target]), intercept=True)
    slope, bias = float(found.coef_[0, 0]), float(found.intercept_[0])
    if slope != _bounded(slope):
        slope = _bounded(slope)
        bias = float(logit(target.mean())) - slope * float(pooled.mean())
    return Scaling(slope=_rounded(slope), bias=_rounded(bias))


def cross_validated(
    pooled: Floats, tampered: NDArray[np.bool_], groups: Sequence[str | None] | None = None
) -> Floats | None:
    """Each image's score, scaled by what the images of the other folds gave; None for too few images.

    Args:
        pooled: (n,) logits of the scores.
        tampered: boolean (n,).
        groups: of images made from the same source photographs, which are in one fold: what is learnt of one tells
            too much of the others. None for an image by itself.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    members = np.array(group_labels([None] * len(pooled) if groups is None else groups))
    folds = min(_FOLDS, *(len(set(members[chosen])) for chosen in (tampered, ~tampered)))
    if folds < 2:
        return None
    scores: Floats = np.zeros(len(pooled))
    folded = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for rest, part in folded.split(pooled[:, None], tampered, members):
        if len(set(tampered[rest])) < 2:  # the groups are too unlike for any dealing out
            return None
        scaling = fit_score(pooled[rest], tampered[rest])
        scores[part] = sigmoid(scaling.slope * pooled[part] + scaling.bias)
    return scores


def _regression(x: Floats, y: NDArray[Any], weight: Floats, *, intercept: bool) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    model = LogisticRegression(C=np.inf, fit_intercept=intercept, tol=1e-8, max_iter=1000)
    return model.fit(x, y, sample_weight=weight / weight.mean())


def _pooled(highest: NDArray[np.float32], rule: DecisionRule) -> float:
    """Logit of a score that is not scaled."""
    if rule.score_pooling == "logit":
        return float(logit(highest).mean())
    return float(logit(highest.mean(dtype=np.float64)))


def _diagram(diagram: Reliability) -> Diagram:
    return Diagram.model_validate(diagram.to_json())


def _bounded(slope: float) -> float:
    """The nearest slope that a scaling may have: a fit to scores that hardly differ may exceed it, or be negative."""
    return min(max(slope, _LEAST_SLOPE), MOST_SLOPE)


def _rounded(value: float) -> float:
    """Six digits: the last ones of a fit depend on the machine."""
    return float(f"{value:.6g}") + 0.0  # no negative zero
