"""`find_copies`: the parts of an image that are there twice. Needs OpenCV, which takes 0.1 s to import."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.agreement import Agreement, Surface, agreement, agreement_of_shift
from boxpromptiml.copymove.copy import Copy, Mask, Matrix
from boxpromptiml.copymove.direction import direction
from boxpromptiml.copymove.echo import echoes
from boxpromptiml.copymove.matching import Keypoints, match, movements

MAX_SIDE = 512  # pixels: what was copied and is smaller than some 30 of these is not found
FINE_SIDE = 1024  # the same for whoever asks for more: four times the work
_MOST = 3  # copies of an image
_TRIED = 6  # movements of an image that are looked at for them
# The bounds were chosen on CASIA v1's training images, 170 photographs and 110 with objects: of 678 authentic ones 3
# pass them, as they are and at JPEG quality 70.
_MATCHES = 4
_SIMILARITY, _DIFFERENCE = 0.945, 30.0
_SHARE = 0.5  # of all that agrees: what repeats by nature does so all over
_SURE_SIMILARITY, _SURE_MATCHES, _SURE_SHARE = 0.98, 6, 0.25  # less where it is sure: dark places agree, too
_GRAIN = 0.5  # of its pixels at least: frames, bullets and the edges of letters agree without any
_EXTENT = 0.8  # of all that could agree: so does what repeats, along more than one way
_MIRRORED = 1500  # keypoints that are asked for one that mirrors them: rarer copies, and the time rises with the square
_MIRRORED_SIMILARITY, _MIRRORED_DIFFERENCE = 0.98, 25.0  # faces, houses and lakes are mirrored by nature
_SOLID = 0.4  # area / area of the convex hull: what repeats by nature agrees in scattered spots
_OVERLAP = 0.1  # intersection of the two parts / union: arcades, fences and wallpaper agree with their own next piece
_LEAST = 40  # pixels
# Without keypoints to bear it out more is asked. Chosen on the same images and 250 further photographs: of 818 none
# passes, nor at quality 70.
_SHIFTED_SIMILARITY, _SHIFTED_SHARE = 0.98, 4 / 7
_LEAST_SHIFTED = 1000  # pixels
_SAME = 0.5  # intersection of what two finds mark / union: the same copy


def find_copies(pixels: NDArray[np.uint8], threads: int | None = None, max_side: int = MAX_SIDE) -> tuple[Copy, ...]:
    """Find the parts of an image that are there twice: shifted, turned, scaled, sheared or mirrored.

    Args:
        pixels: uint8 (h, w, 3), RGB. Takes 0.1 to 0.2 s of a core for a photo of 512 pixels.
        threads: of OpenCV, for all of the process; None leaves them as they are.
        max_side: pixels, of the longer side at which it is searched at most.

    Returns:
        Three at most, those of the most matches first.
    """
    if threads is not None and cv2.getNumThreads() != threads:
        cv2.setNumThreads(threads)
    grey = _grey(pixels, max_side)
    keypoints = Keypoints.of(grey)
    moves = movements(*match(keypoints), _MATCHES, _TRIED)
    moves += movements(*match(keypoints.strongest(_MIRRORED), mirrored=True), _MATCHES, _TRIED, mirrored=True)
    shifts = echoes(grey, _TRIED)
    if not moves and not shifts:
        return ()
    surface = Surface.of(grey)  # once: there may be several movements
    found: list[tuple[Matrix, Agreement]] = []
    matched = [(move, agreement(surface, move)) for move in moves]
    shifted = [(shift, agreement_of_shift(surface, shift)) for shift in shifts]
    for candidates in (
        [(move.matrix, agrees, _is_matched(agrees, move.growth)) for move, agrees in matched],
        [(shift, agrees, is_shifted(agrees)) for shift, agrees in shifted],
    ):
        # A copy from one border to the other one fills all that could agree, too, but not along two ways.
        repeats = sum(agrees.extent > _EXTENT for _, agrees, _ in candidates) > 1
        for matrix, agrees, is_one in candidates:
            if is_one and not (repeats and agrees.extent > _EXTENT) and not _is_told(agrees, found):
                found.append((matrix, agrees))
    if not found:
        return ()
    found.sort(key=lambda one: -one[1].matches)
    picture = _at(grey.shape, pixels)
    return tuple(_copy(picture, matrix, agrees) for matrix, agrees in found[:_MOST])


def _copy(picture: NDArray[np.uint8], matrix: Matrix, agrees: Agreement) -> Copy:
    parts = agrees.here, agrees.there
    return Copy(parts, matrix, min(1.0, agrees.similarity), agrees.matches, direction(picture, parts, matrix))


def _is_told(agrees: Agreement, found: Sequence[tuple[Matrix, Agreement]]) -> bool:
    """Whether one that was found marks the same, whichever way round."""
    marked = agrees.here | agrees.there
    others = (other.here | other.there for _, other in found)
    return any(int((marked & other).sum()) > _SAME * int((marked | other).sum()) for other in others)


def _grey(pixels: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if max(height, width) > max_side:
        scale = max_side / max(height, width)
        grey = _at((max(1, round(height * scale)), max(1, round(width * scale))), grey)
    return np.asarray(grey, np.uint8)


def _at(shape: tuple[int, ...], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape[:2] == shape:
        return pixels
    return np.asarray(cv2.resize(pixels, shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _is_matched(agrees: Agreement, growth: float) -> bool:
    return is_mirrored(agrees) if growth < 0 else is_copy(agrees, growth)


def is_copy(agrees: Agreement, growth: float = 1.0) -> bool:
    """Whether two parts are alike, large and compact enough to be one part, copied.

    Args:
        agrees: the two.
        growth: how many times the area of the first one the second one has: more is lost then.
    """
    return _is_part(agrees, _LEAST) and (
        agrees.similarity >= _SIMILARITY
        and agrees.difference <= _DIFFERENCE * max(1.0, growth)
        and agrees.matches >= _MATCHES
        and agrees.share >= (_SURE_SHARE if _is_sure(agrees) else _SHARE)
    )


def _is_sure(agrees: Agreement) -> bool:
    return agrees.similarity >= _SURE_SIMILARITY and agrees.matches >= _SURE_MATCHES


def is_mirrored(agrees: Agreement) -> bool:
    """The same of two parts that mirror each other."""
    return _is_part(agrees, _LEAST) and (
        agrees.similarity >= _MIRRORED_SIMILARITY
        and agrees.difference <= _MIRRORED_DIFFERENCE
        and agrees.matches >= _MATCHES
    )


def is_shifted(agrees: Agreement) -> bool:
    """The same of two parts along a mere shift, without a matched keypoint."""
    return _is_part(agrees, _LEAST_SHIFTED) and (
        agrees.similarity >= _SHIFTED_SIMILARITY and agrees.share >= _SHIFTED_SHARE
    )


def _is_part(agrees: Agreement, least: int) -> bool:
    """Whether both are so large, compact and apart, and have grain."""
    return (
        min(int(agrees.here.sum()), int(agrees.there.sum())) >= least
        and agrees.grain >= _GRAIN
        and int((agrees.here & agrees.there).sum()) <= _OVERLAP * int((agrees.here | agrees.there).sum())
        and _solidity(agrees.here) >= _SOLID
    )


def _solidity(mask: Mask) -> float:
    points = np.argwhere(mask)[:, ::-1].astype(np.float32)
    return float(mask.sum() / max(1.0, cv2.contourArea(cv2.convexHull(points))))
