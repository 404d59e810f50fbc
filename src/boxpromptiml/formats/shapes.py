"""What foreign formats draw on an image, and the boxes and the mask that come of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box, boxes_from_mask

Mask = NDArray[np.bool_]
# Draws a shape on an empty picture of that height and width; ValueError says what is wrong with it.
Pixels = Callable[[int, int], Mask]
Sides = tuple[float, float, float, float]

# Pixels by which a side may miss a whole number because of the digits that a format writes.
ROUNDING = 0.05
# Pixels by which a box may overhang the image and is clipped without a word: other tools round, too.
_OVERHANG = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """One region that a foreign format draws.

    Attributes:
        entry: names it in its file, such as ``annotations[3] (id 17)``.
        box: x0, y0, x1, y1 around it, half-open, fractions of pixels allowed; None to take it from the pixels.
        pixels: draws its pixels; None if only a box is known.
        drawn: whether the box was drawn as one; otherwise it is the extent of the pixels, and counts only where no
            drawn box touches them.
    """

    entry: str
    box: Sides | None = None
    pixels: Pixels | None = None
    drawn: bool = True

    def boxed(self) -> Shape:
        """The shape without its pixels; what has no box stays as it is, for its pixels are all it has."""
        return self if self.box is None else Shape(self.entry, self.box)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a foreign format says about one image.

    Attributes:
        shapes: its tampered regions.
        width: of the picture that was annotated, pixels; None if the format does not say.
        height: the same.
        shares: boxes are given as shares of width and height, in [0, 1], rather than in pixels.
        skipped: a person looked and left it.
        seconds: active annotation time; None if unknown.
        others: whether there are regions of categories that do not count: no shapes then say nothing about the image.
    """

    shapes: tuple[Shape, ...] = ()
    width: int | None = None
    height: int | None = None
    shares: bool = False
    skipped: bool = False
    seconds: float | None = None
    others: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """Boxes and mask of one image, at the size of the picture that was annotated.

    Attributes:
        boxes: in the order of the shapes.
        mask: bool (h, w); None if no shape has pixels, or not every region has some.
        incomplete: whether there were pixels, but not for every region, so that they are no truth.
        clipped: shapes that overhung the image by more than rounding, and were clipped.
    """

    boxes: tuple[Box, ...]
    mask: Mask | None
    incomplete: bool
    clipped: tuple[str, ...]


def resolve(annotation: Annotation, width: int, height: int, *, clip: bool = False) -> Resolved:
    """Boxes and mask of an annotation.

    Straight boxes that enclose what was drawn: sides move outward to whole pixels, unless they are within 0.05
    pixels of one. A shape that is pixels only brings a box of its own where it touches no drawn box.

    Args:
        annotation: the shapes.
        width: of the picture that was annotated.
        height: the same.
        clip: clip boxes that overhang by more than a pixel instead of refusing them.

    Raises:
        ValueError: a shape that is empty or marks no pixel and has no box, is not inside the image, or whose pixels
            cannot be drawn; it names the entry.
    """
    scale = (width, height, width, height) if annotation.shares else (1, 1, 1, 1)
    boxes: list[Box | None] = []
    clipped: list[str] = []
    for shape in annotation.shapes:
        box = None
        if shape.box is not None:
            x0, y0, x1, y1 = (side * size for side, size in zip(shape.box, scale, strict=True))
            box, overhangs = _enclosing(shape.entry, (x0, y0, x1, y1), width, height, clip)
            if overhangs:
                clipped.append(shape.entry)
        boxes.append(box)
    drawn = [box for box, shape in zip(boxes, annotation.shapes, strict=True) if box is not None and shape.drawn]
    found: list[Box] = []
    union = None
    # One picture at a time: a thousand polygons on a large photo do not fit into memory.
    for shape, box in zip(annotation.shapes, boxes, strict=True):
        own = None
        if shape.pixels is not None:
            try:
                own = shape.pixels(height, width)
            except ValueError as error:
                raise ValueError(f"{shape.entry}: {error}") from error
            if box is None and not own.any():
                raise ValueError(f"{shape.entry}: marks nothing; draw it, or remove it")
            union = np.zeros((height, width), bool) if union is None else union
            union |= own
        if box is not None and shape.drawn:
            found.append(box)
        elif own is not None and any(own[other.slices].any() for other in drawn):
            continue
        elif box is not None:
            found.append(box)
        elif own is not None:
            found += boxes_from_mask(own)
    incomplete = union is not None and not all(union[box.slices].any() for box in found)
    return Resolved(tuple(found), None if incomplete else union, incomplete, tuple(clipped))


def polygon_shape(
    entry: str, rings: Sequence[Sequence[float]], *, drawn: Sides | None = None, scale: bool = False
) -> Shape:
    """The shape of polygons: its pixels are those whose centre is inside any ring.

    Args:
        entry: see `Shape`.
        rings: x, y, x, y, ... of each; without any, the shape marks nothing.
        drawn: a box that the format gives beside the polygon.
        scale: the coordinates are shares of width and height.
    """
    xs = [x for ring in rings for x in ring[::2]]
    ys = [y for ring in rings for y in ring[1::2]]

    def pixels(height: int, width: int) -> Mask:
        factors = (width, height) if scale else (1, 1)
        mask = np.zeros((height, width), bool)
        for ring in rings:
            fill_polygon(mask, np.asarray(ring, np.float64).reshape(-1, 2) * factors)
        return mask

    extent = (min(xs), min(ys), max(xs), max(ys)) if xs else None
    return Shape(entry, drawn or extent, pixels, drawn is not None)


def fill_polygon(mask: Mask, points: NDArray[np.float64]) -> None:
    """Set the pixels whose centre is inside a polygon (even-odd rule).

    A polygon along the sides of a half-open box thus fills that box, neither a row more nor one less; the fillers of
    Pillow and OpenCV add the border.

    Args:
        mask: bool (h, w), changed in place.
        points: (n, 2) x and y of the corners.
    """
    height, width = mask.shape
    top = max(0, math.ceil(min(points[:, 1].min(), height) - 0.5))
    bottom = min(height, math.ceil(max(points[:, 1].max(), 0) - 0.5))
    if top >= bottom:
        return
    # Where the parity changes along a row: column `width` takes what lies to the right of the image.
    turns = np.zeros((bottom - top, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = sorted((y0, y1))
        first, last = (int(np.clip(math.ceil(y - 0.5), top, bottom)) for y in (low, high))
        if first >= last:
            continue
        centres = np.arange(first, last) + 0.5
        crossing = x0 + (centres - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        turns[np.arange(first - top, last - top), columns] ^= True
    mask[top:bottom] |= np.logical_xor.accumulate(turns, axis=1)[:, :width]


def turned_box(x: float, y: float, width: float, height: float, degrees: float, about: tuple[float, float]) -> Sides:
    """The straight box around a box that is turned clockwise about a point."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)]
    turned = [
        (
            about[0] + (cx - about[0]) * cos - (cy - about[1]) * sin,
            about[1] + (cx - about[0]) * sin + (cy - about[1]) * cos,
        )
        for cx, cy in corners
    ]
    xs, ys = [corner[0] for corner in turned], [corner[1] for corner in turned]
    return min(xs), min(ys), max(xs), max(ys)


def _enclosing(entry: str, sides: Sides, width: int, height: int, clip: bool) -> tuple[Box, bool]:
    x0, y0, x1, y1 = sides
    text = "[" + ", ".join(f"{side:.6g}" for side in sides) + "]"
    if not all(math.isfinite(side) for side in sides) or x0 >= x1 or y0 >= y1:
        raise ValueError(f"{entry}: box {text} is empty; give it a width and a height above 0, or remove it")
    left, top = math.floor(x0 + ROUNDING), math.floor(y0 + ROUNDING)
    # No thinner than a pixel.
    box = Box(left, top, max(left + 1, math.ceil(x1 - ROUNDING)), max(top + 1, math.ceil(y1 - ROUNDING)))
    inside = box.clipped(width, height)
    overhang = max(-x0, -y0, x1 - width, y1 - height)
    if inside.area == 0 or (overhang > _OVERHANG + ROUNDING and not clip):
        raise ValueError(f"{entry}: box {text} is not inside the image of {width} x {height} pixels")
    return inside, overhang > _OVERHANG + ROUNDING
