"""The control: the filled box itself. Whatever a real teacher is worth shows against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask, check_image
from boxpromptiml.teachers.prompts import Point, box_on_grid, check_prompts, grid_size, refuse_points


@dataclass(frozen=True, slots=True)
class BoxEncoding:
    """All that the control needs to know: the image's (height, width)."""

    size: tuple[int, int]
    nbytes: int = 0


class BoxTeacher:
    """Calls every pixel of a box tampered; has no estimate of quality."""

    name = "box"
    threaded = True
    judged = False
    points = False
    drafts = False

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def encode(self, image: NDArray[np.uint8]) -> BoxEncoding:
        """The image's size; see `Teacher.encode`."""
        check_image(image)
        return BoxEncoding((image.shape[0], image.shape[1]))

    def decode(
        self,
        encoding: BoxEncoding,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        side: int | None = None,
        draft: bool = False,
    ) -> list[TeacherMask]:
        """One filled box a box; see `Teacher.decode`."""
        check_prompts(encoding.size, boxes, points)
        refuse_points(self.name, points)
        grid = grid_size(encoding.size, side)
        found = []
        for box in boxes:
            filled = np.zeros(grid, dtype=np.float32)
            filled[box_on_grid(box, encoding.size, grid).slices] = 1.0
            found.append(TeacherMask(filled))
        return found

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()) -> list[TeacherMask]:
        """One filled box a box; see `Teacher.masks`."""
        return self.decode(self.encode(image), boxes, points)
