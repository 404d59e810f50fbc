"""Figures of whole images: is it tampered or not, by one score an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics.bootstrap import draw_weights, percentile_interval
from boxpromptiml.metrics.curve import Curve
from boxpromptiml.metrics.functional import Bools, Confusion, confusion, f1_score

Judge = Callable[[Confusion], tuple[float, float]]
_NAN = float("nan")
TPR = 0.95


class ImageFigures(NamedTuple):
    """Of a set of images; NaN where a figure is not defined.

    Attributes:
        auc: exact area under the ROC curve; NaN where a class is missing.
        f1: of the verdicts, by the preset's formula.
        accuracy: of the verdicts, by the preset's formula.
        fpr_at_95_tpr: the lowest share of authentic images that is called tampered at a threshold that finds at least
            95 % of the tampered ones; NaN where a class is missing.
        tpr: share of the tampered images that is called tampered; NaN without any.
        fpr: share of the authentic images that is called tampered; NaN without any.
    """

    auc: float
    f1: float
    accuracy: float
    fpr_at_95_tpr: float
    tpr: float
    fpr: float


def image_figures(scores: NDArray[Any], tampered: Bools, threshold: float, judge: Judge) -> ImageFigures:
    """Judge a set of images; all NaN for none.

    Args:
        scores: (n,), higher = more likely tampered.
        tampered: boolean (n,).
        threshold: an image is called tampered strictly above it.
        judge: F1 and accuracy of counts of images.

    Raises:
        ValueError: the shapes differ, or a score is NaN.
    """
    curve = Curve.of(scores, tampered)
    if not len(scores):
        return ImageFigures(*[_NAN] * len(ImageFigures._fields))
    counts = confusion(scores > threshold, tampered)
    return ImageFigures(curve.roc_auc(), *judge(counts), curve.fpr_at_tpr(TPR), *_rates(counts))


def _rates(counts: Confusion) -> tuple[float, float]:
    """TP / (TP + FN) and FP / (FP + TN)."""
    tampered, authentic = counts.tp + counts.fn, counts.fp + counts.tn
    return counts.tp / tampered if tampered else _NAN, counts.fp / authentic if authentic else _NAN


def image_intervals(
    scores: NDArray[Any], tampered: Bools, threshold: float, judge: Judge, *, level: float, resamples: int, seed: int
) -> list[tuple[float, float]]:
    """Percentile bootstrap of `image_figures`, over images: one sort serves all draws.

    Returns:
        Low and high end of each of the fields of `ImageFigures`; NaN where a figure is not defined.
    """
    if not len(scores):
        return [(_NAN, _NAN)] * len(ImageFigures._fields)
    order = np.argsort(scores, kind="stable")
    ranked, truth = scores[order], tampered[order]
    places = np.flatnonzero(truth), np.flatnonzero(~truth)
    positive, negative = ranked[places[0]], ranked[places[1]]
    below, upto = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    cuts = [int(np.searchsorted(part, threshold, "right")) for part in (positive, negative)]
    drawn: list[ImageFigures] = []
    for block in draw_weights(len(scores), resamples, seed):
        for weights in block:
            found, false = weights[places[0]], np.concatenate([[0.0], np.cumsum(weights[places[1]])])
            n_positive, n_negative = float(found.sum()), float(false[-1])
            tp, fp = float(found[cuts[0] :].sum()), n_negative - float(false[cuts[1]])
            counts = Confusion(int(tp), int(fp), int(n_positive - tp), int(n_negative - fp))
            auc = fpr = _NAN
            if n_positive and n_negative:
                auc = float(np.dot(found, false[below] + false[upto])) / (2 * n_positive * n_negative)
                enough = int(np.argmax(np.cumsum(found[::-1]) / n_positive >= TPR))
                fpr = 1 - float(false[below[::-1][enough]]) / n_negative
            drawn.append(ImageFigures(auc, *judge(counts), fpr, *_rates(counts)))
    return percentile_interval(np.array(drawn, dtype=np.float64), level)


def plain(counts: Confusion) -> tuple[float, float]:
    """F1 = 2 TP / (2 TP + FP + FN), NaN without tampered images; the share of right verdicts."""
    f1 = f1_score(counts) if counts.tp + counts.fn else _NAN
    return f1, (counts.tp + counts.tn) / sum(counts)


def imdlbenco(counts: Confusion) -> tuple[float, float]:
    """IMDLBenCo 0.1.45 ``evaluation/F1.py`` (`ImageF1`) and ``Accuracy.py`` (`ImageAccuracy`).

    F1 is computed in float32 there: P = TP / (TP + FP + 1e-9), R = TP / (TP + FN + 1e-9), F1 = 2PR / (P + R + 1e-9);
    so it is here, to the bit. Without tampered images it is 0.
    """
    tp, fp, fn = (np.float32(count) for count in counts[:3])
    epsilon, two = np.float32(1e-9), np.float32(2)
    precision, recall = tp / (tp + fp + epsilon), tp / (tp + fn + epsilon)
    return float(two * precision * recall / (precision + recall + epsilon)), (counts.tp + counts.tn) / sum(counts)


def mvss(counts: Confusion) -> tuple[float, float]:
    """MVSS-Net ``common/utils.py`` (`calculate_img_score`).

    "F1" is the harmonic mean of sensitivity TP / (TP + FN + 1e-6) and specificity TN / (TN + FP + 1e-6), NaN where
    both are 0; accuracy = (TP + TN) / (n + 1e-6).
    """
    sensitivity = counts.tp / (counts.tp + counts.fn + 1e-6)
    specificity = counts.tn / (counts.tn + counts.fp + 1e-6)
    both = sensitivity + specificity
    f1 = 2 * sensitivity * specificity / both if both else _NAN
    return f1, (counts.tp + counts.tn) / (sum(counts) + 1e-6)


def trufor(counts: Confusion) -> tuple[float, float]:
    """TruFor ``metrics.py`` (`computeDetectionMetrics`): accuracy is balanced, the mean over the classes there are."""
    sides = ((counts.tp, counts.tp + counts.fn), (counts.tn, counts.tn + counts.fp))
    rates = [hits / size for hits, size in sides if size]
    return plain(counts)[0], sum(rates) / len(rates)
