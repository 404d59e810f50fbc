"""Where else in the image is the content of a box? A copy-move gives itself away by its source.

Colour models fail on copy-move within a texture: inside and outside of the region look alike by construction. But the
copy is an exact one, up to compression. Small patches of the box are looked for in the whole image by normalised
cross-correlation; when many of them are found again at one common offset, the region is where the image and its
shifted self agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box, mask_box

_GRID = 8  # patches a side of the box
_PATCH = 0.2  # side of a patch / side of the box
_SMALLEST, _LARGEST = 8, 64  # side of a patch, pixels
_FLAT = 3.0  # grey levels: a patch with a smaller standard deviation matches anything
_PROMISING, _SURE = 0.9, 0.98  # correlation of a patch that may vote; of the best of all votes
_VOTES = 7
_NEAREST = 0.4  # offset / diagonal of the box: nearer ones are the self-likeness of edges and stripes
_EXTENT = 0.7  # the mask must span this share of the box's width and height
_FILL = 0.2  # and this share of its area


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A region of a box that exists twice.

    Attributes:
        mask: bool (h, w), the part of the box that was found again.
        offset: (dx, dy) from the region to its twin, pixels.
        votes: how many patches agree on the offset.
        score: median correlation of those patches, in [0, 1].
    """

    mask: NDArray[np.bool_]
    offset: tuple[int, int]
    votes: int
    score: float


def find_duplicate(image: NDArray[np.uint8], box: Box) -> Duplicate | None:
    """Find the part of `box` that is repeated elsewhere in `image` by a pure shift; None when there is none.

    Args:
        image: uint8 (h, w, 3). Cost grows with its area: 512 pixels on the long side are plenty.
        box: inside the image.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.8)
    size = _patch_side(box.height), _patch_side(box.width)
    if box.height < 2 * size[0] or box.width < 2 * size[1]:
        return None
    matches = _matches(grey, box, size)
    if len(matches) < _VOTES:
        return None
    offsets, scores = matches[:, :2], matches[:, 2]
    near = np.abs(offsets[:, None] - offsets[None]).max(axis=2) <= 1
    chosen = int((near @ scores + scores).argmax())
    votes = matches[near[chosen]]
    dx, dy = (int(v) for v in offsets[chosen])
    far_enough = np.hypot(dx, dy) >= _NEAREST * np.hypot(box.width, box.height)
    if len(votes) < _VOTES or votes[:, 2].max() < _SURE or not far_enough:
        return None
    best = votes[votes[:, 2].argmax()]
    column, row = int(best[3]), int(best[4])
    mask = _agreement(image, box, (dx, dy), Box(column, row, column + size[1], row + size[0]))
    extent = mask_box(mask)
    if extent is None or mask.sum() < _FILL * box.area:
        return None
    if extent.width < _EXTENT * box.width or extent.height < _EXTENT * box.height:
        return None
    return Duplicate(mask, (dx, dy), len(votes), float(np.median(votes[:, 2])))


def _patch_side(side: int) -> int:
    return min(max(round(_PATCH * side), _SMALLEST), _LARGEST)


def _matches(grey: NDArray[np.float32], box: Box, size: tuple[int, int]) -> NDArray[np.float64]:
    """Rows (dx, dy, correlation, x, y): each patch of the box with its best match elsewhere, if that is promising."""
    high, wide = size
    rows = np.rint(np.linspace(box.y0, box.y1 - high, _GRID)).astype(int)
    columns = np.rint(np.linspace(box.x0, box.x1 - wide, _GRID)).astype(int)
    places = [(int(y), int(x)) for y in rows for x in columns]
    # A quarter of the patches first, spread over the box: most boxes hold no copy, and then these few show it.
    probes = [p for i, p in enumerate(places) if (i // _GRID) % 2 == 1 and i % 2 == 1]
    rest = [p for p in places if p not in set(probes)]
    found: list[tuple[float, ...]] = []
    for group in (probes, rest):
        for y, x in group:
            patch = grey[y : y + high, x : x + wide]
            if patch.std() < _FLAT:
                continue
            scores = cv2.matchTemplate(grey, patch, cv2.TM_CCOEFF_NORMED)
            reach_y, reach_x = max(3, high // 2), max(3, wide // 2)
            scores[max(0, y - reach_y) : y + reach_y + 1, max(0, x - reach_x) : x + reach_x + 1] = -1.0
            _, score, _, (match_x, match_y) = cv2.minMaxLoc(scores)
            if score > _PROMISING:
                found.append((match_x - x, match_y - y, score, x, y))
        if not found:
            break
    return np.array(found, dtype=np.float64).reshape(-1, 5)


def _agreement(image: NDArray[np.uint8], box: Box, offset: tuple[int, int], sure: Box) -> NDArray[np.bool_]:
    """Pixels of the box where the image equals itself at `offset`, as closely as it does inside the patch `sure`."""
    height, width = image.shape[:2]
    shift = np.array([[1, 0, -offset[0]], [0, 1, -offset[1]]], dtype=np.float32)
    pixels = image.astype(np.float32)
    twin = cv2.warpAffine(pixels, shift, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=(-999.0,) * 3)
    difference = cv2.GaussianBlur(np.abs(pixels - twin).mean(axis=2), (0, 0), 1.5)
    limit = 2.5 * float(np.median(difference[sure.slices])) + 4.0
    same = np.zeros((height, width), dtype=np.uint8)
    same[box.slices] = difference[box.slices] < limit
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    for operation in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        same = cv2.morphologyEx(same, operation, kernel)
    # Closing may step over the box's edge.
    inside = np.zeros_like(same)
    inside[box.slices] = same[box.slices]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.zeros_like(inside)
    for label in range(1, count):
        if areas[label - 1] >= 0.1 * areas.max():
            kept[labels == label] = 1
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(kept, outlines, -1, 1, cv2.FILLED)
    return kept.astype(bool)
