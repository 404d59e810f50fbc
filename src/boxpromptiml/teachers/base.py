"""What every teacher is: a frozen judge that turns an image and boxes into one soft mask a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers.prompts import Point, check_prompts


@dataclass(frozen=True, slots=True)
class TeacherMask:
    """A teacher's answer to one box.

    Attributes:
        probability: float32 (h, w) at the image's own size (or on the smaller grid that was asked for), in [0, 1]: how
            sure the teacher is that a pixel belongs to the tampered region.
        quality: the teacher's own estimate of the mask's IoU, in [0, 1]; None where it has none.
    """

    probability: NDArray[np.float32]
    quality: float | None = None


class Encoding(Protocol):
    """What a teacher has learnt of an image before any box is known; worth keeping while boxes are drawn.

    Attributes:
        size: (height, width) of the image.
        nbytes: memory that it takes.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def nbytes(self) -> int: ...


class Teacher(Protocol):
    """Turns an image and boxes into soft masks. Never trained, deterministic, not needed at inference.

    Attributes:
        name: id for records and folders, such as ``grabcut`` or ``sam:facebook/sam-vit-huge``.
        settings: everything that shapes the masks, as JSON values; equal settings give equal masks.
        threaded: whether it may be asked from several threads at once and gains by it.
        judged: whether its masks are flagged and replaced where suspicious; the control's mean what they are.
        points: whether it takes positive and negative points beside a box.
        drafts: whether a draft is another answer than the exact one.
    """

    name: str
    settings: dict[str, Any]
    threaded: bool
    judged: bool
    points: bool
    drafts: bool

    def encode(self, image: NDArray[np.uint8]) -> Encoding:
        """Everything about an image that does not depend on boxes.

        Args:
            image: uint8 (h, w, 3), RGB, upright. It may be kept: do not change it afterwards.

        Raises:
            TeacherError: an array of another kind; a model that fails.
        """
        ...

    def decode(
        self,
        encoding: Any,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        side: int | None = None,
        draft: bool = False,
    ) -> list[TeacherMask]:
        """One mask a box, in the order of the boxes.

        Args:
            encoding: of the image, by this teacher.
            boxes: in pixels of the image.
            points: clicks that belong to boxes.
            side: the masks on a grid whose longer side is at most so many pixels (see `grid_size`); None for the
                image's own size.
            draft: a rougher answer at once, where the exact one may take seconds. Teachers that have none give the
                exact one.

        Raises:
            TeacherError: a box that is empty or not inside the image, a point that the teacher cannot take, a model
                that fails.
        """
        ...

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()) -> list[TeacherMask]:
        """`decode` of `encode`: one mask a box at the image's own size.

        Raises:
            TeacherError: as `encode` and `decode`.
        """
        ...


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what no teacher can look at.

    Raises:
        TeacherError: the image is not uint8 (h, w, 3).
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise TeacherError(f"a teacher takes a uint8 image (h, w, 3), got {image.dtype} {image.shape}")


def check_request(image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()) -> None:
    """Refuse what no teacher can answer.

    Raises:
        TeacherError: the image is not uint8 (h, w, 3), a box is empty or not inside it, or a point is not inside it or
            belongs to no box.
    """
    check_image(image)
    check_prompts((image.shape[0], image.shape[1]), boxes, points)


def union_of_masks(masks: Sequence[TeacherMask], height: int, width: int) -> NDArray[np.float32]:
    """Pixelwise maximum of the masks of one image, float32 (h, w); zeros for none."""
    union = np.zeros((height, width), dtype=np.float32)
    for mask in masks:
        np.maximum(union, mask.probability, out=union)
    return union
