"""What a person says of a pseudo mask: a verdict, or a better mask painted by hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.errors import ConflictError, DatasetError
from boxpromptiml.images import save_png
from boxpromptiml.pseudolabels.files import PERSON, mask_path, remove_superseded
from boxpromptiml.pseudolabels.staleness import boxes_digest, is_stale

Verdict = Literal["accepted", "rejected"]


def store_verdict(dataset: Dataset, image: str, verdict: Verdict | None, *, expected_version: int) -> ImageRecord:
    """Accept or reject the pseudo mask of an image, or take that back; returns the stored record.

    Raises:
        UnknownImageError: the dataset does not know the image.
        DatasetError: the image has no pseudo mask, or the file of the one to accept is gone.
        ConflictError: somebody changed the image's record since.
    """
    record = _expected(dataset, image, expected_version)
    if record.pseudo is None:
        raise DatasetError(f"{image}: has no pseudo mask to judge; make one with  boxpromptiml pseudo-label")
    if verdict == "accepted" and not dataset.path(record.pseudo.path).is_file():
        raise DatasetError(f"{image}: its pseudo mask {record.pseudo.path} is gone; run the teacher again")
    if record.review != verdict:
        dataset.put(replace(record, review=verdict), expected_version=expected_version)
    return dataset.get(image)


def store_correction(dataset: Dataset, image: str, mask: NDArray[np.uint8], *, expected_version: int) -> ImageRecord:
    """Store a mask that a person painted: teacher `person`, accepted; returns the stored record.

    The file is written first, under a name that holds a digest of its content, then the record in one transaction.
    The settings say what it was made from: ``{"boxes": digest, "mask": digest, "from": {"teacher", "settings"} or
    None}``. No later run of a teacher replaces it unless a person rejects it.

    Args:
        dataset: where to.
        image: which one.
        mask: uint8 (h, w) of the image's own size, probability x 255.
        expected_version: of the record that the person saw.

    Raises:
        UnknownImageError: the dataset does not know the image.
        DatasetError: another size, a mask without a pixel above 127, an image that is not labelled tampered, a file
            that cannot be written.
        ConflictError: somebody changed the image's record since.
    """
    record = _expected(dataset, image, expected_version)
    if record.label != "tampered":
        raise DatasetError(f"{image}: is not labelled tampered; draw a box around what the mask shows first")
    if mask.dtype != np.uint8 or mask.shape != (record.height, record.width):
        given = " x ".join(map(str, mask.shape[::-1]))
        raise DatasetError(f"{image}: the mask is {given} pixels, the image {record.width} x {record.height}")
    if not (mask > 127).any():
        raise DatasetError(f"{image}: the mask is empty; label the image authentic if nothing was tampered with")
    settings: dict[str, Any] = {
        "boxes": boxes_digest(record.boxes),
        "mask": hashlib.sha256(mask.tobytes()).hexdigest()[:16],
        "from": _origin(record.pseudo),
    }
    path = mask_path(PERSON, image, {"mask": settings["mask"]})
    try:
        save_png(dataset.path(path), mask)
    except OSError as error:
        raise DatasetError(f"{dataset.path(path)}: cannot be written ({error.strerror or error})") from error
    number = len(record.boxes)
    pseudo = PseudoMask(path, PERSON, settings, (None,) * number, ((),) * number, (None,) * number)
    dataset.put(replace(record, pseudo=pseudo, review="accepted"), expected_version=expected_version)
    remove_superseded(dataset, image, record.pseudo)
    return dataset.get(image)


def is_protected(record: ImageRecord) -> bool:
    """Whether no automatic run may replace the record's pseudo mask: a person accepted it, or painted it.

    The acceptance of a teacher's mask holds for the boxes that it was made of: while the image has others, the mask may
    be made anew. A painted mask stays protected whatever the boxes, unless it was rejected.
    """
    if record.pseudo is None:
        return False
    if record.pseudo.teacher == PERSON:
        return record.review != "rejected"
    return record.review == "accepted" and not is_stale(record)


def _expected(dataset: Dataset, image: str, version: int) -> ImageRecord:
    record = dataset.get(image)
    if record.version != version:
        raise ConflictError(
            f"{image}: somebody else changed it (version {record.version}, expected {version}); load it again and redo"
        )
    return record


def _origin(pseudo: PseudoMask | None) -> dict[str, Any] | None:
    """The teacher's mask that a painted one goes back to, through any number of corrections."""
    if pseudo is None:
        return None
    if pseudo.teacher == PERSON:
        origin: dict[str, Any] | None = pseudo.settings.get("from")
        return origin
    return {"teacher": pseudo.teacher, "settings": pseudo.settings}
