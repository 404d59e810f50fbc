"""What the pseudo mask of some boxes will look like: small, box by box, each box asked for once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.machine import usable_cores
from boxpromptiml.regions import Box
from boxpromptiml.teachers import (
    Encoding,
    Point,
    Teacher,
    box_on_grid,
    check_prompts,
    flags_for,
    grid_size,
    with_fallback,
)
from boxpromptiml.teachers.prompts import points_by_box
from boxpromptiml.web.byte_cache import ByteCache

# Longer side of a preview, pixels.
PREVIEW_SIDE = 1024


@dataclass(frozen=True, eq=False, slots=True)
class BoxPreview:
    """One box's part of a preview.

    Attributes:
        mask: fallback included, uint8 (h, w) of the preview's grid, probability x 255.
        flags: reasons for suspicion, counted on that grid.
        quality: the teacher's own estimate of IoU, or None.
        fallback: what replaced the teacher's mask, or None.
        draft: whether it is a rough one.
    """

    mask: NDArray[np.uint8]
    flags: tuple[str, ...]
    quality: float | None
    fallback: str | None
    draft: bool


@dataclass(frozen=True, eq=False, slots=True)
class Preview:
    """What the pseudo mask of some boxes will look like.

    Attributes:
        mask: union of the boxes' masks, uint8 (h, w), probability x 255, longer side at most `PREVIEW_SIDE`.
        boxes: the parts.
        cached: whether the image was encoded before it was asked for.
        seconds: from the request to the answer.
    """

    mask: NDArray[np.uint8]
    boxes: list[BoxPreview]
    cached: bool
    seconds: float

    @property
    def draft(self) -> bool:
        """Whether any box's mask is a rough one: the exact one takes longer."""
        return any(box.draft for box in self.boxes)


class Previews:
    """Previews of single boxes, kept: who moves one box of five waits for one.

    Args:
        limit: bytes that are kept at most.
    """

    def __init__(self, limit: int) -> None:
        self._kept: ByteCache[BoxPreview] = ByteCache(limit)
        self._hands = ThreadPoolExecutor(usable_cores(), thread_name_prefix="preview")

    def of(
        self,
        teacher: Teacher,
        encoding: Encoding,
        image: Hashable,
        boxes: Sequence[Box],
        points: Sequence[Point],
        *,
        exact: bool,
        check: Callable[[], None],
    ) -> list[BoxPreview]:
        """One preview a box.

        Args:
            teacher: whose encoding it is.
            encoding: of the image.
            image: what tells image and teacher apart from all others.
            boxes: in pixels of the image.
            points: that belong to them.
            exact: no drafts. A draft is never given where the exact mask is known already.
            check: called between boxes of an exact preview; may raise to stop.

        Raises:
            TeacherError: as `Teacher.decode`.
        """
        check_prompts(encoding.size, boxes, points)
        rough = teacher.drafts and not exact

        def one(box: Box, clicks: list[Point]) -> BoxPreview:
            own = tuple(point._replace(box=0) for point in clicks)
            key = image, box, own
            found = self._kept.get((*key, False)) or (self._kept.get((*key, True)) if rough else None)
            if found is None:
                found = _ask(teacher, encoding, box, own, draft=rough)
                self._kept.put((*key, found.draft), found, found.mask.nbytes)
            return found

        groups = points_by_box(points, len(boxes))
        if teacher.threaded and rough:
            return list(self._hands.map(one, boxes, groups))
        # Exact masks take their time: one core, so that the others answer what somebody waits for.
        answers = []
        for box, clicks in zip(boxes, groups, strict=True):
            check()
            answers.append(one(box, clicks))
        return answers

    def close(self) -> None:
        """Begin nothing more."""
        self._hands.shutdown(wait=False, cancel_futures=True)


def as_preview(boxes: list[BoxPreview], size: tuple[int, int], *, cached: bool, seconds: float) -> Preview:
    """The previews of the boxes of an image of that (height, width) as one."""
    empty = np.zeros(grid_size(size, PREVIEW_SIDE), dtype=np.uint8)
    return Preview(reduce(np.maximum, (box.mask for box in boxes), empty), boxes, cached, seconds)


def _ask(teacher: Teacher, encoding: Encoding, box: Box, points: Sequence[Point], *, draft: bool) -> BoxPreview:
    (mask,) = teacher.decode(encoding, [box], points, side=PREVIEW_SIDE, draft=draft)
    place = box_on_grid(box, encoding.size, grid_size(encoding.size, PREVIEW_SIDE))
    flags = flags_for(mask, place) if teacher.judged else ()
    final, fallback = with_fallback(mask, place, flags, "keep" if points else "ellipse")
    pixels = np.rint(final.probability * 255.0).astype(np.uint8)
    return BoxPreview(pixels, flags, mask.quality, fallback, draft)
