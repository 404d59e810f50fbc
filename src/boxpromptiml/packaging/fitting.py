"""Threshold and calibration from what a model says of held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.metrics import ScoreHistogram, ThresholdSweep
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.model_config import DecisionRule, Scaling, logit, sigmoid
from boxpromptiml.models.card import CalibrationFact, Cut, Diagram, ScalingFact
from boxpromptiml.preprocessing import Fed, PreprocessingSpec
from boxpromptiml.progress import track
from boxpromptiml.runtime import Localizer
from boxpromptiml.training.sample import Sample

_LEAST_SLOPE = 0.01  # a score that says nothing, or the opposite, still keeps its order
_FOLDS = 5
_CONFIDENCE = 0.95
_HALF = 0.5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """What a model says of one image, and what is right.

    Attributes:
        tampered: of the image.
        highest: the pixels that its score is made of, float32, as the network gives them.
        counts: int64 (2, bins) of its pixels, see `ScoreHistogram`; None where no pixel's truth is known.
        f1: float64 (thresholds,), see `ThresholdSweep`; None where nothing is tampered.
        group: of images made from the same source photographs; None for an image by itself.
    """

    tampered: bool
    highest: NDArray[np.float32]
    counts: NDArray[np.int64] | None
    f1: Floats | None
    group: str | None = None


@dataclass(frozen=True)
class Fitted:
    """A decision rule and how it was found."""

    rule: DecisionRule
    facts: CalibrationFact


def observe(localizer: Localizer, samples: Sequence[Sample]) -> list[Observed]:
    """Look at images; the localizer must not be calibrated yet.

    Raises:
        ImageError: an image or mask cannot be read.
    """
    spec, rule = localizer.config.preprocessing, localizer.config.decision
    seen = []
    for sample in track(samples, "validation", len(samples)):
        fed, target = _fed(sample, spec)
        (values,) = localizer.maps([fed])
        flat = values.ravel()
        count = min(flat.size, max(1, round(rule.score_fraction * flat.size)))
        highest = np.sort(np.partition(flat, flat.size - count)[flat.size - count :])
        counts = f1 = None
        if sample.has_target:
            truth = target > _HALF
            histogram = ScoreHistogram()
            histogram.update(values, truth)
            counts = np.stack([histogram.negatives, histogram.positives])
            if truth.any():
                sweep = ThresholdSweep()
                sweep.update(values, truth)
                f1 = sweep.f1()
        seen.append(Observed(sample.tampered, highest, counts, f1, sample.group))
    return seen


def fit(
    seen: Sequence[Observed],
    rule: DecisionRule,
    truth: str,
    *,
    max_false_area: float | None = None,
    fixed_cut: float | None = None,
) -> Fitted:
    """Choose threshold and calibration.

    The threshold is moved to 0.5 by the map's bias, so that 0.5 cuts the map everywhere; around it the map gets a
    temperature. The score gets Platt scaling.

    Args:
        seen: what the model says of held-out images.
        rule: how the score is made; its scalings are replaced.
        truth: where the masks come from, for the card.
        max_false_area: the mean share of an authentic image that may be marked, with 95 % confidence, every source
            group counting as one image; None for no bound.
        fixed_cut: the threshold, where it is not to be chosen; 0.5 leaves the map with a temperature alone.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    cut = choose_cut(seen, max_false_area, fixed_cut)
    known = [image.counts for image in seen if image.counts is not None]
    negatives, positives = np.sum(known, axis=0) if cut is not None else (None, None)
    map_scaling = Scaling()
    pixels: tuple[Diagram | None, Diagram | None] = (None, None)
    if cut is not None and negatives is not None and positives is not None:
        values = ScoreHistogram().middles
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
        crossed = cross_validated(scaled, labels)
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
    update = {"threshold": _HALF, "map_scaling": map_scaling, "score_scaling": score_scaling}
    return Fitted(rule.model_copy(update=update), facts)


def choose_cut(seen: Sequence[Observed], max_false_area: float | None = None, fixed: float | None = None) -> Cut | None:
    """The threshold of the network's own map.

    Of the thresholds whose mean F1 is within one standard error of the best one's (Breiman et al. 1984), the nearest
    to 0.5: few images say little about the third digit, and 0.5 is what the network was trained for.

    Returns:
        The choice; None without a mask to choose by.
    """
    scores = np.array([image.f1 for image in seen if image.f1 is not None])
    if not len(scores):
        return None
    thresholds = ThresholdSweep().thresholds.astype(np.float64)
    mean = scores.mean(axis=0)
    area = _false_area(seen)
    allowed = np.ones(len(thresholds), bool)
    words = "nearest to 0.5 within one standard error of the best mean F1"
    if max_false_area is not None and area is not None:
        bound = _false_area_bound(seen)
        allowed = bound <= max_false_area
        words += f", at most {max_false_area:.3g} of authentic images marked ({_CONFIDENCE:.0%} sure, "
        words += "by the spread of source groups)"
        if not allowed.any():
            allowed = bound == bound.min()
            words += " (which no threshold keeps; the least there is)"
    best = int(np.flatnonzero(allowed)[mean[allowed].argmax()])
    behind = scores[:, [best]] - scores
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else np.zeros(len(thresholds))
    good = np.flatnonzero(allowed & (behind.mean(axis=0) <= error))
    chosen = int(good[np.abs(thresholds[good] - _HALF).argmin()])
    if fixed is not None:
        chosen, words = int(np.abs(thresholds - fixed).argmin()), "given"
    half = int(np.flatnonzero(thresholds == _HALF)[0])
    return Cut(
        cut=float(thresholds[chosen]),
        best=float(thresholds[best]),
        f1_at_half=float(mean[half]),
        f1_at_cut=float(mean[chosen]),
        f1_at_best=float(mean[best]),
        false_area_at_half=None if area is None else float(area[half]),
        false_area_at_cut=None if area is None else float(area[chosen]),
        rule=words,
    )


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
    slope = max(_LEAST_SLOPE, float(_regression(x, y, weight, intercept=False).coef_[0, 0]))
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
    if slope < _LEAST_SLOPE:
        slope = _LEAST_SLOPE
        bias = float(logit(target.mean())) - slope * float(pooled.mean())
    return Scaling(slope=_rounded(slope), bias=_rounded(bias))


def cross_validated(pooled: Floats, tampered: NDArray[np.bool_]) -> Floats | None:
    """Each image's score, scaled by what the images of the other folds gave; None for too few images."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(_FOLDS, int(tampered.sum()), int((~tampered).sum()))
    if folds < 2:
        return None
    scores: Floats = np.zeros(len(pooled))
    for rest, part in StratifiedKFold(folds, shuffle=True, random_state=0).split(pooled[:, None], tampered):
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


def _fed(sample: Sample, spec: PreprocessingSpec) -> tuple[Fed, NDArray[np.float32]]:
    image, target = sample.load_fitted(spec)
    return spec.feed(image), target


def _pooled(highest: NDArray[np.float32], rule: DecisionRule) -> float:
    """Logit of a score that is not scaled."""
    if rule.score_pooling == "logit":
        return float(logit(highest).mean())
    return float(logit(highest.mean(dtype=np.float64)))


def _false_area(seen: Sequence[Observed]) -> Floats | None:
    """Mean share of the authentic images above each threshold; None without authentic images."""
    shares = _false_areas(seen)
    return None if shares is None else np.asarray(shares.mean(axis=0))


def _false_area_bound(seen: Sequence[Observed]) -> Floats:
    """What the mean share of further authentic images stays below, by the spread of those that were seen.

    A mean at the bound itself is above it for every other set of images. Images of one source group are one witness,
    however many there are: further images are of other groups.
    """
    shares = _by_group(seen)
    error = shares.std(axis=0, ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else 0.0
    return np.asarray(shares.mean(axis=0) + NormalDist().inv_cdf(_CONFIDENCE) * error)


def _false_areas(seen: Sequence[Observed]) -> Floats | None:
    """Share of each authentic image above each threshold, (images, thresholds); None without authentic images."""
    counts = [image.counts[0] for image in seen if not image.tampered and image.counts is not None]
    if not counts:
        return None
    edges = np.append(ScoreHistogram().edges, np.float32(1)).astype(np.float64)
    thresholds = ThresholdSweep().thresholds.astype(np.float64)
    above = edges[None, :] > thresholds[:, None]  # a bin is (low, high]
    shares = [above @ (image / image.sum()) for image in counts]
    return np.stack(shares)


def _by_group(seen: Sequence[Observed]) -> Floats:
    """As `_false_areas`, the mean of each source group, (groups, thresholds); of a single one, its images."""
    shares = _false_areas(seen)
    assert shares is not None
    authentic = [image for image in seen if not image.tampered and image.counts is not None]
    members: dict[object, list[int]] = {}
    for index, image in enumerate(authentic):
        members.setdefault(index if image.group is None else image.group, []).append(index)
    if len(members) == 1:  # a group alone has no spread, which would make the bound a mean
        return shares
    return np.stack([shares[indices].mean(axis=0) for indices in members.values()])


def _diagram(diagram: Reliability) -> Diagram:
    return Diagram.model_validate(diagram.to_json())


def _rounded(value: float) -> float:
    """Six digits: the last ones of a fit depend on the machine."""
    return float(f"{value:.6g}")
