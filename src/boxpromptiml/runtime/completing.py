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
# Chosen on CASIA v1's held-out training images, on a plateau (docs/model/notebook.md).
_SEED = -0.5  # logits from the threshold: what may be part of an object to begin with
_BACKGROUND = -4.0  # and what is surely not
_REACH = 0.05  # of the longer side: how far from that an object may reach
_LEAST = 30  # pixels: five colours are fitted to them
_SEEN = 1 / 3  # of an object has to be marked already: who suspects a button suspects no coat
_COMPLETED = 0.3  # logits above the threshold: less than most of what the student marked itself

Map = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def complete(values: Map, picture: Pixels, threshold: float, threads: int | None = None) -> Map:
    """Complete what is marked in a map to the objects that it is part of.

    By GrabCut (Rother, Kolmogorov, Blake 2004): mixtures of the colours of what is marked, or nearly, and of all else,
    and the cut between them that follows edges. Objects of which less than a third is marked stay as they are. Nothing
    is unmarked, and nothing far below the threshold is marked.

    Args:
        values: float32 (rows, columns) in [0, 1].
        picture: uint8 (h, w, 3), RGB: the same image, on that grid or another one.
        threshold: above it a pixel is marked.
        threads: of OpenCV, for all of the process; None leaves them as they are.

    Returns:
        The map with what was completed a little above the threshold; `values` itself where nothing was.
    """
    if not (values > threshold).any():  # as in most photos
        return values
    limit_threads(threads)
    picture = shrunk(picture, MAX_SIDE / max(picture.shape[:2]))
    height, width = picture.shape[:2]
    coarse = values if values.shape == (height, width) else resize_map(values, height, width)
    limit = float(logit(threshold))
    found = _objects(coarse, picture, limit)
    if found is None:
        return values
    added = on_grid(_seen(found, coarse > threshold), values.shape) & (values <= threshold)
    return np.where(added, np.float32(sigmoid(limit + _COMPLETED)), values)


def _objects(values: Map, picture: Pixels, limit: float) -> Mask | None:
    """What belongs to objects that are marked; None where too little is, or too little is not."""
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


def _seen(found: Mask, marked: Mask) -> Mask:
    """The objects of which enough is marked."""
    count, labels = cv2.connectedComponents((found | marked).view(np.uint8))
    areas = np.bincount(labels.ravel(), minlength=count)
    enough = np.bincount(labels[marked], minlength=count) >= _SEEN * areas
    enough[0] = False  # what is neither
    return np.asarray(enough[labels])


def _within(mask: Mask, reach: int) -> Mask:
    side = 2 * reach + 1
    return np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((side, side), np.uint8)), bool)
