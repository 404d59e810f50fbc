"""How far a copy reaches: where an image and its moved self agree.

Matched keypoints say that something was copied; pixel by pixel correlation says what, and whether it was: two windows
of one house are alike to a keypoint, but not down to their grain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

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
_GRAINY = 30.0  # squared grey levels, of Sobel's sums: eight times what they are a pixel
_BRIDGED = 15  # pixels between textured spots that still belong to what they texture
_MOST_TEXTURED = 1 / 3  # share of the pixels: in flat ones there is nothing that could differ
_BRIGHTNESS = 20.0  # grey levels that a window's mean may differ by, beyond what all of the copy does
_OPEN, _CLOSE = 3, 7  # pixels: specks removed, gaps filled
_OPEN_UNMATCHED = 5  # pixels: no keypoint says which of the specks belong to it
_SAME_PLACE = 8.0  # pixels
_SAME_SIZE = 1.1  # of areas
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
        share: its pixels / those that agree anywhere: what repeats by nature agrees all over.
        extent: its pixels / those that the movement keeps in the image: a wall of tiles agrees wherever it could. Gaps
            are filled in its pixels, so that both may exceed 1; where the movement leads back, its twin counts, too.
        grain: share of its pixels with detail in all directions: a straight edge agrees with every other one.
        matches: matched keypoints inside.
    """

    here: Mask
    there: Mask
    similarity: float
    difference: float
    share: float
    extent: float
    grain: float
    matches: int


@dataclass(frozen=True)
class Surface:
    """What `agreement` compares: of one image, whatever moves.

    Attributes:
        image: float32 (h, w), grey levels without the finest detail.
        mean, variance: float32 (h, w), of the windows around its pixels.
        textured: bool (h, w), where there is something that could differ; gaps between textured spots included.
    """

    image: Floats
    mean: Floats
    variance: Floats
    textured: Mask

    @classmethod
    def of(cls, grey: NDArray[np.uint8]) -> Surface:
        """That of an image, uint8 (h, w)."""
        image = np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _BLUR))
        mean = _mean(image)
        variance = _variance(image, mean)
        textured = (variance > _TEXTURED).astype(np.uint8)
        textured = cv2.morphologyEx(textured, cv2.MORPH_CLOSE, np.ones((_BRIDGED, _BRIDGED), np.uint8))
        return cls(image, mean, variance, textured > 0)

    @cached_property
    def grainy(self) -> Mask:
        """Bool (h, w), where brightness changes in all directions: by the structure tensor's smaller eigenvalue."""
        right, down = (cv2.Sobel(self.image, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
        level, upright, both = _mean(right * right), _mean(down * down), _mean(right * down)
        least = (level + upright) / 2 - np.hypot((level - upright) / 2, both)
        return np.asarray(least > _GRAINY)


def agreement(surface: Surface, movement: Movement) -> Agreement:
    """Compare an image with itself along a movement of matched keypoints: the parts around some of these agree.

    Args:
        movement: from the smaller part to the larger one, whose finer detail the smaller one cannot have.
    """
    likeness = _Likeness.along(surface, movement.matrix, growth=abs(movement.growth))
    x, y = _cells(movement.here, surface.image.shape)
    agrees = likeness.agrees(float(np.median(likeness.brighter[y, x])))
    agrees &= ~_background(agrees, surface.textured, _held(agrees & surface.textured, (y, x)))
    count, labels = cv2.connectedComponents(_cleaned(agrees, _OPEN))
    anchors = np.bincount(labels[y, x], minlength=count)
    anchors[0] = 0
    kept = np.flatnonzero(anchors >= _ANCHORS)
    both_ways = len(kept) > 0 and _leads_back(movement.matrix, *surface.image.shape)
    if both_ways:
        kept = kept[[anchors[kept].argmax()]]  # the other parts are where it leads
    return _described(surface, likeness, agrees, np.isin(labels, kept), int(anchors[kept].sum()), both_ways=both_ways)


def agreement_of_shift(surface: Surface, shift: Matrix) -> Agreement:
    """Compare an image with itself along a shift: the connected part with most texture that agrees."""
    likeness = _Likeness.along(surface, shift)
    agrees = likeness.agrees()
    if (told := agrees & surface.textured).any():
        agrees = likeness.agrees(float(np.median(likeness.brighter[told])))
        agrees &= ~_background(agrees, surface.textured, _largest(agrees & surface.textured))
    count, labels = cv2.connectedComponents(_cleaned(agrees, _OPEN_UNMATCHED))
    texture = np.bincount(labels[surface.variance > _TEXTURED], minlength=count)
    texture[0] = 0
    largest = int(texture.argmax())
    return _described(surface, likeness, agrees, (labels == largest) & bool(texture[largest]), 0)


@dataclass(frozen=True)
class _Likeness:
    """An image beside its moved self, per pixel, see `_correlate`; `inside`: whose window does not leave the image."""

    matrix: Matrix
    correlation: Floats
    brighter: Floats
    left: Floats
    inside: Mask

    @classmethod
    def along(cls, surface: Surface, matrix: Matrix, growth: float = 1.0) -> _Likeness:
        height, width = surface.image.shape
        image = surface.image
        if growth > _SAME_SIZE:  # blurred by as much as the smaller part, in pixels of that one
            image = cv2.GaussianBlur(image, (0, 0), _BLUR * math.sqrt(growth - 1))
        moved = cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        return cls(matrix, *_correlate(surface, moved), _inside(matrix, height, width))

    def agrees(self, brighter: float | None = None) -> Mask:
        """Pixels that may belong to a copy which is so much brighter than what it was copied from; None: anyhow."""
        agrees = (self.correlation > _AGREES) & self.inside
        return agrees if brighter is None else agrees & (np.abs(self.brighter - brighter) < _BRIGHTNESS)


def _cleaned(agrees: Mask, least: int) -> NDArray[np.uint8]:
    shape = cv2.morphologyEx(agrees.astype(np.uint8), cv2.MORPH_OPEN, np.ones((least, least), np.uint8))
    return np.asarray(cv2.morphologyEx(shape, cv2.MORPH_CLOSE, np.ones((_CLOSE, _CLOSE), np.uint8)))


def _described(
    surface: Surface, likeness: _Likeness, agrees: Mask, certain: Mask, matches: int, *, both_ways: bool = False
) -> Agreement:
    height, width = certain.shape
    variance = surface.variance
    told = likeness.correlation[certain & (variance > _TEXTURED)]
    similarity = float(np.median(told)) if told.size else 0.0
    difference = math.inf
    if certain.any():
        texture = variance[certain]
        textured = texture >= np.quantile(texture, 1 - _MOST_TEXTURED)
        difference = float(np.median(likeness.left[certain][textured]))
    own = float(certain.sum()) * (2 if both_ways else 1)
    share = own / max(1, int(agrees.sum()))
    extent = own / max(1, int(likeness.inside.sum()))
    grain = float(surface.grainy[certain].mean()) if certain.any() else 0.0
    # A window that reaches beyond the copy disagrees: half a window is missing all around.
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WINDOW, _WINDOW))
    whole = cv2.dilate(certain.astype(np.uint8), reach)
    there = cv2.warpAffine(whole, likeness.matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
    return Agreement(whole > 0, there, similarity, difference, share, extent, grain, matches)


def _background(agrees: Mask, textured: Mask, most: int) -> Mask:
    """Flat areas larger than what is textured and belongs to a copy: paper, a studio's wall, a clear sky.

    Flat agrees with flat wherever it moves to, and there would be no end to a copy on such ground. What is flat and
    smaller belongs to the copy: the inside of a plate, a margin of sky.

    Args:
        agrees, textured: bool (h, w).
        most: pixels, of what is textured.
    """
    flat = agrees & ~textured
    if int(flat.sum()) <= most:
        return np.zeros_like(flat)
    _, labels, facts, _ = cv2.connectedComponentsWithStats(flat.astype(np.uint8), connectivity=4)
    large = np.flatnonzero(facts[:, cv2.CC_STAT_AREA] > most)
    return np.isin(labels, large[large > 0])


def _held(mask: Mask, anchors: tuple[NDArray[np.intp], NDArray[np.intp]]) -> int:
    """Pixels of the connected parts that hold anchors."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    held = np.setdiff1d(labels[anchors], [0])
    return int(np.bincount(labels.ravel())[held].sum())


def _largest(mask: Mask) -> int:
    """Pixels of the largest connected part."""
    _, _, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return int(facts[1:, cv2.CC_STAT_AREA].max(initial=0))


def _leads_back(matrix: Matrix, height: int, width: int) -> bool:
    """Whether going twice leads to where one was, as half a turn does: then a part and its twin agree both ways."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    there = corners @ matrix.T
    back = np.column_stack([there, np.ones(4)]) @ matrix.T
    return bool(np.abs(back - corners[:, :2]).max() < _SAME_PLACE)


def _correlate(surface: Surface, moved: Floats) -> tuple[Floats, Floats, Floats]:
    """Per pixel, of the windows around it.

    Returns:
        Their normalised correlation, the difference of their means, and the variance of one that the other leaves
        unexplained (geometric mean of the two ways round).
    """
    moved_mean = _mean(moved)
    shared = _mean(surface.image * moved) - surface.mean * moved_mean
    both = np.sqrt((surface.variance + _GRAIN) * (_variance(moved, moved_mean) + _GRAIN))
    correlation = np.asarray((shared + _GRAIN) / both, np.float32)
    left = both * (1 - np.square(np.clip(correlation, -1, 1)))
    return correlation, np.asarray(surface.mean - moved_mean), np.asarray(left)


def _variance(values: Floats, mean: Floats) -> Floats:
    return np.asarray(np.maximum(_mean(values * values) - mean * mean, 0))


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
