"""How far a copy reaches: where an image and its moved self agree.

Matched keypoints say that something was copied; pixel by pixel correlation says what, and whether it was: two windows
of one house are alike to a keypoint, but not down to their grain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.copy import Mask, Matrix
from boxpromptiml.copymove.matching import Movement

_BLUR = 1.0  # pixels: resampling and compression change the finest detail
_WINDOW = 7  # pixels, of the correlation
_AGREES = 0.85  # correlation of a pixel that may belong to a copy
_GRAIN = 0.5  # squared grey levels, added to variances: flat spots agree with flat spots
_TEXTURED = 4.0  # squared grey levels: the variance of a window that can tell anything
_MOST_TEXTURED = 1 / 3  # share of the pixels: in flat ones there is nothing that could differ
_BRIGHTNESS = 20.0  # grey levels that a window's mean may differ by, beyond what all of the copy does
_OPEN, _CLOSE = 3, 7  # pixels: specks removed, gaps filled
_SAME_PLACE = 8.0  # pixels
_ANCHORS = 2  # matched keypoints in a connected part of a copy

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Where an image agrees with its moved self.

    Attributes:
        here: bool (h, w), the copied part, before it moved.
        there: bool (h, w), the same part after.
        similarity: median correlation of its textured pixels, at most 1; 0 without any.
        difference: variance, squared grey levels, that is left of a pixel's window when its twin is taken away as well
            as brightness and contrast allow; median over the most textured third. Compression leaves about as much
            wherever it is, and spoils the correlation where there is little texture; another window of the same house
            differs by its texture. Infinite without any pixel.
        matches: matched keypoints inside.
    """

    here: Mask
    there: Mask
    similarity: float
    difference: float
    matches: int


def softened(grey: NDArray[np.uint8]) -> Floats:
    """An image, uint8 (h, w), without its finest detail: what `agreement` compares, float32 (h, w)."""
    return np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _BLUR))


def agreement(image: Floats, movement: Movement) -> Agreement:
    """Compare an image, `softened`, with itself along a movement."""
    height, width = image.shape
    moved = cv2.warpAffine(
        image, movement.matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
    )
    correlation, variance, brighter, left = _correlate(image, moved)
    x, y = _cells(movement.here, image.shape)
    agrees = (correlation > _AGREES) & (np.abs(brighter - np.median(brighter[y, x])) < _BRIGHTNESS)
    agrees &= _inside(movement.matrix, height, width)
    shape = agrees.astype(np.uint8)
    shape = cv2.morphologyEx(shape, cv2.MORPH_OPEN, np.ones((_OPEN, _OPEN), np.uint8))
    shape = cv2.morphologyEx(shape, cv2.MORPH_CLOSE, np.ones((_CLOSE, _CLOSE), np.uint8))
    count, labels = cv2.connectedComponents(shape)
    anchors = np.bincount(labels[y, x], minlength=count)
    anchors[0] = 0
    kept = np.flatnonzero(anchors >= _ANCHORS)
    if len(kept) > 1 and _leads_back(movement.matrix, height, width):
        kept = kept[[anchors[kept].argmax()]]  # the other parts are where it leads
    certain = np.isin(labels, kept)
    told = correlation[certain & (variance > _TEXTURED)]
    similarity = float(np.median(told)) if told.size else 0.0
    difference = math.inf
    if certain.any():
        texture = variance[certain]
        difference = float(np.median(left[certain][texture >= np.quantile(texture, 1 - _MOST_TEXTURED)]))
    # A window that reaches beyond the copy disagrees: half a window is missing all around.
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WINDOW, _WINDOW))
    whole = cv2.dilate(certain.astype(np.uint8), reach)
    there = cv2.warpAffine(whole, movement.matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
    return Agreement(whole > 0, there, similarity, difference, int(anchors[kept].sum()))


def _leads_back(matrix: Matrix, height: int, width: int) -> bool:
    """Whether going twice leads to where one was, as half a turn does: then a part and its twin agree both ways."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    there = corners @ matrix.T
    back = np.column_stack([there, np.ones(4)]) @ matrix.T
    return bool(np.abs(back - corners[:, :2]).max() < _SAME_PLACE)


def _correlate(image: Floats, moved: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Per pixel, of the windows around it.

    Returns:
        Their normalised correlation, the variance of the first, the difference of their means, and the variance of
        one that the other leaves unexplained (geometric mean of the two ways round).
    """
    mean, moved_mean = _mean(image), _mean(moved)
    variance = np.maximum(_mean(image * image) - mean * mean, 0)
    moved_variance = np.maximum(_mean(moved * moved) - moved_mean * moved_mean, 0)
    shared = _mean(image * moved) - mean * moved_mean
    both = np.sqrt((variance + _GRAIN) * (moved_variance + _GRAIN))
    correlation = np.asarray((shared + _GRAIN) / both, np.float32)
    left = both * (1 - np.square(np.clip(correlation, -1, 1)))
    return correlation, np.asarray(variance), np.asarray(mean - moved_mean), np.asarray(left)


def _mean(values: Floats) -> Floats:
    return np.asarray(cv2.boxFilter(values, cv2.CV_32F, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT))


def _inside(matrix: Matrix, height: int, width: int) -> Mask:
    """Pixels whose window does not leave the image when it moves."""
    whole = np.full((height, width), 255, np.uint8)
    moved = cv2.warpAffine(whole, matrix, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(cv2.erode(moved, np.ones((_WINDOW, _WINDOW), np.uint8), borderValue=0)) > 0


def _cells(points: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    x = np.clip(np.rint(points[:, 0]), 0, shape[1] - 1).astype(np.intp)
    y = np.clip(np.rint(points[:, 1]), 0, shape[0] - 1).astype(np.intp)
    return x, y
