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
    """The 8-connected regions of the non-zero pixels of `mask` (height, width), largest first."""
    return [component for component, _, _ in component_runs(mask)]


def component_runs(mask: NDArray[Any]) -> list[tuple[Component, NDArray[np.int64], NDArray[np.int64]]]:
    """The 8-connected regions of a mask, largest first, each with the vertical runs of pixels that it consists of.

    Works on runs rather than on pixels, so that the core install needs neither SciPy nor OpenCV: cost grows with the
    length of the outlines, not with the area.

    Args:
        mask: (height, width), inside where non-zero.

    Returns:
        Per region its box and area, and the starts and ends (exclusive) of its runs as ascending column-major
        positions ``x * height + y``, as `rle.from_runs` takes them. Runs never cross from one column to the next.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:  # a copy of a large mask takes as long as all that follows
        mask = mask != 0
    height = mask.shape[0]
    around = mask_box(mask)
    if around is None:
        return []
    columns, starts, ends = _runs(mask[around.slices])
    columns, starts, ends = columns + around.x0, starts + around.y0, ends + around.y0
    labels = _joined(*_touching(columns, starts, ends, height), len(columns))
    order = np.argsort(labels, kind="stable")
    columns, starts, ends = columns[order], starts[order], ends[order]
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    first = np.concatenate([[0], cuts])
    area = np.add.reduceat(ends - starts, first)
    x0, x1 = np.minimum.reduceat(columns, first), np.maximum.reduceat(columns, first) + 1
    y0, y1 = np.minimum.reduceat(starts, first), np.maximum.reduceat(ends, first)
    pieces = zip(np.split(columns * height + starts, cuts), np.split(columns * height + ends, cuts), strict=True)
    found = [
        (Component(Box(int(x0[i]), int(y0[i]), int(x1[i]), int(y1[i])), int(area[i])), start, end)
        for i, (start, end) in enumerate(pieces)
    ]
    return sorted(found, key=lambda region: (-region[0].area, region[0].box))


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
    """Column, start and end (exclusive) of every vertical run of True, by column, then by start."""
    height, width = mask.shape
    # Where a pixel differs from the one above it; outside the image everything is False.
    changes = np.empty((height + 1, width), dtype=bool)
    changes[0], changes[-1] = mask[0], mask[-1]
    np.not_equal(mask[1:], mask[:-1], out=changes[1:-1])
    rows, columns = np.divmod(np.flatnonzero(changes), width)
    # In every column changes alternate between start and end.
    places = np.sort(columns * (height + 1) + rows)
    columns, rows = np.divmod(places, height + 1)
    return columns[::2], rows[::2], rows[1::2]


def _touching(
    columns: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (a, b) of runs in neighbouring columns that touch: start <= other end and end >= other start."""
    # Runs are ordered; laid out with a stride of two columns, one search finds each run's neighbours.
    stride = height + 2
    key_start, key_end = columns * stride + starts, columns * stride + ends
    first = np.searchsorted(key_end, key_start + stride, side="left")
    last = np.searchsorted(key_start, key_end + stride, side="right")
    count = np.maximum(last - first, 0)
    a = np.repeat(np.arange(len(columns)), count)
    b = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    return a, b


def _joined(a: NDArray[np.int64], b: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Label 0 .. count - 1 by connected group, given the pairs that touch: hooking and pointer jumping."""
    parent = np.arange(count)
    while len(a):
        low, high = np.minimum(parent[a], parent[b]), np.maximum(parent[a], parent[b])
        np.minimum.at(parent, high, low)
        while True:
            up = parent[parent]
            if np.array_equal(up, parent):
                break
            parent = up
        apart = parent[a] != parent[b]
        a, b = a[apart], b[apart]
    return parent


def _distance(a: Box, b: Box) -> tuple[float, float]:
    """Gap between two boxes (0 when they touch), then distance of centres, to settle ties."""
    dx = max(a.x0 - b.x1, b.x0 - a.x1, 0)
    dy = max(a.y0 - b.y1, b.y0 - a.y1, 0)
    centres = (a.x0 + a.x1 - b.x0 - b.x1) ** 2 + (a.y0 + a.y1 - b.y0 - b.y1) ** 2
    return float(np.hypot(dx, dy)), float(centres)


def _outward(x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))
