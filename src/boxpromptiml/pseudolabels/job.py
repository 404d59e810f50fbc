"""One image: decode, ask the teacher, judge the answer, write the mask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import DEFAULT_MAX_PIXELS, open_image, save_png
from boxpromptiml.pseudolabels.files import mask_path, remove_superseded
from boxpromptiml.pseudolabels.staleness import boxes_digest, is_stale
from boxpromptiml.teachers import (
    Point,
    QualityLimits,
    Teacher,
    TeacherMask,
    check_fallback,
    flags_for,
    union_of_masks,
    with_fallback,
)


@dataclass(frozen=True)
class Job:
    """What is done to every image of a run.

    Attributes:
        root: the dataset folder.
        teacher: the loaded teacher.
        fallback: see `teachers.with_fallback`.
        limits: from where on a mask is flagged.
    """

    root: Path
    teacher: Teacher
    fallback: str = "ellipse"
    limits: QualityLimits = field(default_factory=QualityLimits)

    def __post_init__(self) -> None:
        check_fallback(self.fallback)

    def points(self, record: ImageRecord) -> tuple[Point, ...]:
        """The points that a person gave for these boxes when the record's mask was made, if the teacher takes points.

        They are as much a part of the annotation as the boxes: a later run honours them.
        """
        if record.pseudo is None or not self.teacher.points or is_stale(record):
            return ()
        return tuple(Point(*point) for point in record.pseudo.settings.get("points", ()))

    def settings(self, record: ImageRecord, points: Sequence[Point] = ()) -> dict[str, Any]:
        """Everything that shapes the record's mask; a mask with other settings is made anew."""
        whole = {
            **self.teacher.settings,
            "fallback": self.fallback,
            "limits": asdict(self.limits),
            "boxes": boxes_digest(record.boxes),
        }
        if points:
            whole["points"] = [list(point) for point in points]
        # As it comes back from the store.
        stored: dict[str, Any] = json.loads(json.dumps(whole))
        return stored

    def is_done(self, record: ImageRecord) -> bool:
        """Whether the record's mask was made by this teacher with these settings and boxes, and is there."""
        pseudo = record.pseudo
        return (
            pseudo is not None
            and pseudo.teacher == self.teacher.name
            and pseudo.settings == self.settings(record, self.points(record))
            and (self.root / pseudo.path).is_file()
        )

    def decode(self, record: ImageRecord) -> NDArray[np.uint8]:
        """The record's image; see `open_recorded`."""
        return open_recorded(self.root, record)

    def masks(self, image: NDArray[np.uint8], record: ImageRecord) -> list[TeacherMask]:
        """The teacher's answer to the record's boxes and points.

        Raises:
            TeacherError: it fails.
        """
        return self.teacher.masks(image, record.boxes, self.points(record))

    def finish(
        self, record: ImageRecord, masks: Sequence[TeacherMask], points: Sequence[Point] | None = None
    ) -> PseudoMask:
        """Flag and, where needed, replace the masks; write their union; return the record of it.

        Args:
            record: whose boxes were asked for.
            masks: the teacher's answer, one a box.
            points: that it was given beside the boxes; None for those of the record (`points`).

        Raises:
            DatasetError: the file cannot be written.
        """
        points = self.points(record) if points is None else points
        steered = {point.box for point in points}
        flags = tuple(
            flags_for(mask, box, self.limits) if self.teacher.judged else ()
            for mask, box in zip(masks, record.boxes, strict=True)
        )
        final = [
            # Where a person shows the way with points, the teacher's answer to them stands.
            with_fallback(mask, box, reasons, "keep" if index in steered else self.fallback, self.limits)
            for index, (mask, box, reasons) in enumerate(zip(masks, record.boxes, flags, strict=True))
        ]
        union = union_of_masks([mask for mask, _ in final], record.height, record.width)
        settings = self.settings(record, points)
        relative = mask_path(self.teacher.name, record.image, settings)
        try:
            save_png(self.root / relative, np.rint(union * 255.0).astype(np.uint8))
        except OSError as error:
            raise DatasetError(f"{self.root / relative}: cannot be written ({error.strerror or error})") from error
        return PseudoMask(
            path=relative,
            teacher=self.teacher.name,
            settings=settings,
            qualities=tuple(None if mask.quality is None else round(mask.quality, 4) for mask in masks),
            flags=flags,
            fallbacks=tuple(fallback for _, fallback in final),
        )

    def store(self, dataset: Dataset, record: ImageRecord, pseudo: PseudoMask) -> None:
        """Store the record of a written mask in one transaction, then remove the file that it supersedes.

        A person's verdict on an older, different mask does not carry over.

        Raises:
            ConflictError: somebody changed the image's record since it was read.
        """
        old = record.pseudo
        same = old is not None and (old.teacher, old.settings) == (pseudo.teacher, pseudo.settings)
        changed = replace(record, pseudo=pseudo, review=record.review if same else None)
        dataset.put(changed, expected_version=record.version)
        remove_superseded(dataset, record.image, old)


def open_recorded(root: Path, record: ImageRecord, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """The image of a record, uint8 (h, w, 3).

    Raises:
        ImageError: it cannot be read, or has another size than recorded, so that the boxes mean nothing.
    """
    path = root / record.image
    image = open_image(path, max_pixels=max_pixels)
    height, width = image.shape[:2]
    if (width, height) != (record.width, record.height):
        raise ImageError(
            path,
            f"is {width} x {height} now, {record.width} x {record.height} when its boxes were drawn; "
            "import and annotate it again",
        )
    return image
