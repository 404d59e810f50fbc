"""Boundaries of masks, windows around pixels, and the boundary F1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.metrics.functional import Bools, check_shapes

TOLERANCE = 0.0075  # of the image's diagonal


def dilate(mask: Bools, size: int) -> Bools:
    """Whether any pixel of the `size` x `size` window around a pixel is set (`size` odd).

    Outside the image nothing is set; as a window reaches no further out than in, this is the same as
    ``scipy.ndimage.maximum_filter(mask, size)``, which mirrors the image.
    """
    return _dilate_axis(_dilate_axis(mask, size // 2, 0), size // 2, 1)


def erode(mask: Bools, size: int) -> Bools:
    """Whether all pixels of the `size` x `size` window around a pixel, as far as it is in the image, are set.

    The same as ``scipy.ndimage.minimum_filter(mask, size)`` (`size` odd).
    """
    return ~dilate(~mask, size)


def boundary(mask: Bools) -> Bools:
    """The set pixels that have an unset one above, below, left or right of them, inside the image."""
    edge = np.zeros_like(mask)
    down, right = mask[1:] ^ mask[:-1], mask[:, 1:] ^ mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    edge &= mask
    return edge


def boundary_f1(prediction: Bools, truth: Bools, tolerance: float = TOLERANCE) -> float:
    """F1 of boundary pixels, after Csurka, Larlus and Perronnin, *What is a good evaluation measure for semantic
    segmentation?*, BMVC 2013.

    Precision is the share of the prediction's boundary that lies within the tolerance of the truth's boundary,
    recall the share of the truth's that lies within it of the prediction's; distances are Euclidean, between pixel
    centres, and exact.

    Args:
        prediction: boolean (h, w).
        truth: the same shape.
        tolerance: in diagonals of the image; 0.0075, as in the paper, is 2.4 pixels at 224 x 224.

    Returns:
        In [0, 1]; 0 where only the prediction has no boundary, NaN where the truth has none (nothing or everything
        is tampered).

    Raises:
        ValueError: the shapes differ, or the masks are not two-dimensional.
    """
    check_shapes("prediction", prediction, truth)
    if truth.ndim != 2:
        raise ValueError(f"a boundary needs masks of two dimensions, got {truth.ndim}")
    true, predicted = boundary(truth), boundary(prediction)
    n_true, n_predicted = int(np.count_nonzero(true)), int(np.count_nonzero(predicted))
    if not n_true:
        return float("nan")
    if not n_predicted:
        return 0.0
    radius = tolerance * math.hypot(*truth.shape)
    precision = _count_near(predicted, true, radius) / n_predicted
    recall = _count_near(true, predicted, radius) / n_true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _count_near(pixels: Bools, others: Bools, radius: float) -> int:
    """How many of `pixels` have one of `others` within `radius` (Euclidean)."""
    square = _largest_square(radius)
    reach = math.isqrt(square)
    if not reach:
        return int(np.count_nonzero(pixels & others))
    count = 0
    if int(np.count_nonzero(pixels)) * (2 * reach + 1) > pixels.size:
        # Many pixels to ask for. The square inside the circle settles most, the square around it the hopeless ones.
        near = dilate(others, 2 * math.isqrt(square // 2) + 1)
        count = int(np.count_nonzero(pixels & near))
        pixels = pixels & ~near & dilate(others, 2 * reach + 1)
    rows, columns = np.nonzero(pixels)
    # Set pixels of a row left of a column: how many a stretch holds is a difference.
    before = np.zeros((others.shape[0], others.shape[1] + 1), dtype=np.int32)
    np.cumsum(others, axis=1, out=before[:, 1:])
    for offset in sorted(range(-reach, reach + 1), key=abs):
        found = _any_in_stretch(before, rows + offset, columns, math.isqrt(square - offset * offset))
        count += int(np.count_nonzero(found))
        rows, columns = rows[~found], columns[~found]
    return count


def _largest_square(radius: float) -> int:
    """The largest whole number whose root is at most the radius: squares of distances are whole numbers, and a pixel
    that lies right on the circle must not depend on how its radius was rounded."""
    square = math.floor(radius * radius)
    while math.sqrt(square + 1) <= radius:
        square += 1
    while math.sqrt(square) > radius:
        square -= 1
    return square


def _any_in_stretch(before: NDArray[np.int32], rows: NDArray[np.intp], columns: NDArray[np.intp], half: int) -> Bools:
    height, width = before.shape[0], before.shape[1] - 1
    inside = (rows >= 0) & (rows < height)
    line = rows.clip(0, height - 1)
    high = before[line, (columns + half + 1).clip(max=width)]
    low = before[line, (columns - half).clip(min=0)]
    found: Bools = inside & (high > low)
    return found


def _dilate_axis(mask: Bools, reach: int, axis: int) -> Bools:
    """Along one axis: any set pixel at most `reach` away. Windows double, so that few passes suffice."""
    padding = [(0, 0), (0, 0)]
    padding[axis] = (reach, reach)
    window = np.pad(mask, padding)
    length = 1  # a pixel of `window` now stands for itself and the `length - 1` after it
    while length < 2 * reach + 1:
        step = min(length, 2 * reach + 1 - length)
        window = window[:-step] | window[step:] if axis == 0 else window[:, :-step] | window[:, step:]
        length += step
    return window
