"""Masks from the grid of one map to that of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def on_grid(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask on a grid of another shape (rows, columns).

    By the centres of cells, so that nothing moves; `resize_nearest` has the benchmarks' rule, by their corners.
    """
    if mask.shape == shape:
        return mask
    rows, columns = ((np.arange(new) + 0.5) * old // new for old, new in zip(mask.shape, shape, strict=True))
    return np.asarray(mask[rows.astype(np.intp)[:, None], columns.astype(np.intp)])
