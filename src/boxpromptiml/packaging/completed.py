"""The threshold of a model that completes regions: by what is marked in the end, not by its map alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boxpromptiml.metrics import ThresholdSweep
from boxpromptiml.packaging.fitting import fit_map, pixel_counts
from boxpromptiml.packaging.observing import HALF, Observed
from boxpromptiml.packaging.threshold import Curves
from boxpromptiml.progress import track
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.completing import complete
from boxpromptiml.scaling import highest
from boxpromptiml.training.sample import Sample

# Steps of 1/256, from below the threshold of the map alone to the highest. Regions are cut out of each photo at each.
_BELOW, _STEP = 32, 4


@dataclass(frozen=True)
class Completed:
    """What thresholds of the network's own map bring, once what they mark is completed.

    Attributes:
        curves: F1 and false area.
        seen: by threshold, what a model with that threshold says of the images: as the network alone, but for
            `Observed.highest`.
    """

    curves: Curves
    seen: dict[float, list[Observed]]


def observe_completed(
    localizer: Localizer, samples: Sequence[Sample], seen: Sequence[Observed], around: float
) -> Completed:
    """Look at images once more, completing what is marked.

    Args:
        localizer: the model, neither calibrated nor completing.
        samples: held-out images, a tampered one with a mask among them.
        seen: what it says of them, see `observe`.
        around: the threshold for the map alone.

    Raises:
        ImageError: an image or mask cannot be read.
    """
    spec, rule = localizer.config.preprocessing, localizer.config.decision
    every = ThresholdSweep().thresholds.astype(np.float64)
    usual = int(np.abs(every - around).argmin())
    near = np.arange(max(usual % _STEP, usual - _BELOW), len(every), _STEP)
    thresholds = [float(threshold) for threshold in np.union1d(every[near], HALF)]
    # Completion goes by the calibrated map, and each threshold gives another calibration.
    counts = pixel_counts(seen)
    scalings = {threshold: fit_map(*counts, threshold) for threshold in thresholds}
    said: dict[float, list[Observed]] = {threshold: [] for threshold in thresholds}
    f1: list[list[float]] = []
    areas: list[list[float]] = []
    groups: list[str | None] = []
    for sample, before in track(zip(samples, seen, strict=True), "completed", len(samples)):
        image, target = sample.load_fitted(spec)
        fed = spec.feed(image)
        (values,) = localizer.maps([fed])
        marked = []
        for threshold, scaling in scalings.items():
            map_ = complete(scaling.apply(values), fed.picture, HALF, localizer.choice.threads)
            top = np.sort(highest(map_, rule.score_fraction))
            said[threshold].append(replace(before, highest=scaling.inverse(top).astype(np.float32)))
            marked.append(map_ > HALF)
        if not sample.has_target:
            continue
        truth = target > HALF
        if truth.any():
            f1.append([2 * (mask & truth).sum() / (mask.sum() + truth.sum()) for mask in marked])
        elif not sample.tampered:
            areas.append([mask.mean() for mask in marked])
            groups.append(sample.group)
    curves = Curves(np.array(thresholds), np.array(f1), np.array(areas) if areas else None, groups)
    return Completed(curves, said)
