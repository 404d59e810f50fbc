"""Boxes and regions: geometry in absolute pixels, x right, y down, half-open, in the upright image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Box(NamedTuple):
    """An axis-aligned box ``[x0, x1) x [y0, y1)`` in whole pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Area in pixels."""
        return max(0, self.width) * max(0, self.height)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices: ``image[box.slices]`` is the content of the box."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def is_inside(self, width: int, height: int) -> bool:
        """Whether the box is not empty and lies within an image of that size."""
        return 0 <= self.x0 < self.x1 <= width and 0 <= self.y0 < self.y1 <= height

    def clipped(self, width: int, height: int) -> Box:
        """The part of the box within an image of that size (possibly empty)."""
        x0, x1 = (min(max(v, 0), width) for v in (self.x0, self.x1))
        y0, y1 = (min(max(v, 0), height) for v in (self.y0, self.y1))
        return Box(x0, y0, x1, y1)


class Component(NamedTuple):
    """One connected region of a mask: its bounding box and its number of pixels."""

    box: Box
    area: int


def union_box(boxes: Iterable[Box]) -> Box:
    """The smallest box around all `boxes`. Raises ValueError for none."""
    rows = np.asarray(list(boxes), dtype=np.int64)
    if rows.size == 0:
        raise ValueError("union_box needs at least one box")
    return Box(*(int(v) for v in (*rows[:, :2].min(axis=0), *rows[:, 2:].max(axis=0))))


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    shared = max(0, width) * max(0, height)
    whole = a.area + b.area - shared
    return shared / whole if whole else 0.0


def filled_boxes(boxes: Iterable[Box], width: int, height: int) -> Mask:
    """Boolean mask (height, width) that is True inside any of the boxes."""
    mask = np.zeros((height, width), dtype=bool)
    for box in boxes:
        mask[box.clipped(width, height).slices] = True
    return mask


def mask_box(mask: NDArray[Any]) -> Box | None:
    """The tight box around the non-zero pixels of `mask` (height, width); None when there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def connected_components(mask: NDArray[Any]) -> list[Component]:
    """The 8-connected regions of the non-zero pixels of `mask` (height, width), largest first.

    Works on horizontal runs rather than on pixels, so that the core install needs neither SciPy nor OpenCV: cost
    grows with the length of the outlines, not with the area.
    """
    rows, starts, ends = _runs(np.asarray(mask) != 0)
    count = len(rows)
    if count == 0:
        return []
    # Two runs of neighbouring rows touch (diagonals included) when start <= other end and end >= other start.
    # Runs are ordered by row and column: laid out with a stride of two rows, one search finds each run's neighbours.
    width = int(mask.shape[1]) + 2
    key_start = rows * width + starts
    key_end = rows * width + ends
    first = np.searchsorted(key_end, key_start + width, side="left")
    last = np.searchsorted(key_start, key_end + width, side="right")
    labels = _joined(count, first, last)
    _, group = np.unique(labels, return_inverse=True)
    size = int(group.max()) + 1
    area = np.bincount(group, weights=ends - starts, minlength=size).astype(np.int64)
    low = np.full((2, size), np.iinfo(np.int64).max)
    high = np.zeros((2, size), dtype=np.int64)
    np.minimum.at(low[0], group, starts)
    np.minimum.at(low[1], group, rows)
    np.maximum.at(high[0], group, ends)
    np.maximum.at(high[1], group, rows + 1)
    found = [
        Component(Box(int(low[0, i]), int(low[1, i]), int(high[0, i]), int(high[1, i])), int(area[i]))
        for i in range(size)
    ]
    return sorted(found, key=lambda c: (-c.area, c.box))


def boxes_from_mask(mask: NDArray[Any], speck: float = 0.02) -> list[Box]:
    """Tight boxes around the regions of a mask, as an annotator would draw them.

    Args:
        mask: (height, width), non-zero where tampered.
        speck: a region smaller than this fraction of the largest one is a speck; so is one below 16 pixels. Specks
            are merged into the box of the nearest region instead of getting a box of their own.

    Returns:
        Boxes in reading order (top to bottom, then left to right); every non-zero pixel is inside one of them.
    """
    components = connected_components(mask)
    if not components:
        return []
    limit = max(16.0, speck * components[0].area)
    # The largest region always counts, so that a mask of nothing but specks still gets its box.
    boxes = [c.box for i, c in enumerate(components) if i == 0 or c.area >= limit]
    for component in components[len(boxes) :]:
        nearest = min(range(len(boxes)), key=lambda i: _distance(boxes[i], component.box))
        boxes[nearest] = union_box([boxes[nearest], component.box])
    return sorted(boxes, key=lambda b: (b.y0, b.x0))


def loosened(box: Box, amount: float, width: int, height: int) -> Box:
    """Push every side outward by `amount` of the box's width or height, rounded outward and clipped to the image.

    Raises:
        ValueError: `amount` is negative.
    """
    if amount < 0:
        raise ValueError(f"loosen must not be negative, got {amount}")
    dx, dy = amount * box.width, amount * box.height
    grown = Box(*_outward(box.x0 - dx, box.y0 - dy, box.x1 + dx, box.y1 + dy))
    return grown.clipped(width, height)


def jittered(box: Box, amount: float, width: int, height: int, rng: np.random.Generator) -> Box:
    """Move every side by a normal error of standard deviation `amount` times the box's width or height.

    The result is clipped to the image and is never empty.

    Raises:
        ValueError: `amount` is negative.
    """
    if amount < 0:
        raise ValueError(f"jitter must not be negative, got {amount}")
    scale = np.array([box.width, box.height, box.width, box.height]) * amount
    x0, y0, x1, y1 = (int(v) for v in np.rint(np.array(box) + rng.normal(size=4) * scale))
    x0, x1 = min(x0, x1), max(x0, x1)
    y0, y1 = min(y0, y1), max(y0, y1)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return Box(x0, y0, min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height))


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, start and end (exclusive) of every horizontal run of True, in reading order."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return rows.astype(np.int64), starts.astype(np.int64), ends.astype(np.int64)


def _joined(count: int, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Union-find over runs: run i touches the runs first[i] .. last[i] - 1 of the next row."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i in np.flatnonzero(last > first):
        a = root(int(i))
        for j in range(int(first[i]), int(last[i])):
            b = root(j)
            if a != b:
                low, high = min(a, b), max(a, b)
                parent[high] = low
                a = low
    return np.array([root(i) for i in range(count)], dtype=np.int64)


def _distance(a: Box, b: Box) -> tuple[float, float]:
    """Gap between two boxes (0 when they touch), then distance of centres, to settle ties."""
    dx = max(a.x0 - b.x1, b.x0 - a.x1, 0)
    dy = max(a.y0 - b.y1, b.y0 - a.y1, 0)
    centres = (a.x0 + a.x1 - b.x0 - b.x1) ** 2 + (a.y0 + a.y1 - b.y0 - b.y1) ** 2
    return float(np.hypot(dx, dy)), float(centres)


def _outward(x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))
