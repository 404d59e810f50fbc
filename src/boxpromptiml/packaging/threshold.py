"""The threshold of a network's own map, from what it says of held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from boxpromptiml.metrics import ScoreHistogram, ThresholdSweep
from boxpromptiml.models.card import Cut
from boxpromptiml.packaging.observing import HALF, Observed, group_labels

_CONFIDENCE = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """What thresholds bring.

    Attributes:
        thresholds: float64 (n,), ascending, 0.5 among them.
        f1: float64 (tampered images, n).
        areas: float64 (authentic images, n), the share of each that is above; None without authentic images.
        groups: of the authentic images, see `Observed.group`.
    """

    thresholds: Floats
    f1: Floats
    areas: Floats | None
    groups: list[str | None]


def choose_cut(seen: Sequence[Observed], max_false_area: float | None = None, fixed: float | None = None) -> Cut | None:
    """The threshold of the network's own map, see `choose_on`; None without a mask to choose by."""
    scores = [image.f1 for image in seen if image.f1 is not None]
    if not scores:
        return None
    images = authentic(seen)
    thresholds = ThresholdSweep().thresholds.astype(np.float64)
    curves = Curves(thresholds, np.array(scores), _false_areas(images), [image.group for image in images])
    return choose_on(curves, max_false_area, fixed)


def choose_on(curves: Curves, max_false_area: float | None = None, fixed: float | None = None) -> Cut:
    """A threshold, by what each of them brings.

    Of the thresholds whose mean F1 is within one standard error of the best one's (Breiman et al. 1984), the nearest
    to 0.5: few images say little about the third digit, and 0.5 is what the network was trained for.

    Args:
        curves: what they bring.
        max_false_area: the mean share of an authentic image that may be marked, with 95 % confidence, every source
            group counting as one image; None for no bound.
        fixed: the threshold, where it is not to be chosen: the nearest one.
    """
    thresholds, scores, shares = curves.thresholds, curves.f1, curves.areas
    mean = scores.mean(axis=0)
    area = None if shares is None else np.asarray(shares.mean(axis=0))
    allowed = np.ones(len(thresholds), bool)
    words = "nearest to 0.5 within one standard error of the best mean F1"
    if max_false_area is not None and shares is not None:
        allowed, kept = within_bound(shares, curves.groups, max_false_area)
        words += f", at most {max_false_area:.3g} of authentic images marked ({_CONFIDENCE:.0%} sure, "
        words += "by the spread of source groups)"
        if not kept:
            words += " (which no threshold keeps; the least there is)"
    best = int(np.flatnonzero(allowed)[mean[allowed].argmax()])
    behind = scores[:, [best]] - scores
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else np.zeros(len(thresholds))
    good = np.flatnonzero(allowed & (behind.mean(axis=0) <= error))
    chosen = int(good[np.abs(thresholds[good] - HALF).argmin()])
    if fixed is not None:
        chosen, words = int(np.abs(thresholds - fixed).argmin()), "given"
    half = int(np.flatnonzero(thresholds == HALF)[0])
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


def _false_areas(images: Sequence[Observed]) -> Floats | None:
    """Share of each authentic image above each threshold, (images, thresholds); None without authentic images."""
    counts = [image.counts[0] for image in images if image.counts is not None]
    if not counts:
        return None
    edges = np.append(ScoreHistogram().edges, np.float32(1)).astype(np.float64)
    thresholds = ThresholdSweep().thresholds.astype(np.float64)
    above = edges[None, :] > thresholds[:, None]  # a bin is (low, high]
    return np.stack([above @ (image / image.sum()) for image in counts])


def _by_group(shares: Floats, groups: Sequence[str | None]) -> Floats:
    """The mean of each source group, (groups, thresholds); of a single group, its images."""
    members: dict[str, list[int]] = {}
    for index, label in enumerate(group_labels(groups)):
        members.setdefault(label, []).append(index)
    if len(members) == 1:  # a group alone has no spread, which would make the bound a mean
        return shares
    return np.stack([shares[indices].mean(axis=0) for indices in members.values()])


def authentic(seen: Sequence[Observed]) -> list[Observed]:
    """The authentic images of which there are counts."""
    return [image for image in seen if not image.tampered and image.counts is not None]


def within_bound(shares: Floats, groups: Sequence[str | None], most: float) -> tuple[NDArray[np.bool_], bool]:
    """At which thresholds further images are marked at most so much in the mean, with 95 % confidence.

    By the spread of those that were seen: a mean at the bound itself is above it for every other set of them. Images of
    one source group are one witness, however many there are: further images are of other groups.

    Args:
        shares: (images, thresholds), of each image that is marked.
        groups: of the images, see `Observed.group`.
        most: the bound.

    Returns:
        Boolean (thresholds,), where none keeps the bound those that come nearest to it; and whether it is kept.
    """
    shares = _by_group(shares, groups)
    above = shares.mean(axis=0)
    if (number := len(shares)) > 1:
        error = shares.std(axis=0, ddof=1) / np.sqrt(number)
        above = above + student_t.ppf(_CONFIDENCE, number - 1) * error  # few groups say little of their own spread
    kept = bool((above <= most).any())
    return above <= most if kept else above == above.min(), kept
