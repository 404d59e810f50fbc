"""A part of an image that is there twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]
VERSION = 7  # of what is found and how it is marked: counts up when answers change


@dataclass(frozen=True, eq=False)
class Copy:
    """Two parts of an image that are one, copied.

    Attributes:
        parts: two masks, bool (rows, columns), on the grid that was searched.
        matrix: float64 (2, 3), the affine map from the first part to the second, pixels (x, y) of that grid.
        similarity: median correlation of the two, in [0, 1].
        matches: keypoints that both have; 0 where their grain alone agrees.
        direction: log-odds, by the picture alone, that the second part is the one that was pasted; 0 says nothing.
        small: whether it took a search at more pixels to find it: what else is suspected in the image is another thing.
    """

    parts: tuple[Mask, Mask]
    matrix: Matrix
    similarity: float
    matches: int
    direction: float = 0.0
    small: bool = False
