"""The control: the filled box itself. Whatever a real teacher is worth shows against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask, check_request


class BoxTeacher:
    """Calls every pixel of a box tampered; has no estimate of quality."""

    name = "box"
    threaded = True
    judged = False

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> list[TeacherMask]:
        """One filled box a box; see `Teacher.masks`."""
        check_request(image, boxes)
        found = []
        for box in boxes:
            filled = np.zeros(image.shape[:2], dtype=np.float32)
            filled[box.slices] = 1.0
            found.append(TeacherMask(filled))
        return found
