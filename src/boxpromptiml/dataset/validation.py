"""Checking a dataset against its files: what would spoil training or evaluation, image by image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset.records import ImageRecord, check_record
from boxpromptiml.dataset.splits import crossing_groups
from boxpromptiml.dataset.store import Dataset
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import decode_image, mask_is_coloured, open_mask, read_image_file
from boxpromptiml.machine import in_threads
from boxpromptiml.progress import track
from boxpromptiml.regions import filled_boxes

Severity = Literal["error", "warning"]

# More of a mask than this outside all boxes is no imprecision of the boxes any more.
_OUTSIDE = 0.1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding.

    Attributes:
        image: the image's path in the dataset.
        message: what is wrong with it.
        severity: ``error`` spoils training or evaluation; ``warning`` may be meant.
    """

    image: str
    message: str
    severity: Severity


def validate(dataset: Dataset, *, workers: int | None = None) -> list[Problem]:
    """Decode every image and mask of a dataset and report all that does not hold together.

    Errors: images, masks and pseudo masks that are missing, unreadable or of another size than the record says; an
    empty mask on a tampered image, a non-empty one on an authentic image; boxes outside the image; source groups and
    identical files in more than one split; identical files with different labels.

    Warnings: masks with values between 0 and 255 (> 127 counts as tampered) or with colours; more than 10 % of a mask
    outside all boxes, a box without any of it; tampered images with neither boxes nor mask; identical files.

    Args:
        dataset: what to check.
        workers: threads that decode; default one a usable core.

    Returns:
        The problems, sorted by image.
    """
    found: list[Problem] = []
    digests: dict[str, list[ImageRecord]] = defaultdict(list)
    examined = in_threads(lambda record: (record, *_examined(dataset, record)), dataset.records(), threads=workers)
    for record, digest, problems in track(examined, "validate", total=dataset.count()):
        found += problems
        if digest is not None:
            digests[digest].append(record)
    found += _crossing(dataset.records())
    for same in digests.values():
        if len(same) > 1:
            found += _identical(same)
    return sorted(found)


def _examined(dataset: Dataset, record: ImageRecord) -> tuple[str | None, list[Problem]]:
    """Digest of the image file (None if it cannot be read) and what is wrong with the image by itself."""
    found: list[tuple[Severity, str]] = []
    digest = None
    path = dataset.path(record.image)
    try:
        data = read_image_file(path)
        digest = hashlib.sha256(data).hexdigest()
        height, width = decode_image(data, path).shape[:2]
        if (width, height) != (record.width, record.height):
            found.append(("error", f"is {width} x {height} pixels, recorded as {record.width} x {record.height}"))
    except ImageError as error:
        found.append(("error", f"image {error.reason}"))
    try:
        check_record(record)
    except DatasetError as error:
        found.append(("error", str(error).removeprefix(f"{record.image}: ")))
    mask = _read_mask(dataset, record, record.mask, "mask", found)
    if mask is not None:
        found += _mask_problems(record, mask)
        assert record.mask is not None
        if mask_is_coloured(dataset.path(record.mask)):
            found.append(("warning", f"mask {record.mask} is coloured; its luminance is used"))
    if record.pseudo is not None:
        _read_mask(dataset, record, record.pseudo.path, "pseudo mask", found)
    if record.label == "tampered" and not record.boxes and record.mask is None:
        found.append(("warning", "is tampered, but has neither boxes nor a mask"))
    return digest, [Problem(record.image, message, severity) for severity, message in found]


def _read_mask(
    dataset: Dataset, record: ImageRecord, name: str | None, what: str, found: list[tuple[Severity, str]]
) -> NDArray[np.uint8] | None:
    if name is None:
        return None
    try:
        mask = open_mask(dataset.path(name))
    except ImageError as error:
        found.append(("error", f"{what} {name} {error.reason}"))
        return None
    height, width = mask.shape
    if (width, height) != (record.width, record.height):
        size = f"{width} x {height} pixels, the image {record.width} x {record.height}"
        found.append(("error", f"{what} {name} is {size}"))
        return None
    return mask


def _mask_problems(record: ImageRecord, mask: NDArray[np.uint8]) -> Iterator[tuple[Severity, str]]:
    tampered = mask > 127
    area = int(tampered.sum())
    if record.label == "tampered" and area == 0:
        yield "error", f"is tampered, but its mask {record.mask} is empty"
    if record.label == "authentic" and area:
        yield "error", f"is authentic, but its mask {record.mask} is not empty"
    between = int(((mask > 0) & (mask < 255)).sum())
    if between:
        share = f"{between / mask.size:.1%} of its pixels"
        yield "warning", f"mask {record.mask} is not binary: {share} lie between 0 and 255; above 127 is tampered"
    if area and record.boxes:
        inside = filled_boxes(record.boxes, record.width, record.height)
        outside = int((tampered & ~inside).sum())
        if outside > _OUTSIDE * area:
            yield "warning", f"{outside / area:.0%} of the mask lies outside all boxes"
        for number, box in enumerate(record.boxes, start=1):
            if not tampered[box.slices].any():
                yield "warning", f"box {number} {list(box)} has nothing of the mask in it"


def _crossing(records: Iterator[ImageRecord]) -> Iterator[Problem]:
    for group, places in crossing_groups(records).items():
        text = ", ".join(f"{len(images)} in {split}" for split, images in sorted(places.items()))
        message = f"source group {group} is in several splits ({text}): the same photographs on both sides"
        yield Problem(min(min(images) for images in places.values()), message, "error")


def _identical(same: list[ImageRecord]) -> Iterator[Problem]:
    """A problem for every copy but the first, with the copy that it contradicts, if it contradicts one before it.

    A copy without a split or a label contradicts none: whether the others do must not depend on which comes first.
    """
    splits: dict[str, ImageRecord] = {}
    labels: dict[str, ImageRecord] = {}
    for number, copy in enumerate(same):
        if across := _other(splits, copy.split):
            places = f"{copy.split} and {across.split}"
            yield Problem(copy.image, f"is the same file as {across.image}, in {places}", "error")
        elif against := _other(labels, copy.label):
            yield Problem(copy.image, f"is the same file as {against.image}, but the labels differ", "error")
        elif number:
            yield Problem(copy.image, f"is the same file as {same[0].image}", "warning")
        if copy.split is not None:
            splits.setdefault(copy.split, copy)
        if copy.label is not None:
            labels.setdefault(copy.label, copy)


def _other(firsts: dict[str, ImageRecord], value: str | None) -> ImageRecord | None:
    """The first copy with another value than this one's."""
    return None if value is None else next((first for known, first in firsts.items() if known != value), None)
