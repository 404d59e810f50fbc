"""Which of the masks that a Segment Anything decoder offers for a box is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Candidate(NamedTuple):
    """One of the masks that a decoder offers for one box, as `choose_candidate` sees it.

    Attributes:
        predicted_iou: what the model thinks of it.
        agreement: with the box, in [0, 1].
        points: share of the box's points that it honours, in [0, 1].
    """

    predicted_iou: float
    agreement: float
    points: float = 1.0

    @property
    def score(self) -> float:
        """Predicted IoU (clipped to [0, 1]) times agreement with the box times share of the points honoured."""
        return min(max(self.predicted_iou, 0.0), 1.0) * self.agreement * self.points


def box_agreement(mask: NDArray[np.bool_], box: tuple[float, float, float, float]) -> float:
    """How well a mask fits the box that asked for it, in [0, 1].

    The share of the mask that lies inside the box, times the IoU of the box with the tight box around that share: an
    annotator draws a box around the whole region, close to it on all four sides.

    Args:
        mask: (h, w).
        box: x0, y0, x1, y1 on the grid of the mask, fractions allowed.
    """
    area = int(mask.sum())
    if area == 0:
        return 0.0
    x0, y0 = (max(0, int(np.floor(v))) for v in box[:2])
    x1, y1 = (int(np.ceil(v)) for v in box[2:])
    inside = mask[y0:y1, x0:x1]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size == 0:
        return 0.0
    tight = (int(rows[-1]) - int(rows[0]) + 1) * (int(columns[-1]) - int(columns[0]) + 1)
    # The tight box lies within the box, so that their IoU is a ratio of areas.
    return float(inside.sum()) / area * min(1.0, tight / max(1.0, float(inside.size)))


def choose_candidate(candidates: Sequence[Candidate]) -> int:
    """Index of the best candidate: by score, by predicted IoU where all scores are 0, the first of equals."""
    return max(range(len(candidates)), key=lambda i: (candidates[i].score, candidates[i].predicted_iou, -i))


def point_agreement(mask: NDArray[np.bool_], points: Sequence[tuple[float, float, bool]]) -> float:
    """Share of the points (x, y, positive) that a mask honours, in [0, 1]; 1 for none.

    Args:
        mask: (h, w).
        points: on the grid of the mask, fractions allowed.
    """
    if not points:
        return 1.0
    height, width = mask.shape
    hits = [bool(mask[min(int(y), height - 1), min(int(x), width - 1)]) == positive for x, y, positive in points]
    return sum(hits) / len(hits)
