"""Counts and curves over arrays: no files, no models, no rounding rules of any protocol (those are in `presets`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


class Confusion(NamedTuple):
    """Pixels by prediction and truth."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def flipped(self) -> Confusion:
        """The counts of the inverted prediction."""
        return Confusion(self.fn, self.tn, self.tp, self.fp)


def confusion(prediction: Bools, truth: Bools) -> Confusion:
    """Count the pixels of two boolean masks of the same shape.

    >>> confusion(np.array([True, True, False]), np.array([True, False, False]))
    Confusion(tp=1, fp=1, fn=0, tn=1)

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    tp = int(np.count_nonzero(prediction & truth))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    return Confusion(tp, predicted - tp, true - tp, truth.size - predicted - true + tp)


def f1_score(counts: Confusion, empty: float = 0.0) -> float:
    """2 TP / (2 TP + FP + FN), in [0, 1]; `empty` where neither prediction nor truth has a pixel.

    >>> f1_score(Confusion(tp=1, fp=1, fn=0, tn=1))
    0.6666666666666666
    """
    whole = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / whole if whole else empty


def iou_score(counts: Confusion, empty: float = 0.0) -> float:
    """TP / (TP + FP + FN), in [0, 1]; `empty` where neither prediction nor truth has a pixel.

    >>> iou_score(Confusion(tp=1, fp=1, fn=0, tn=1))
    0.5
    """
    union = counts.tp + counts.fp + counts.fn
    return counts.tp / union if union else empty


def roc_auc(scores: NDArray[Any], truth: Bools) -> float:
    """Area under the ROC curve: the chance that a true element scores above a false one, ties counting half.

    Exact, by mid-ranks (the Mann-Whitney statistic); the order of tied elements does not matter.

    Args:
        scores: any shape, higher = more likely true.
        truth: boolean, same shape.

    Returns:
        In [0, 1]; NaN where `truth` lacks one of the two classes.

    >>> roc_auc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    0.875

    Raises:
        ValueError: the shapes differ, or a score is NaN.
    """
    if scores.shape != truth.shape:
        raise ValueError(f"scores {scores.shape} and truth {truth.shape} differ in shape")
    flat, positive = scores.ravel(), truth.ravel()
    n_positive = int(np.count_nonzero(positive))
    n_negative = positive.size - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    order = np.argsort(flat)
    ranked = flat[order]
    if np.isnan(ranked[-1]):  # NaNs sort last
        raise ValueError("scores hold NaN")
    # Ends of the runs of equal scores: all elements of a run share the mean of its ranks.
    ends = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]])) + 1
    sizes = np.diff(ends, prepend=0)
    mid_ranks = ends - (sizes - 1) / 2
    positives = np.add.reduceat(positive[order].astype(np.int64), ends - sizes)
    rank_sum = float(np.dot(mid_ranks, positives))
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
