"""What a model says of held-out images, and what is right: all that threshold and calibration are chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics import ScoreHistogram, ThresholdSweep
from boxpromptiml.perturbations import jpeg
from boxpromptiml.progress import track
from boxpromptiml.runtime import Localizer
from boxpromptiml.scaling import AdaptiveThreshold, highest
from boxpromptiml.training.sample import Sample

HALF = 0.5  # of targets, and what a network is trained for
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
        levels: of the map, see `boxpromptiml.scaling.AdaptiveThreshold.levels`.
    """

    tampered: bool
    highest: NDArray[np.float32]
    counts: NDArray[np.int64] | None
    f1: Floats | None
    group: str | None = None
    levels: tuple[float, float] = (0.0, 0.0)


def group_labels(groups: Sequence[str | None]) -> list[str]:
    """A label an image: that of its source group, or, for an image by itself, its own."""
    return [f"image {index}" if name is None else f"group {name}" for index, name in enumerate(groups)]


def observe(localizer: Localizer, samples: Sequence[Sample], quality: int | None = None) -> list[Observed]:
    """Look at images; the localizer must not be calibrated yet.

    Args:
        localizer: the model.
        samples: the images.
        quality: of the JPEG compression, 0 .. 100, of what the network is fed; None for none.

    Raises:
        ImageError: an image or mask cannot be read.
    """
    spec, rule = localizer.config.preprocessing, localizer.config.decision
    seen = []
    for sample in track(samples, "validation" if quality is None else f"at JPEG {quality}", len(samples)):
        image, target = sample.load_fitted(spec)
        fed = spec.feed(image if quality is None else jpeg(np.asarray(image), quality))
        (values,) = localizer.maps([fed])
        top = np.sort(highest(values, rule.score_fraction))
        counts = f1 = None
        if sample.has_target:
            truth = target > HALF
            histogram = ScoreHistogram()
            histogram.update(values, truth)
            counts = np.stack([histogram.negatives, histogram.positives])
            if truth.any():
                sweep = ThresholdSweep()
                sweep.update(values, truth)
                f1 = sweep.f1()
        levels = AdaptiveThreshold.levels(values)
        seen.append(Observed(sample.tampered, top, counts, f1, sample.group, levels))
    return seen
