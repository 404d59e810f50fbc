"""Which keypoints of an image look like another one elsewhere in it, and which of these moved together.

SIFT (Lowe 2004) with the distances of RootSIFT (Arandjelovic and Zisserman 2012); a match must be clearly better than
the next best one elsewhere, so that bricks and leaves, which look like many, match nothing. What moved together has one
affine map: shifted, turned, scaled or sheared (as Amerini et al. 2011, A SIFT-based forensic method for copy-move).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.copy import Matrix

_KEYPOINTS, _AREA = 4000, 512 * 512  # the strongest ones; so many at most in so many pixels, or in fewer
_ROWS = 256
_DESCRIPTOR = 128
_CONTRAST, _EDGE = 0.01, 20.0  # low contrast too: most of what is copied is grass and walls
_NEAR = 20.0  # pixels: what is nearer than this along both axes is the same detail of the image
_SAME = 4.0  # pixels: two keypoints of one spot, at two scales or orientations
_RATIO = 0.75  # distance of a match / distance of the next best
_FARTHEST = 0.6  # distance of a match; sqrt(2) is no likeness at all
_REPROJECTION = 2.5  # pixels
_ITERATIONS, _CONFIDENCE = 2000, 0.999
_REFINED = 2.5, 1.0, 1.0  # pixels, of the matches that the map is fitted to, one time after the other
_ROUNDS = 30  # maps that are tried
_SHIFTED = 0.75  # pixels that matches of a mere shift differ by at most,
_MOSTLY = 2 / 3  # so many of them,
_NO_BETTER, _ROUNDING = 1.25, 0.05  # and hardly more than from an affine map: times, and pixels
_MORE = 1.2  # times as many matches as a simpler map
_GROWTH = 3.3  # times the area at most, of a map that is a copy and not chance
_SPREAD = 3.0  # pixels, geometric mean of the deviations along and across: matches along one line tell no affine map
_SPREAD_OF_SHIFT = 1.0  # pixels: but a shift

Points = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Movement:
    """Matches with one affine map; of `movements`, from the smaller part to the larger one.

    Attributes:
        matrix: float64 (2, 3), from `here` to `there`, pixels (x, y).
        here, there: float32 (n, 2), where the keypoints and their twins are.
    """

    matrix: Matrix
    here: Points
    there: Points

    @property
    def growth(self) -> float:
        """How many times as large areas become; negative in a mirror."""
        return float(np.linalg.det(self.matrix[:, :2]))

    def upwards(self) -> Movement:
        """From the smaller part to the larger one: the same, or the way back."""
        if abs(self.growth) >= 1:
            return self
        return Movement(cv2.invertAffineTransform(self.matrix), self.there, self.here)


class Keypoints(NamedTuple):
    """Keypoints of an image, from top to bottom.

    Attributes:
        points: float32 (n, 2), (x, y).
        rooted: float32 (n, 128), RootSIFT: of length 1.
        strength: float32 (n,), how much they stand out.
    """

    points: Points
    rooted: NDArray[np.float32]
    strength: NDArray[np.float32]

    @classmethod
    def of(cls, grey: NDArray[np.uint8]) -> Keypoints:
        """Those of an image, uint8 (h, w)."""
        most = round(_KEYPOINTS * max(1.0, grey.size / _AREA))
        # Without precise upscaling all keypoints lie a quarter of a pixel off, and half of one after half a turn.
        sift = cv2.SIFT.create(
            nfeatures=most, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE, enable_precise_upscale=True
        )
        found, descriptors = sift.detectAndCompute(grey, None)
        if not found:
            return cls(*(np.zeros(shape, np.float32) for shape in ((0, 2), (0, _DESCRIPTOR), 0)))
        points = np.array([keypoint.pt for keypoint in found], np.float32)
        strength = np.array([keypoint.response for keypoint in found], np.float32)
        down = np.argsort(points[:, 1], kind="stable")
        points, rooted = points[down], np.asarray(descriptors, np.float32)[down]
        rooted = np.sqrt(rooted / np.maximum(rooted.sum(axis=1, keepdims=True), 1e-6))
        # OpenCV keeps all that are equally strong: of a chessboard tens of thousands.
        return cls(points, rooted, strength[down]).strongest(most)

    def strongest(self, most: int) -> Keypoints:
        """At most so many of them."""
        if len(self.points) <= most:
            return self
        kept = np.sort(np.argsort(-self.strength, kind="stable")[:most])
        return Keypoints(self.points[kept], self.rooted[kept], self.strength[kept])

    def mirrored(self) -> NDArray[np.float32]:
        """The descriptors that the same keypoints have in a mirror, float32 (n, 128).

        A descriptor counts gradients of 8 directions in 4 x 4 places, as seen along the keypoint's own direction:
        what was on its left is on its right, and turns the other way round.
        """
        places = self.rooted.reshape(-1, 4, 4, 8)[:, ::-1]
        return np.ascontiguousarray(places[..., -np.arange(8) % 8]).reshape(-1, _DESCRIPTOR)


def match(keypoints: Keypoints, *, mirrored: bool = False) -> tuple[Points, Points]:
    """Keypoints that look like another one elsewhere, or in a mirror: two float32 (n, 2) of (x, y)."""
    points, rooted, _ = keypoints
    if len(points) < 3:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    others = keypoints.mirrored() if mirrored else rooted
    # Some rows at a time: the matrix of all of them does not fit into a cache.
    parts = [
        _match_rows(points, rooted[start : start + _ROWS], others, start) for start in range(0, len(points), _ROWS)
    ]
    here, there = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return points[here], points[there]


def _match_rows(
    points: Points, asked: NDArray[np.float32], rooted: NDArray[np.float32], start: int
) -> tuple[Indices, Indices]:
    """Of the keypoints from `start` on, as many as are asked for, those with a match, and the matches."""
    x, y = points.T  # which rise in y
    # The squared distance is 2 - 2 of it. By OpenCV, which keeps to its number of threads; NumPy's library would not.
    likeness = np.asarray(cv2.gemm(asked, rooted, 1, None, 0, flags=cv2.GEMM_2_T))
    rows = points[start : start + len(asked)]
    first, last = np.searchsorted(y, (rows[0, 1] - _NEAR, rows[-1, 1] + _NEAR))
    near = np.abs(rows[:, :1] - x[first:last]) < _NEAR
    near &= np.abs(rows[:, 1:] - y[first:last]) < _NEAR
    likeness[:, first:last][near] = -1
    best = likeness.argmax(axis=1)
    alike = likeness[np.arange(len(rows)), best]
    candidates = np.flatnonzero(2 - 2 * alike < _FARTHEST**2)
    best, alike = best[candidates], alike[candidates]
    others = likeness[candidates]
    each = np.arange(len(candidates))
    others[each, best] = -1
    rival = others.argmax(axis=1)
    # One spot often has several keypoints: the next best is that of the next best spot.
    for row in np.flatnonzero(np.abs(points[rival] - points[best]).max(axis=1) < _SAME):
        spot = best[row]
        first, last = np.searchsorted(y, (y[spot] - _SAME, y[spot] + _SAME))
        others[row, first:last][np.abs(x[first:last] - x[spot]) < _SAME] = -1
        rival[row] = others[row].argmax()
    clear = 2 - 2 * alike < _RATIO**2 * (2 - 2 * others[each, rival])
    return start + candidates[clear], best[clear]


def movements(here: Points, there: Points, least: int, most: int, *, mirrored: bool = False) -> list[Movement]:
    """At most `most` affine maps, of `least` matches or more each, by RANSAC one after the other.

    First those that shift, turn and scale: two matches tell one, so that few of many do, and it mirrors nothing, while
    an affine map leads from one part to the other and back again as a mirror between them would. Then those that also
    stretch and shear, where more matches follow.

    Args:
        here, there: float32 (n, 2), of `match`.
        least, most: how many.
        mirrored: whether the matches are of a mirror: so are the maps then, and never else.
    """
    found: list[Movement] = []
    explained: list[Indices] = []
    for estimate in (cv2.estimateAffinePartial2D, cv2.estimateAffine2D):
        left = np.arange(len(here))
        for _ in range(_ROUNDS):
            if len(left) < least:
                break
            matrix, inliers = _estimated(estimate, here[left], there[left], mirrored)
            if matrix is None or inliers.sum() < least:
                break
            matrix = _refined(matrix, here[left], there[left], least)
            follows = _follows(matrix, here[left], there[left], _REPROJECTION)
            chosen = left[follows]
            movement = Movement(matrix, here[chosen], there[chosen]).upwards()
            if len(chosen) >= least and _is_plausible(movement, mirrored):
                # A pair of twins matches both ways: the way back is not a second movement.
                back = cv2.invertAffineTransform(matrix)
                follows |= _follows(back, here[left], there[left], 2 * _REPROJECTION)
                # Each of the others by itself: a part of them may be strips of this one.
                if all(len(chosen) > _MORE * np.isin(chosen, others).sum() for others in explained):
                    found.append(movement)
                    explained.append(left[follows])
            left = left[~(inliers | follows)]
    return sorted(found, key=lambda movement: -len(movement.here))[:most]


def _estimated(
    estimate: Callable[..., Any], here: Points, there: Points, mirrored: bool
) -> tuple[Matrix | None, NDArray[np.bool_]]:
    """The map that most matches follow, and which ones do."""
    mirror = np.array([-1.0 if mirrored else 1.0, 1.0])
    matrix, inliers = estimate(
        here,
        there * mirror.astype(np.float32),
        method=cv2.RANSAC,
        ransacReprojThreshold=_REPROJECTION,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    if matrix is None or not np.isfinite(matrix).all():
        return None, np.zeros(len(here), bool)
    return np.asarray(matrix, np.float64) * mirror[:, None], np.asarray(inliers).ravel() > 0


def _refined(matrix: Matrix, here: Points, there: Points, least: int) -> Matrix:
    """Fitted by least squares to the matches that follow it closely: half a pixel off, grain agrees with nothing.

    A mere shift is fitted as one, where another map leads its matches hardly any better.
    """
    ones = np.column_stack([here, np.ones(len(here))])
    for reach in _REFINED:
        close = np.abs(ones @ matrix.T - there).max(axis=1) < reach
        count = int(close.sum())
        if count < least:
            break
        moved = there[close] - here[close]
        shift = np.median(moved, axis=0)
        matrix = np.linalg.lstsq(ones[close], there[close].astype(np.float64), rcond=None)[0].T
        off = np.abs(moved - shift).max(axis=1)
        left = np.abs(ones[close] @ matrix.T - there[close]).max(axis=1)
        # Six unknowns follow noise more closely than two do, by as much as the square root says.
        better = _NO_BETTER * math.sqrt(max(1, 2 * count - 2) / max(1, 2 * count - 6))
        if (off < _SHIFTED).mean() > _MOSTLY and np.median(off) < better * np.median(left) + _ROUNDING:
            matrix = np.column_stack([np.eye(2), shift]).astype(np.float64)
    return matrix


def _is_plausible(movement: Movement, mirrored: bool) -> bool:
    spread = float(np.linalg.det(np.cov(movement.here.T)))
    least = _SPREAD_OF_SHIFT if _is_shift(movement.matrix) else _SPREAD
    return 1 <= movement.growth * (-1 if mirrored else 1) < _GROWTH and spread > least**4


def _is_shift(matrix: Matrix) -> bool:
    return np.array_equal(matrix[:, :2], np.eye(2))


def _follows(matrix: Matrix, here: Points, there: Points, reach: float) -> NDArray[np.bool_]:
    """Which matches a map leads right, but for so many pixels."""
    moved = here @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(np.abs(moved - there).max(axis=1) < reach)
