"""Boxes and points: what is refused, and where they lie on a smaller grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Point, box_on_grid, check_prompts, grid_size

BOX = Box(2, 3, 10, 12)


@pytest.mark.parametrize(
    ("boxes", "points", "message"),
    [
        ([Box(0, 0, 31, 5)], [], "empty or not inside the image of 30 x 20"),
        ([BOX], [Point(30, 5, True)], r"point \(30, 5\) is not inside the image of 30 x 20"),
        ([BOX], [Point(-1, 5, False)], "is not inside"),
        ([BOX], [Point(3, 5, True, 1)], "belongs to box 1, of 1"),
        ([], [Point(3, 5, True)], "belongs to box 0, of 0"),
    ],
)
def test_prompts_that_make_no_sense(boxes: list[Box], points: list[Point], message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        check_prompts((20, 30), boxes, points)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((3000, 4000), 1024, (768, 1024)),
        ((4000, 3000), 1024, (1024, 768)),
        ((600, 800), 1024, (600, 800)),  # never enlarged
        ((3000, 4000), None, (3000, 4000)),
        ((1, 5000), 100, (1, 100)),  # never empty
    ],
)
def test_grid_size(size: tuple[int, int], side: int | None, expected: tuple[int, int]) -> None:
    assert grid_size(size, side) == expected


sides = st.integers(1, 5000)


@given(sides, sides, st.integers(1, 2000), st.data())
def test_a_box_on_a_grid_is_never_empty_nor_outside(height: int, width: int, side: int, data: st.DataObject) -> None:
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    grid = grid_size((height, width), side)
    found = box_on_grid(box, (height, width), grid)
    assert found.is_inside(grid[1], grid[0])
    if grid == (height, width):
        assert found == box
    # To within a cell and a half (a box thinner than a cell gets a whole one) it covers what the box covers.
    for got, wanted, cells, pixels in zip(found, box, grid[::-1] * 2, (width, height) * 2, strict=True):
        assert abs(got - wanted * cells / pixels) <= 1.5
    assert np.prod(grid) > 0
