"""GrabCut (Rother, Kolmogorov, Blake 2004) on a box and its surroundings: the teacher that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask, check_request
from boxpromptiml.teachers.duplicates import find_duplicate

# Raised whenever the same settings start to give other masks, so that stored masks are made anew.
_ALGORITHM = 1
# Nats by which foreground is made cheaper, until the cut is tight.
_BIASES = (1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class GrabCutSettings:
    """Settings of the `grabcut` teacher.

    Attributes:
        context: width of the surroundings that are looked at, as a share of the box's sides. Little is better than
            much: far away the image may hold the colours of the region again, as in every copy-move.
        cores: one cut for each; inside an ellipse of that share of the box's half axes every pixel is foreground, so
            that a cut cannot collapse to nothing. The soft mask is the mean of the cuts, its quality their agreement.
        iterations: GrabCut iterations a cut.
        tightness: a drawn box touches its region: while the cut spans less than this share of the box's width or
            height, foreground is made cheaper, in three steps.
        work_side: boxes with surroundings larger than this many pixels are scaled down for the cut.
        duplicates: whether to look for copy-move first (see `duplicates.py`).
        search_side: long side of the image in that search, pixels.
    """

    context: float = 0.2
    cores: tuple[float, ...] = (0.2, 0.35, 0.5)
    iterations: int = 2
    tightness: float = 0.7
    work_side: int = 384
    duplicates: bool = True
    search_side: int = 512

    def __post_init__(self) -> None:
        try:
            self._check()
        except TypeError as error:
            raise TeacherError(f"grabcut: a setting is of the wrong type ({error}); see docs/teachers.md") from error

    def _check(self) -> None:
        limits = {
            "context": self.context > 0,
            "cores": len(self.cores) > 0 and all(0 <= core < 1 for core in self.cores),
            "iterations": self.iterations >= 1,
            "tightness": 0 <= self.tightness <= 1,
            "work_side": self.work_side >= 32,
            "search_side": self.search_side >= 64,
        }
        for name, fine in limits.items():
            if not fine:
                raise TeacherError(f"grabcut: {name} = {getattr(self, name)} is out of range; see docs/teachers.md")


class GrabCutTeacher:
    """GrabCut on the box with little context, a foreground core and a tightness prior; copy-moves by their source."""

    name = "grabcut"
    threaded = True
    judged = True

    def __init__(self, **options: Any) -> None:
        self._options = GrabCutSettings(**options)
        self.settings: dict[str, Any] = {"algorithm": _ALGORITHM, **asdict(self._options)}
        self.settings["cores"] = list(self._options.cores)

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> list[TeacherMask]:
        """One soft mask a box, zero outside the box; see `Teacher.masks`."""
        check_request(image, boxes)
        try:
            return [self._mask(image, box) for box in boxes]
        except cv2.error as error:
            raise TeacherError(f"grabcut: OpenCV failed ({' '.join(str(error).split())})") from error

    def _mask(self, image: NDArray[np.uint8], box: Box) -> TeacherMask:
        found = self._duplicate(image, box) if self._options.duplicates else None
        content, quality = found if found is not None else self._cut_out(image, box)
        probability = np.zeros(image.shape[:2], dtype=np.float32)
        probability[box.slices] = content
        return TeacherMask(probability, quality)

    def _duplicate(self, image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.float32], float] | None:
        height, width = image.shape[:2]
        scale = min(1.0, self._options.search_side / max(height, width))
        small = _shrunk(image, scale)
        twin = find_duplicate(small, _scaled(box, scale, small.shape[1], small.shape[0]))
        if twin is None:
            return None
        soft = _softened(twin.mask.astype(np.float32))
        return _enlarged(soft, box, Box(0, 0, width, height)), twin.score

    def _cut_out(self, image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.float32], float]:
        options = self._options
        height, width = image.shape[:2]
        margin_x, margin_y = (max(6, round(options.context * side)) for side in (box.width, box.height))
        frame = Box(box.x0 - margin_x, box.y0 - margin_y, box.x1 + margin_x, box.y1 + margin_y).clipped(width, height)
        scale = min(1.0, options.work_side / max(frame.width, frame.height))
        pixels = _shrunk(image[frame.slices], scale)
        shifted = Box(box.x0 - frame.x0, box.y0 - frame.y0, box.x1 - frame.x0, box.y1 - frame.y0)
        inner = _scaled(shifted, scale, pixels.shape[1], pixels.shape[0])
        cuts = [self._cut(pixels, inner, core) for core in options.cores]
        agreement = [_iou(a, b) for a, b in combinations(cuts, 2)]
        soft = _softened(np.mean(cuts, axis=0, dtype=np.float32))
        return _enlarged(soft, box, frame), float(np.mean(agreement)) if agreement else 1.0

    def _cut(self, pixels: NDArray[np.uint8], box: Box, core: float) -> NDArray[np.bool_]:
        """One run of GrabCut: bool (h, w) of the working frame."""
        trimap = _trimap(pixels.shape[0], pixels.shape[1], box, core)
        if not 0 < _foreground(trimap).sum() < trimap.size:
            # A box of a few pixels in an image of a few pixels: nothing to compare.
            return _foreground(trimap)
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        # The colour models start from a k-means with OpenCV's generator, which is one a thread: seeding it for each
        # cut makes the result independent of what was asked before, and by whom.
        cv2.setRNGSeed(0)
        state = trimap.copy()
        cv2.grabCut(pixels, state, None, background, foreground, self._options.iterations, cv2.GC_INIT_WITH_MASK)
        cut = _foreground(state)
        for bias in _BIASES:
            if _tightness(cut, box) >= self._options.tightness:
                break
            # The first five numbers are the weights of the mixture; OpenCV never normalises them, so that scaling
            # them adds a constant to the background's cost.
            dearer = background.copy()
            dearer[0, :5] *= np.exp(-bias)
            state = trimap.copy()
            cv2.grabCut(pixels, state, None, dearer, foreground.copy(), 1, cv2.GC_EVAL_FREEZE_MODEL)
            cut = _foreground(state)
        return cut


def _trimap(height: int, width: int, box: Box, core: float) -> NDArray[np.uint8]:
    trimap = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
    y, x = np.ogrid[: box.height, : box.width]
    v = np.abs((y + 0.5) / box.height * 2 - 1)
    u = np.abs((x + 0.5) / box.width * 2 - 1)
    content = trimap[box.slices]
    content[:] = cv2.GC_PR_FGD
    content[np.hypot(u, v) < core] = cv2.GC_FGD
    if (trimap == cv2.GC_BGD).sum() < 8:
        # The box is the whole image: its outermost edge must do as background.
        content[np.maximum(u, v) > 0.96] = cv2.GC_BGD
    return trimap


def _foreground(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _tightness(cut: NDArray[np.bool_], box: Box) -> float:
    """The smaller of the shares of the box's width and height that the cut spans."""
    content = cut[box.slices]
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    if rows.size == 0:
        return 0.0
    return float(min((rows[-1] - rows[0] + 1) / box.height, (columns[-1] - columns[0] + 1) / box.width))


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def _softened(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur by about a pixel: a hard edge claims more than a cut through a pixel grid knows."""
    blurred: NDArray[np.float32] = cv2.GaussianBlur(mask, (0, 0), 0.7)
    return blurred


def _shrunk(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale >= 1.0:
        return np.ascontiguousarray(image)
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: NDArray[np.uint8] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small


def _scaled(box: Box, scale: float, width: int, height: int) -> Box:
    """The box in a scaled image of that size, rounded outward."""
    x0, y0 = (int(np.floor(v * scale)) for v in (box.x0, box.y0))
    x1, y1 = (int(np.ceil(v * scale)) for v in (box.x1, box.y1))
    return Box(min(x0, width - 1), min(y0, height - 1), max(x1, x0 + 1), max(y1, y0 + 1)).clipped(width, height)


def _enlarged(soft: NDArray[np.float32], box: Box, frame: Box) -> NDArray[np.float32]:
    """The content of `box` out of a soft mask of `frame`, at the image's own scale."""
    if soft.shape != (frame.height, frame.width):
        soft = cv2.resize(soft, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR)
    shifted = Box(box.x0 - frame.x0, box.y0 - frame.y0, box.x1 - frame.x0, box.y1 - frame.y0)
    return np.clip(soft[shifted.slices], 0.0, 1.0)
