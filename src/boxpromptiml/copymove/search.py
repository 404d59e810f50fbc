"""`find_copies`: the parts of an image that are there twice. Needs OpenCV, which takes 0.1 s to import."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.agreement import Agreement, Surface, agreement
from boxpromptiml.copymove.copy import Copy, Mask
from boxpromptiml.copymove.matching import match, movements

MAX_SIDE = 512  # pixels: what was copied and is smaller than some 30 of these is not found
_MOST = 3  # copies of an image
_TRIED = 6  # movements of an image that are looked at for them
# The bounds were chosen on CASIA v1's training images and 170 other photographs: of 568 authentic ones 3 pass them, 6
# at JPEG quality 70.
_MATCHES = 4
_SIMILARITY = 0.97
# Or, where compression has spoilt that: no more differs than compression explains; in dim scenes no more ever does.
_COMPRESSED_SIMILARITY, _COMPRESSED_DIFFERENCE = 0.93, 25.0
_SOLID = 0.4  # area / area of the convex hull: what repeats by nature agrees in scattered spots
_OVERLAP = 0.1  # intersection of the two parts / union: arcades, fences and wallpaper agree with their own next piece
_LEAST = 40  # pixels


def find_copies(pixels: NDArray[np.uint8], threads: int | None = None) -> tuple[Copy, ...]:
    """Find the parts of an image that are there twice: shifted, turned, scaled or sheared, not mirrored.

    Args:
        pixels: uint8 (h, w, 3), RGB. Searched at 512 pixels on the longer side at most; takes about 0.1 s of a core.
        threads: of OpenCV, for all of the process; None leaves them as they are.

    Returns:
        Three at most, those of the most matches first.
    """
    if threads is not None and cv2.getNumThreads() != threads:
        cv2.setNumThreads(threads)
    grey = _grey(pixels)
    moves = movements(*match(grey), _MATCHES, _TRIED)
    if not moves:  # as in most photos
        return ()
    surface = Surface.of(grey)  # once: there may be several movements
    found = []
    for movement in moves:
        agrees = agreement(surface, movement)
        if is_copy(agrees):
            parts = agrees.here, agrees.there
            found.append(Copy(parts, movement.matrix, min(1.0, agrees.similarity), agrees.matches))
    return tuple(sorted(found, key=lambda copy: -copy.matches)[:_MOST])


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if max(height, width) > MAX_SIDE:
        scale = MAX_SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def is_copy(agrees: Agreement) -> bool:
    """Whether two parts are alike, large and compact enough to be one part, copied."""
    return (
        _is_alike(agrees)
        and agrees.matches >= _MATCHES
        and int(agrees.here.sum()) >= _LEAST
        and int(agrees.there.sum()) >= _LEAST
        and int((agrees.here & agrees.there).sum()) <= _OVERLAP * int((agrees.here | agrees.there).sum())
        and _solidity(agrees.here) >= _SOLID
    )


def _is_alike(agrees: Agreement) -> bool:
    compressed = agrees.similarity >= _COMPRESSED_SIMILARITY and agrees.difference <= _COMPRESSED_DIFFERENCE
    return compressed or agrees.similarity >= _SIMILARITY


def _solidity(mask: Mask) -> float:
    points = np.argwhere(mask)[:, ::-1].astype(np.float32)
    return float(mask.sum() / max(1.0, cv2.contourArea(cv2.convexHull(points))))
