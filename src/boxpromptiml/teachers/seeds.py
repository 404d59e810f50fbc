"""What GrabCut is told for certain: the surroundings, the core, and a person's points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box

# Radius of the disc around a point / geometric mean of the box's sides.
_RADIUS = 0.04


class Seed(NamedTuple):
    """A point in pixels of the working frame, fractions allowed, and whether it is foreground."""

    x: float
    y: float
    positive: bool


def trimap(height: int, width: int, box: Box, core: float, seeds: Sequence[Seed] = ()) -> NDArray[np.uint8]:
    """What is known before the cut, uint8 (height, width) of OpenCV's GrabCut classes.

    Args:
        height: of the working frame.
        width: of the working frame.
        box: in it; outside is background.
        core: inside an ellipse of that share of the box's half axes is foreground, unless it is nearer to a negative
            seed than to the middle of the box and to every positive seed.
        seeds: points of a person; each decides for a small disc, the nearest one where discs overlap.
    """
    known = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
    y, x = np.ogrid[: box.height, : box.width]
    v = np.abs((y + 0.5) / box.height * 2 - 1)
    u = np.abs((x + 0.5) / box.width * 2 - 1)
    content = known[box.slices]
    content[:] = cv2.GC_PR_FGD
    inner = np.hypot(u, v) < core
    if not seeds:
        content[inner] = cv2.GC_FGD
    else:
        middle = np.hypot(y + 0.5 - box.height / 2, x + 0.5 - box.width / 2)
        positive, negative = (
            _distance(box, [seed for seed in seeds if seed.positive == sign]) for sign in (True, False)
        )
        content[inner & (np.minimum(middle, positive) <= negative)] = cv2.GC_FGD
        # Half the diagonal of a pixel: the seed's own pixel always belongs to its disc.
        radius = max(0.75, _RADIUS * float(np.sqrt(box.area)))
        content[(positive <= radius) & (positive <= negative)] = cv2.GC_FGD
        content[(negative <= radius) & (negative < positive)] = cv2.GC_BGD
    if (known == cv2.GC_BGD).sum() < 8:
        # The box is the whole image: its outermost edge must do as background.
        content[(np.maximum(u, v) > 0.96) & (content != cv2.GC_FGD if seeds else True)] = cv2.GC_BGD
    return known


def _distance(box: Box, seeds: Sequence[Seed]) -> NDArray[np.float64]:
    """Distance of each pixel of the box to the nearest of the seeds; infinite where there are none."""
    y, x = np.ogrid[box.y0 : box.y1, box.x0 : box.x1]
    nearest = np.full((box.height, box.width), np.inf)
    for seed in seeds:
        np.minimum(nearest, np.hypot(y + 0.5 - seed.y, x + 0.5 - seed.x), out=nearest)
    return nearest
