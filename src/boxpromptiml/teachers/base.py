"""What every teacher is: a frozen judge that turns an image and boxes into one soft mask a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box


@dataclass(frozen=True, slots=True)
class TeacherMask:
    """A teacher's answer to one box.

    Attributes:
        probability: float32 (h, w) at the image's own size, in [0, 1]: how sure the teacher is that a pixel belongs to
            the tampered region.
        quality: the teacher's own estimate of the mask's IoU, in [0, 1]; None where it has none.
    """

    probability: NDArray[np.float32]
    quality: float | None = None


class Teacher(Protocol):
    """Turns an image and boxes into soft masks. Never trained, deterministic, not needed at inference.

    Attributes:
        name: id for records and folders, such as ``grabcut`` or ``sam:facebook/sam-vit-huge``.
        settings: everything that shapes the masks, as JSON values; equal settings give equal masks.
        threaded: whether `masks` may be called from several threads at once and gains by it.
        judged: whether its masks are flagged and replaced where suspicious; the control's mean what they are.
    """

    name: str
    settings: dict[str, Any]
    threaded: bool
    judged: bool

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> list[TeacherMask]:
        """One mask a box, in the order of the boxes.

        Args:
            image: uint8 (h, w, 3), RGB, upright.
            boxes: in pixels of that image.

        Raises:
            TeacherError: a box that is empty or not inside the image; a model that fails.
        """
        ...


def check_request(image: NDArray[np.uint8], boxes: Sequence[Box]) -> None:
    """Refuse what no teacher can answer.

    Raises:
        TeacherError: the image is not uint8 (h, w, 3), or a box is empty or not inside it.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise TeacherError(f"a teacher takes a uint8 image (h, w, 3), got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    for box in boxes:
        if not box.is_inside(width, height):
            raise TeacherError(f"box {tuple(box)} is empty or not inside the image of {width} x {height}; correct it")


def union_of_masks(masks: Sequence[TeacherMask], height: int, width: int) -> NDArray[np.float32]:
    """Pixelwise maximum of the masks of one image, float32 (h, w); zeros for none."""
    union = np.zeros((height, width), dtype=np.float32)
    for mask in masks:
        np.maximum(union, mask.probability, out=union)
    return union
