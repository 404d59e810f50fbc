"""`find_copies`: the parts of an image that are there twice. Needs OpenCV, which takes 0.1 s to import."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.agreement import Agreement, Surface, agreement, agreement_of_shift
from boxpromptiml.copymove.copy import Copy, Mask, Matrix
from boxpromptiml.copymove.direction import direction
from boxpromptiml.copymove.echo import echoes
from boxpromptiml.copymove.matching import Keypoints, match, movements

MAX_SIDE = 512  # pixels: what was copied and is smaller than some 30 of these is not found
_MOST = 3  # copies of an image
_TRIED = 6  # movements of an image that are looked at for them
# The bounds were chosen on CASIA v1's training images and 170 other photographs: of 568 authentic ones 3 pass them, 6
# at JPEG quality 70.
_MATCHES = 4
_SIMILARITY = 0.97
# Or, where compression has spoilt that: no more differs than compression explains; in dim scenes no more ever does.
_COMPRESSED_SIMILARITY, _COMPRESSED_DIFFERENCE = 0.93, 25.0
_MIRRORED = 1500  # keypoints that are asked for one that mirrors them: rarer copies, and the time rises with the square
_MIRRORED_SIMILARITY = 0.98  # and no more than compression explains: faces, houses and lakes are mirrored by nature
_SOLID = 0.4  # area / area of the convex hull: what repeats by nature agrees in scattered spots
_OVERLAP = 0.1  # intersection of the two parts / union: arcades, fences and wallpaper agree with their own next piece
_LEAST = 40  # pixels
# Without keypoints to bear it out more is asked. Chosen on the same images and 250 further photographs: of 818 none
# passes, nor at quality 70.
_SHIFTED_SIMILARITY = 0.98
_SHARE = 4 / 7  # of all that agrees: what repeats by nature does so all over
_LEAST_SHIFTED = 1000  # pixels
_GRAIN = 0.5  # of its pixels at least: frames, bullets and the edges of letters agree without any
_SAME = 0.5  # intersection of what two finds mark / union: the same copy


def find_copies(pixels: NDArray[np.uint8], threads: int | None = None) -> tuple[Copy, ...]:
    """Find the parts of an image that are there twice: shifted, turned, scaled, sheared or mirrored.

    Args:
        pixels: uint8 (h, w, 3), RGB. Searched at 512 pixels on the longer side at most; takes 0.1 to 0.2 s of a core.
        threads: of OpenCV, for all of the process; None leaves them as they are.

    Returns:
        Three at most, those of the most matches first.
    """
    if threads is not None and cv2.getNumThreads() != threads:
        cv2.setNumThreads(threads)
    grey = _grey(pixels)
    keypoints = Keypoints.of(grey)
    moves = movements(*match(keypoints), _MATCHES, _TRIED)
    moves += movements(*match(keypoints.strongest(_MIRRORED), mirrored=True), _MATCHES, _TRIED, mirrored=True)
    shifts = echoes(grey, _TRIED)
    if not moves and not shifts:
        return ()
    surface = Surface.of(grey)  # once: there may be several movements
    found = []
    for movement in moves:
        agrees = agreement(surface, movement)
        if is_copy(agrees, mirrored=float(np.linalg.det(movement.matrix[:, :2])) < 0):
            found.append((movement.matrix, agrees))
    for shift in shifts:
        agrees = agreement_of_shift(surface, shift)
        if is_shifted(agrees) and not any(_is_same(agrees, other) for _, other in found):
            found.append((shift, agrees))
    if not found:
        return ()
    found.sort(key=lambda one: -one[1].matches)
    picture = _at(grey.shape, pixels)
    return tuple(_copy(picture, matrix, agrees) for matrix, agrees in found[:_MOST])


def _copy(picture: NDArray[np.uint8], matrix: Matrix, agrees: Agreement) -> Copy:
    parts = agrees.here, agrees.there
    return Copy(parts, matrix, min(1.0, agrees.similarity), agrees.matches, direction(picture, parts, matrix))


def _is_same(agrees: Agreement, other: Agreement) -> bool:
    """Whether two finds mark the same, whichever way round."""
    first, second = agrees.here | agrees.there, other.here | other.there
    return int((first & second).sum()) > _SAME * int((first | second).sum())


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if max(height, width) > MAX_SIDE:
        scale = MAX_SIDE / max(height, width)
        grey = _at((max(1, round(height * scale)), max(1, round(width * scale))), grey)
    return np.asarray(grey, np.uint8)


def _at(shape: tuple[int, ...], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape[:2] == shape:
        return pixels
    return np.asarray(cv2.resize(pixels, shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)


def is_copy(agrees: Agreement, *, mirrored: bool = False) -> bool:
    """Whether two parts are alike, large and compact enough to be one part, copied."""
    return (
        (_is_mirrored(agrees) if mirrored else _is_alike(agrees))
        and agrees.matches >= _MATCHES
        and int(agrees.here.sum()) >= _LEAST
        and int(agrees.there.sum()) >= _LEAST
        and _are_apart(agrees)
        and _solidity(agrees.here) >= _SOLID
    )


def is_shifted(agrees: Agreement) -> bool:
    """Whether two parts are alike, large and compact enough to be one that was shifted, without a matched keypoint."""
    return (
        agrees.similarity >= _SHIFTED_SIMILARITY
        and agrees.share >= _SHARE
        and agrees.grain >= _GRAIN
        and min(int(agrees.here.sum()), int(agrees.there.sum())) >= _LEAST_SHIFTED
        and _are_apart(agrees)
        and _solidity(agrees.here) >= _SOLID
    )


def _are_apart(agrees: Agreement) -> bool:
    return int((agrees.here & agrees.there).sum()) <= _OVERLAP * int((agrees.here | agrees.there).sum())


def _is_alike(agrees: Agreement) -> bool:
    compressed = agrees.similarity >= _COMPRESSED_SIMILARITY and agrees.difference <= _COMPRESSED_DIFFERENCE
    return compressed or agrees.similarity >= _SIMILARITY


def _is_mirrored(agrees: Agreement) -> bool:
    alike = agrees.similarity >= _MIRRORED_SIMILARITY and agrees.difference <= _COMPRESSED_DIFFERENCE
    return alike and agrees.grain >= _GRAIN


def _solidity(mask: Mask) -> float:
    points = np.argwhere(mask)[:, ::-1].astype(np.float32)
    return float(mask.sum() / max(1.0, cv2.contourArea(cv2.convexHull(points))))
