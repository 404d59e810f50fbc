"""One image: decode, ask the teacher, judge the answer, write the mask."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import open_image, save_png
from boxpromptiml.pseudolabels.staleness import boxes_digest
from boxpromptiml.teachers import (
    QualityLimits,
    Teacher,
    TeacherMask,
    check_fallback,
    flags_for,
    union_of_masks,
    with_fallback,
)

FOLDER = "pseudo"


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

    @property
    def slug(self) -> str:
        """Folder name of the teacher: no two teachers share one."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.teacher.name).strip("-.")

    def settings(self, record: ImageRecord) -> dict[str, Any]:
        """Everything that shapes the record's mask; a mask with other settings is made anew."""
        whole = {
            **self.teacher.settings,
            "fallback": self.fallback,
            "limits": asdict(self.limits),
            "boxes": boxes_digest(record.boxes),
        }
        # As it comes back from the store.
        stored: dict[str, Any] = json.loads(json.dumps(whole))
        return stored

    def path(self, record: ImageRecord) -> str:
        """Where the record's mask goes, relative to the dataset folder.

        The name holds a digest of image, teacher and settings: a file never changes its meaning, whenever a run is
        killed between writing the file and storing the record.
        """
        identity = json.dumps([record.image, self.teacher.name, self.settings(record)], sort_keys=True)
        digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(record.image).stem).strip("-.")[:100] or "image"
        return f"{FOLDER}/{self.slug}/{stem}-{digest}.png"

    def is_done(self, record: ImageRecord) -> bool:
        """Whether the record's mask was made by this teacher with these settings and boxes, and is there."""
        pseudo = record.pseudo
        return (
            pseudo is not None
            and pseudo.teacher == self.teacher.name
            and pseudo.settings == self.settings(record)
            and (self.root / pseudo.path).is_file()
        )

    def decode(self, record: ImageRecord) -> NDArray[np.uint8]:
        """The record's image.

        Raises:
            ImageError: it cannot be read, or has another size than recorded, so that the boxes mean nothing.
        """
        path = self.root / record.image
        image = open_image(path)
        height, width = image.shape[:2]
        if (width, height) != (record.width, record.height):
            raise ImageError(
                path,
                f"is {width} x {height} now, {record.width} x {record.height} when its boxes were drawn; "
                "import and annotate it again",
            )
        return image

    def finish(self, record: ImageRecord, masks: Sequence[TeacherMask]) -> PseudoMask:
        """Flag and, where needed, replace the masks; write their union; return the record of it.

        Raises:
            DatasetError: the file cannot be written.
        """
        flags = tuple(
            flags_for(mask, box, self.limits) if self.teacher.judged else ()
            for mask, box in zip(masks, record.boxes, strict=True)
        )
        final = [
            with_fallback(mask, box, reasons, self.fallback, self.limits)
            for mask, box, reasons in zip(masks, record.boxes, flags, strict=True)
        ]
        union = union_of_masks([mask for mask, _ in final], record.height, record.width)
        relative = self.path(record)
        try:
            save_png(self.root / relative, np.rint(union * 255.0).astype(np.uint8))
        except OSError as error:
            raise DatasetError(f"{self.root / relative}: cannot be written ({error.strerror or error})") from error
        return PseudoMask(
            path=relative,
            teacher=self.teacher.name,
            settings=self.settings(record),
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
        if old is not None and old.teacher == pseudo.teacher and old.path != pseudo.path:
            stale = self.root / old.path
            if stale.parent == self.root / FOLDER / self.slug:
                stale.unlink(missing_ok=True)
