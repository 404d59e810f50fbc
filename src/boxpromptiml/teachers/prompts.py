"""What a person gives a teacher: boxes, and points that belong to them; and both on a smaller grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box


class Point(NamedTuple):
    """A click: this pixel belongs to the tampered region of a box, or does not.

    Attributes:
        x: column of the pixel in the image.
        y: row of the pixel in the image.
        positive: whether it belongs to the region.
        box: index of its box among the boxes of the request.
    """

    x: int
    y: int
    positive: bool
    box: int = 0


def check_prompts(size: tuple[int, int], boxes: Sequence[Box], points: Sequence[Point] = ()) -> None:
    """Refuse boxes and points that make no sense for an image.

    Args:
        size: (height, width) of the image.
        boxes: in its pixels.
        points: in its pixels.

    Raises:
        TeacherError: a box is empty or not inside the image; a point is not inside it or belongs to no box.
    """
    height, width = size
    for box in boxes:
        if not box.is_inside(width, height):
            raise TeacherError(f"box {tuple(box)} is empty or not inside the image of {width} x {height}; correct it")
    for point in points:
        if not (0 <= point.x < width and 0 <= point.y < height):
            raise TeacherError(f"point ({point.x}, {point.y}) is not inside the image of {width} x {height}")
        if not 0 <= point.box < len(boxes):
            raise TeacherError(f"point ({point.x}, {point.y}) belongs to box {point.box}, of {len(boxes)}")


def refuse_points(teacher: str, points: Sequence[Point]) -> None:
    """Refuse all points, for a teacher that takes none.

    Raises:
        TeacherError: there are points.
    """
    if points:
        raise TeacherError(f"the {teacher} teacher takes boxes only, no points")


def points_by_box(points: Sequence[Point], boxes: int) -> list[list[Point]]:
    """The points of each of so many boxes, in their order."""
    groups: list[list[Point]] = [[] for _ in range(boxes)]
    for point in points:
        groups[point.box].append(point)
    return groups


def grid_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """(height, width) of the grid for an image of that size: its longer side is at most `side`, never enlarged."""
    height, width = size
    if side is None or max(size) <= side:
        return size
    scale = side / max(size)
    return max(1, round(height * scale)), max(1, round(width * scale))


def box_on_grid(box: Box, size: tuple[int, int], grid: tuple[int, int]) -> Box:
    """The cells of a grid whose centres lie in a box of the image, at least one in each direction."""
    ends = []
    for start, stop, pixels, cells in ((box.x0, box.x1, size[1], grid[1]), (box.y0, box.y1, size[0], grid[0])):
        first = min(math.ceil(start * cells / pixels - 0.5), cells - 1)
        ends.append((first, max(first + 1, math.ceil(stop * cells / pixels - 0.5))))
    (x0, x1), (y0, y1) = ends
    return Box(x0, y0, x1, y1)
