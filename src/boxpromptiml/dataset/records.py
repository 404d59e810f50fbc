"""What a dataset knows of one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box

Label = Literal["tampered", "authentic"]
LABELS: tuple[Label, ...] = ("tampered", "authentic")
SPLITS = ("train", "val", "test")
REVIEWS = ("accepted", "rejected")

# How far the annotation of an image is, and the review of its pseudo mask.
State = Literal["todo", "boxed", "authentic", "skipped"]
STATES: tuple[State, ...] = ("todo", "boxed", "authentic", "skipped")
ReviewState = Literal["open", "accepted", "rejected", "none"]
REVIEW_STATES: tuple[ReviewState, ...] = ("open", "accepted", "rejected", "none")

# Far beyond any image; keeps absurd numbers of a manifest out of the store.
_MAX_SIDE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PseudoMask:
    """A teacher's mask and how it came about.

    Attributes:
        path: 8-bit grey PNG, probability x 255, relative to the dataset folder.
        teacher: id of the teacher, such as ``grabcut`` or ``sam:facebook/sam-vit-huge``.
        settings: everything that shapes the result: the teacher's settings, the fallback and a digest of the boxes.
        qualities: the teacher's own estimate of each box's mask IoU, in [0, 1]; None where it has none.
        flags: one tuple of reasons for suspicion a box, in the order of the regions; empty = nothing suspicious.
        fallbacks: one entry a box: the name of the fallback that replaced the mask, or None.
    """

    path: str
    teacher: str
    settings: dict[str, Any] = field(default_factory=dict)
    qualities: tuple[float | None, ...] = ()
    flags: tuple[tuple[str, ...], ...] = ()
    fallbacks: tuple[str | None, ...] = ()

    @property
    def suspicious(self) -> bool:
        """Whether any box's mask was flagged."""
        return any(self.flags)

    @property
    def suspicion(self) -> float:
        """How much a person should look at this mask, in [0, 1]; see `suspicion_of`."""
        return suspicion_of(self.flags, self.qualities)


def suspicion_of(flags: Sequence[Sequence[str]], qualities: Sequence[float | None]) -> float:
    """Suspicion of the worst box's mask, in [0, 1]: 1 - quality / 2 ** number of flags. 0: nothing is suspicious.

    A mask without an estimate counts as one of quality 1. Under the default limits of the teachers (quality below
    0.75 is flagged) every flagged mask is thus at 0.5 or above and every other one at 0.25 or below.

    Args:
        flags: reasons for suspicion, one tuple a box.
        qualities: the teacher's own estimates of IoU, one a box; clipped to [0, 1].
    """
    worst = 0.0
    for reasons, quality in zip_longest(flags, qualities):
        trust = 1.0 if quality is None else min(1.0, max(0.0, quality))
        worst = max(worst, 1.0 - trust / 2.0 ** len(reasons or ()))
    return worst


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset; immutable, change it with `dataclasses.replace` and `Dataset.put`.

    Attributes:
        image: path relative to the dataset folder, with forward slashes; identifies the image.
        width: of the upright image, pixels.
        height: of the upright image, pixels.
        label: ``tampered``, ``authentic`` or None (not yet looked at).
        boxes: coarse boxes around the tampered regions.
        mask: human truth, 8-bit grey PNG (> 127 = tampered), relative path; None if there is none.
        pseudo: the teacher's mask, None if there is none yet.
        split: ``train``, ``val``, ``test`` or None.
        group: id shared by all images made from the same source photographs; a split never cuts a group.
        kind: kind of manipulation where known: ``splice``, ``copy-move``, ``removal``, ``retouch`` ...
        seconds: active annotation time.
        review: a person's verdict on the pseudo mask: ``accepted``, ``rejected`` or None.
        skipped: a person looked and decided not to annotate now. Boxes or the label authentic clear it: a record that
            has either is never skipped, whatever it was made with.
        version: counts the changes of this record; 0 before it is stored.
    """

    image: str
    width: int
    height: int
    label: Label | None = None
    boxes: tuple[Box, ...] = ()
    mask: str | None = None
    pseudo: PseudoMask | None = None
    split: str | None = None
    group: str | None = None
    kind: str | None = None
    seconds: float | None = None
    review: str | None = None
    skipped: bool = False
    version: int = 0

    def __post_init__(self) -> None:
        if self.skipped and (self.boxes or self.label == "authentic"):
            object.__setattr__(self, "skipped", False)

    @property
    def state(self) -> State:
        """How far the annotation is: ``boxed``, ``authentic``, ``skipped``, or ``todo`` for what is left to do."""
        if self.boxes:
            return "boxed"
        if self.label == "authentic":
            return "authentic"
        return "skipped" if self.skipped else "todo"

    @property
    def review_state(self) -> ReviewState:
        """How far the review is: ``open`` with a pseudo mask that nobody has judged.

        ``none`` without one, and for authentic images, where a mask that was made before has no use.
        """
        if self.pseudo is None or self.label == "authentic":
            return "none"
        if self.review == "accepted":
            return "accepted"
        return "rejected" if self.review == "rejected" else "open"


def check_record(record: ImageRecord) -> None:
    """Refuse a record that contradicts itself.

    Raises:
        DatasetError: naming the image and what is wrong: an unknown label, split or review, a size below one pixel,
            a box that is empty or not inside the image, boxes on an authentic image, negative seconds.
    """
    name = record.image
    if not name or "\0" in name:
        raise DatasetError(f"{name!r} is not the path of an image")
    if not (1 <= record.width <= _MAX_SIDE and 1 <= record.height <= _MAX_SIDE):
        raise DatasetError(f"{name}: size {record.width} x {record.height} is not possible")
    for field_name, value, allowed in (
        ("label", record.label, LABELS),
        ("split", record.split, SPLITS),
        ("review", record.review, REVIEWS),
    ):
        if value is not None and value not in allowed:
            raise DatasetError(f"{name}: {field_name} {value!r} is not one of {', '.join(allowed)}")
    for number, box in enumerate(record.boxes, start=1):
        _check_box(record, number, box)
    if record.boxes and record.label == "authentic":
        raise DatasetError(f"{name}: has boxes but is labelled authentic; label it tampered or remove the boxes")
    if record.seconds is not None and not (math.isfinite(record.seconds) and record.seconds >= 0):
        raise DatasetError(f"{name}: seconds must be 0 or more, got {record.seconds}")


def _check_box(record: ImageRecord, number: int, box: Box) -> None:
    sides = list(box)
    if not all(float(side).is_integer() for side in sides):
        raise DatasetError(f"{record.image}: box {number} {sides} is not in whole pixels")
    if box.is_inside(record.width, record.height):
        return
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise DatasetError(
            f"{record.image}: box {number} {sides} is empty; boxes are [x0, y0, x1, y1] with x0 < x1, y0 < y1"
        )
    raise DatasetError(
        f"{record.image}: box {number} {sides} is not inside the image of {record.width} x {record.height} pixels"
    )
