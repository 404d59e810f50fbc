"""Which of two parts that are one was pasted, as far as the picture tells.

Where something was put, colours break off along its outline, while around the original they go on. And what was turned
or scaled on the way is interpolated, and so smoother than what it was taken from.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.copy import Mask, Matrix

# Fitted by logistic regression, together with the weight of the student's opinion (`boxpromptiml.runtime.marking`), to
# what is found of CASIA v1's training copy-moves and of 600 synthesised ones, as they are and at JPEG quality 70.
_OUTLINE_WEIGHT = 3.0
_GRAIN_WEIGHT = 11.9
_SCALE_WEIGHT = 4.2  # a part that was made smaller is less smooth than one that was made larger
_ACROSS = 4.0  # pixels inwards and outwards from the outline
_SOFT = 2.0  # pixels: the outline's own corners say little of which way is out
_LEAST_POINTS, _MOST_POINTS = 8, 20_000
_INSIDE = 7  # pixels: the window that is left out along the outline, where the grain is another
_LEAST_AREA = 20  # pixels
_BETWEEN = 0.02  # of the entries of the map, from whole numbers
_BRIGHTNESS_STEP, _GRAIN_STEP = 1.0, 0.5  # of Lab and grey levels, added before logarithms

Floats = NDArray[np.float32]


def direction(pixels: NDArray[np.uint8], parts: tuple[Mask, Mask], matrix: Matrix) -> float:
    """Log-odds that the second of two parts was pasted, and not the first.

    Args:
        pixels: uint8 (h, w, 3), RGB.
        parts: bool (h, w) each.
        matrix: float64 (2, 3), from the first to the second.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    first, second = (_outline(lab, part) for part in parts)
    odds = 0.0 if first is None or second is None else _OUTLINE_WEIGHT * (second - first)
    if _is_interpolated(matrix) and all(part.any() for part in parts):
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
        odds += _GRAIN_WEIGHT * (_grain(edges, parts[0]) - _grain(edges, parts[1]))
        odds -= _SCALE_WEIGHT * math.log(abs(float(np.linalg.det(matrix[:, :2])))) / 2
    return odds


def _is_interpolated(matrix: Matrix) -> bool:
    """Whether pixels came to lie between pixels: not by shifts, quarter turns and mirrors."""
    whole = np.rint(matrix[:, :2])
    return bool(np.abs(matrix[:, :2] - whole).max() >= _BETWEEN or abs(np.linalg.det(whole)) != 1)


def _outline(lab: Floats, part: Mask) -> float | None:
    """Logarithm of the mean difference of colour across the outline; None where hardly any of it is in the image."""
    inside = part.astype(np.uint8)
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) - cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    distance = cv2.GaussianBlur(distance, (0, 0), _SOFT)
    y, x = np.nonzero(np.abs(distance) <= 0.7)
    step = 1 + len(x) // _MOST_POINTS
    y, x = y[::step], x[::step]
    right, down = (cv2.Sobel(distance, cv2.CV_32F, *way)[y, x] for way in ((1, 0), (0, 1)))
    length = np.hypot(right, down) + 1e-6
    steps = np.array([-_ACROSS, _ACROSS], np.float32)
    column = x[:, None].astype(np.float32) + steps * (right / length)[:, None]
    row = y[:, None].astype(np.float32) + steps * (down / length)[:, None]
    height, width = part.shape
    seen = ((column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)).all(axis=1)
    if seen.sum() < _LEAST_POINTS:
        return None
    colours = cv2.remap(lab, column[seen], row[seen], cv2.INTER_LINEAR)
    difference = np.linalg.norm(colours[:, 1] - colours[:, 0], axis=1)
    return math.log(float(difference.mean()) + _BRIGHTNESS_STEP)


def _grain(edges: Floats, part: Mask) -> float:
    """Logarithm of how much detail there is in a part, away from its outline."""
    inner = cv2.erode(part.astype(np.uint8), np.ones((_INSIDE, _INSIDE), np.uint8)) > 0
    if inner.sum() < _LEAST_AREA:
        inner = part
    return math.log(float(edges[inner].mean()) + _GRAIN_STEP)
