"""`complete`: what is marked of an object becomes all of it. Needs OpenCV, which takes 0.1 s to import.

A student sees traces where there are any: at the edge of what was pasted, in its textured parts, here and there after
compression. What was pasted is mostly one object, and colours tell where that ends.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.opencv import limit_threads, shrunk
from boxpromptiml.preprocessing import resize_map
from boxpromptiml.runtime.grid import on_grid
from boxpromptiml.scaling import logit, sigmoid

MAX_SIDE = 512  # pixels: colours are compared at that size at most
# Chosen on CASIA v1's held-out training images, on a plateau (docs/model/notebook.md). In logits from the threshold:
_FAINT = -0.6  # what makes an object suspicious
_SEED = -1.0  # what may be part of one to begin with
_BACKGROUND = -4.5  # what is surely not
_REACH = 0.05  # of the longer side: how far from that an object may reach
_LEAST = 30  # pixels: five colours are fitted to them
_COMPLETED = 0.3  # logits above the threshold: less than most of what the student marked itself

Map = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def complete(values: Map, picture: Pixels, threshold: float, threads: int | None = None) -> Map:
    """Complete what is marked in a map, or nearly, to the objects that it is part of.

    By GrabCut (Rother, Kolmogorov, Blake 2004): mixtures of the colours of what is suspicious and of all else, and the
    cut between them that follows edges. Nothing is unmarked, and nothing far below the threshold is marked.

    Args:
        values: float32 (rows, columns) in [0, 1].
        picture: uint8 (h, w, 3), RGB: the same image, on that grid or another one.
        threshold: above it a pixel is marked.
        threads: of OpenCV, for all of the process; None leaves them as they are.

    Returns:
        The map with what was completed a little above the threshold; `values` itself where nothing was.
    """
    limit = float(logit(threshold))
    if not (values > sigmoid(limit + _FAINT)).any():  # as in most photos
        return values
    limit_threads(threads)
    picture = shrunk(picture, MAX_SIDE / max(picture.shape[:2]))
    height, width = picture.shape[:2]
    coarse = values if values.shape == (height, width) else resize_map(values, height, width)
    found = _object(coarse, picture, limit)
    if found is None:
        return values
    added = on_grid(found, values.shape) & (values <= threshold)
    return np.where(added, np.float32(sigmoid(limit + _COMPLETED)), values)


def _object(values: Map, picture: Pixels, limit: float) -> Mask | None:
    """What belongs to the objects; None where too little is marked, or too little is not."""
    seeds = values > sigmoid(limit + _SEED)
    if np.count_nonzero(seeds) < _LEAST:
        return None
    near = _within(seeds, round(_REACH * max(values.shape)))
    labels = np.full(values.shape, cv2.GC_PR_BGD, np.uint8)
    labels[seeds] = cv2.GC_PR_FGD
    labels[~near | (values < sigmoid(limit + _BACKGROUND))] = cv2.GC_BGD
    if np.count_nonzero(labels != cv2.GC_PR_FGD) < _LEAST:
        return None
    cv2.setRNGSeed(0)  # of this thread: where the mixtures start
    model = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, None, *model, 1, cv2.GC_INIT_WITH_MASK)
    return np.asarray(labels == cv2.GC_PR_FGD)


def _within(mask: Mask, reach: int) -> Mask:
    side = 2 * reach + 1
    return np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((side, side), np.uint8)), bool)
