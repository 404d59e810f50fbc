"""What is suspicious about a teacher's mask, and what to put in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask

FLAGS = ("empty", "far-smaller-than-box", "fills-box", "leaves-box", "low-quality")
FALLBACKS = ("ellipse", "box", "keep")


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """From where on a mask is suspicious, and which suspicions call for the fallback. Areas are counted above 0.5.

    The defaults were measured with GrabCut on CASIA v1 (docs/teachers.md): a mask of low quality is wrong four times
    as often as any, and still better than anything that could be put in its place; so it is flagged and kept.

    Attributes:
        far_smaller: area / area of the box below this.
        fills: share of the box covered above this.
        leaves: share of the mask outside the box above this.
        low_quality: the teacher's own estimate of IoU below this.
        replace: the flags that call for the fallback.
    """

    far_smaller: float = 0.15
    fills: float = 0.95
    leaves: float = 0.2
    low_quality: float = 0.75
    replace: tuple[str, ...] = ("empty", "far-smaller-than-box", "fills-box")

    def __post_init__(self) -> None:
        for name in ("far_smaller", "fills", "leaves", "low_quality"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise TeacherError(f"{name} = {value} must be a number in [0, 1]")
        if type(self.replace) not in (tuple, list) or not set(self.replace) <= set(FLAGS):
            raise TeacherError(f"replace = {self.replace} must be a list of flags: {', '.join(FLAGS)}")


def flags_for(mask: TeacherMask, box: Box, limits: QualityLimits | None = None) -> tuple[str, ...]:
    """Reasons to distrust a mask, in the order of `FLAGS`; empty if there are none.

    Args:
        mask: the teacher's answer to `box`.
        box: inside the image.
        limits: thresholds; None for the defaults.
    """
    limits = limits or QualityLimits()
    binary = mask.probability > 0.5
    whole, inside = int(binary.sum()), int(binary[box.slices].sum())
    flags = []
    if whole == 0:
        flags.append("empty")
    elif inside < limits.far_smaller * box.area:
        flags.append("far-smaller-than-box")
    if inside > limits.fills * box.area:
        flags.append("fills-box")
    if whole - inside > limits.leaves * whole:
        flags.append("leaves-box")
    if mask.quality is not None and mask.quality < limits.low_quality:
        flags.append("low-quality")
    return tuple(flags)


def with_fallback(
    mask: TeacherMask, box: Box, flags: tuple[str, ...], fallback: str, limits: QualityLimits | None = None
) -> tuple[TeacherMask, str | None]:
    """The mask to store for a box, and the name of the fallback that replaced the teacher's (None: it was kept).

    Args:
        mask: the teacher's answer to `box`.
        box: inside the image.
        flags: of the mask, from `flags_for`.
        fallback: ``ellipse`` (the one that the box circumscribes), ``box`` (all of it) or ``keep`` (the teacher's mask
            whatever its flags).
        limits: its `replace` names the flags that call for the fallback; None for the defaults.

    Raises:
        TeacherError: `fallback` is not one of `FALLBACKS`.
    """
    check_fallback(fallback)
    limits = limits or QualityLimits()
    if fallback == "keep" or not set(flags) & set(limits.replace):
        return mask, None
    height, width = mask.probability.shape
    return TeacherMask(_SHAPES[fallback](box, height, width), mask.quality), fallback


def check_fallback(fallback: str) -> None:
    """Raise TeacherError unless `fallback` is one of `FALLBACKS`."""
    if fallback not in FALLBACKS:
        raise TeacherError(f"fallback {fallback!r} is not one of {', '.join(FALLBACKS)}")


def _filled(box: Box, height: int, width: int) -> NDArray[np.float32]:
    shape = np.zeros((height, width), dtype=np.float32)
    shape[box.slices] = 1.0
    return shape


def _ellipse(box: Box, height: int, width: int) -> NDArray[np.float32]:
    """The ellipse that the box circumscribes."""
    shape = np.zeros((height, width), dtype=np.float32)
    y, x = np.ogrid[: box.height, : box.width]
    shape[box.slices] = np.hypot((y + 0.5) / box.height * 2 - 1, (x + 0.5) / box.width * 2 - 1) <= 1.0
    return shape


_SHAPES: dict[str, Callable[[Box, int, int], NDArray[np.float32]]] = {"box": _filled, "ellipse": _ellipse}
