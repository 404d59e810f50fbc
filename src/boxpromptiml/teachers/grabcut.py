"""GrabCut (Rother, Kolmogorov, Blake 2004) on a box and its surroundings: the teacher that needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import TeacherError
from boxpromptiml.opencv import shrunk
from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask, check_image
from boxpromptiml.teachers.duplicates import find_duplicate
from boxpromptiml.teachers.prompts import Point, box_on_grid, check_prompts, grid_size, points_by_box
from boxpromptiml.teachers.seeds import Seed, trimap
from boxpromptiml.teachers.zooming import sampled, scaled_box

# Raised whenever the same settings start to give other masks, so that stored masks are made anew.
_ALGORITHM = 1
# Nats by which foreground is made cheaper, until the cut is tight.
_BIASES = (1.0, 2.5, 5.0)
# `work_side` of a draft: a cut of textured surfaces takes up to 2 s at 384 pixels, and 0.06 s at 96.
_DRAFT_SIDE = 96
# And its `search_side`: the search is a third of the time at 512 pixels.
_DRAFT_SEARCH_SIDE = 256


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
        limits: dict[str, Callable[[], bool]] = {
            "context": lambda: self.context > 0,
            "cores": lambda: len(self.cores) > 0 and all(0 <= core < 1 for core in self.cores),
            "iterations": lambda: self.iterations >= 1,
            "tightness": lambda: 0 <= self.tightness <= 1,
            "work_side": lambda: self.work_side >= 32,
            "search_side": lambda: self.search_side >= 64,
        }
        for name, is_fine in limits.items():
            told = f"grabcut: {name} = {getattr(self, name)}"
            try:
                if not is_fine():
                    raise TeacherError(f"{told} is out of range; see docs/teachers.md")
            except TypeError as error:
                raise TeacherError(f"{told} is of the wrong type; see docs/teachers.md") from error


@dataclass(frozen=True, eq=False, slots=True)
class GrabCutEncoding:
    """What is asked of an image again and again while boxes are drawn.

    Attributes:
        image: uint8 (h, w, 3): a box is cut out of all its pixels.
        search: the image as the search for duplicates sees it, uint8; None where there is no such search.
    """

    image: NDArray[np.uint8]
    search: NDArray[np.uint8] | None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.image.nbytes + (0 if self.search is None else self.search.nbytes)


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    """A soft mask, float32 on a grid of its own, of a frame of the image."""

    soft: NDArray[np.float32]
    frame: Box
    quality: float


class GrabCutTeacher:
    """GrabCut on the box with little context, a foreground core and a tightness prior; copy-moves by their source.

    Points are seeds: around each a small disc is foreground (positive) or background (negative) beyond doubt, and the
    core gives way to negative ones. Outside its box everything is background: a positive point must lie in its box.
    """

    name = "grabcut"
    threaded = True
    judged = True
    points = True
    drafts = True

    def __init__(self, **options: Any) -> None:
        self._options = GrabCutSettings(**options)
        self._draft = replace(
            self._options,
            work_side=min(self._options.work_side, _DRAFT_SIDE),
            search_side=min(self._options.search_side, _DRAFT_SEARCH_SIDE),
        )
        self.settings: dict[str, Any] = {"algorithm": _ALGORITHM, **asdict(self._options)}
        self.settings["cores"] = list(self._options.cores)

    def encode(self, image: NDArray[np.uint8]) -> GrabCutEncoding:
        """The image, and a small one to look for duplicates in; see `Teacher.encode`."""
        check_image(image)
        if not self._options.duplicates:
            return GrabCutEncoding(image, None)
        scale = min(1.0, self._options.search_side / max(image.shape[:2]))
        return GrabCutEncoding(image, shrunk(image, scale))

    def decode(
        self,
        encoding: GrabCutEncoding,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        side: int | None = None,
        draft: bool = False,
    ) -> list[TeacherMask]:
        """One soft mask a box, zero outside the box; see `Teacher.decode`."""
        check_prompts(encoding.size, boxes, points)
        groups = points_by_box(points, len(boxes))
        for box, group in zip(boxes, groups, strict=True):
            _check_points(box, group)
        grid = grid_size(encoding.size, side)
        options = self._draft if draft else self._options
        try:
            return [self._mask(encoding, box, group, grid, options) for box, group in zip(boxes, groups, strict=True)]
        except cv2.error as error:
            raise TeacherError(f"grabcut: OpenCV failed ({' '.join(str(error).split())})") from error

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()) -> list[TeacherMask]:
        """One soft mask a box, zero outside the box; see `Teacher.masks`."""
        return self.decode(self.encode(image), boxes, points)

    def _mask(
        self,
        encoding: GrabCutEncoding,
        box: Box,
        points: Sequence[Point],
        grid: tuple[int, int],
        options: GrabCutSettings,
    ) -> TeacherMask:
        found = _duplicate(encoding, box, points, options)
        if found is None:
            found = _cut_out(encoding.image, box, points, options)
        probability = np.zeros(grid, dtype=np.float32)
        place = box_on_grid(box, encoding.size, grid)
        probability[place.slices] = sampled(found.soft, found.frame, encoding.size, place, grid)
        return TeacherMask(probability, found.quality)


def _duplicate(encoding: GrabCutEncoding, box: Box, points: Sequence[Point], options: GrabCutSettings) -> _Found | None:
    if encoding.search is None:
        return None
    height, width = encoding.size
    small = shrunk(encoding.search, options.search_side / max(encoding.search.shape[:2]))
    scale = min(1.0, options.search_side / max(height, width))
    twin = find_duplicate(small, scaled_box(box, scale, small.shape[1], small.shape[0]))
    if twin is None:
        return None
    for x, y, positive, _ in points:
        row = min(int((y + 0.5) * scale), small.shape[0] - 1)
        if twin.mask[row, min(int((x + 0.5) * scale), small.shape[1] - 1)] != positive:
            return None  # The person knows better.
    return _Found(_softened(twin.mask.astype(np.float32)), Box(0, 0, width, height), twin.score)


def _check_points(box: Box, points: Sequence[Point]) -> None:
    for x, y, positive, _ in points:
        if positive and not (box.x0 <= x < box.x1 and box.y0 <= y < box.y1):
            raise TeacherError(
                f"grabcut: the positive point ({x}, {y}) is outside its box {tuple(box)}; enlarge the box"
            )


def _cut_out(image: NDArray[np.uint8], box: Box, points: Sequence[Point], options: GrabCutSettings) -> _Found:
    height, width = image.shape[:2]
    margin_x, margin_y = (max(6, round(options.context * side)) for side in (box.width, box.height))
    frame = Box(box.x0 - margin_x, box.y0 - margin_y, box.x1 + margin_x, box.y1 + margin_y).clipped(width, height)
    scale = min(1.0, options.work_side / max(frame.width, frame.height))
    pixels = shrunk(image[frame.slices], scale)
    shifted = Box(box.x0 - frame.x0, box.y0 - frame.y0, box.x1 - frame.x0, box.y1 - frame.y0)
    inner = scaled_box(shifted, scale, pixels.shape[1], pixels.shape[0])
    seeds = [Seed((x + 0.5 - frame.x0) * scale, (y + 0.5 - frame.y0) * scale, sure) for x, y, sure, _ in points]
    cuts = [
        _cut(pixels, trimap(pixels.shape[0], pixels.shape[1], inner, core, seeds), inner, options)
        for core in options.cores
    ]
    agreement = [_iou(a, b) for a, b in combinations(cuts, 2)]
    soft = _softened(np.mean(cuts, axis=0, dtype=np.float32))
    return _Found(soft, frame, float(np.mean(agreement)) if agreement else 1.0)


def _cut(pixels: NDArray[np.uint8], known: NDArray[np.uint8], box: Box, options: GrabCutSettings) -> NDArray[np.bool_]:
    """One run of GrabCut: bool (h, w) of the working frame."""
    if not 0 < _foreground(known).sum() < known.size:
        # A box of a few pixels in an image of a few pixels: nothing to compare.
        return _foreground(known)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    # The colour models start from a k-means with OpenCV's generator, which is one a thread: seeding it for each
    # cut makes the result independent of what was asked before, and by whom.
    cv2.setRNGSeed(0)
    state = known.copy()
    cv2.grabCut(pixels, state, None, background, foreground, options.iterations, cv2.GC_INIT_WITH_MASK)
    cut = _foreground(state)
    for bias in _BIASES:
        if _tightness(cut, box) >= options.tightness:
            break
        # The first five numbers are the weights of the mixture; OpenCV never normalises them, so that scaling
        # them adds a constant to the background's cost.
        dearer = background.copy()
        dearer[0, :5] *= np.exp(-bias)
        state = known.copy()
        cv2.grabCut(pixels, state, None, dearer, foreground.copy(), 1, cv2.GC_EVAL_FREEZE_MODEL)
        cut = _foreground(state)
    return cut


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
