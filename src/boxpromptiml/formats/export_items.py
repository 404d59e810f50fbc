"""What is exported of a dataset: images under names of their own, with the masks that were asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import open_mask

Masks = Literal["none", "true", "pseudo"]
MaskFormat = Literal["png", "rle"]
Images = Literal["reference", "copy", "link"]
Review = Literal["accepted"]

# Why `ExportOptions.review` leaves an image out.
NOT_ACCEPTED = "tampered, mask not accepted"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export, and how.

    Attributes:
        masks: none, those of people, or those of the teacher (above 127 of 255).
        mask_format: PNG files or run lengths; None for what the format is best read with.
        split: only images of this split; None for all.
        review: ``accepted``: only tampered images whose pseudo mask a person has accepted, and the others.
        images: name the images where they are, copy them, or link to them; None for what the format needs.
        category: name of the tampered regions.
        prefix: Label Studio only: what its addresses of images begin with.
    """

    masks: Masks = "none"
    mask_format: MaskFormat | None = None
    split: str | None = None
    review: Review | None = None
    images: Images | None = None
    category: str = "tampered"
    prefix: str = "/data/local-files/?d="


@dataclass(frozen=True, slots=True)
class Item:
    """One image on its way out.

    Attributes:
        record: what the dataset knows of it.
        file: the image file, absolute.
        name: of the image in the export, with folders; no other image has it, even without its suffix.
        image: how the annotations name it: relative to the export, or to the images' common folder.
        mask: bool (h, w); None if there is none or it was not asked for.
        mask_file: where the mask is written, relative to the export; None where it is written into the annotations.
    """

    record: ImageRecord
    file: Path
    name: PurePosixPath
    image: str
    mask: NDArray[np.bool_] | None = None
    mask_file: PurePosixPath | None = None


def selected(dataset: Dataset, options: ExportOptions) -> Iterator[ImageRecord]:
    """The images that are exported, in the order of their paths."""
    return (record for record in dataset.records(split=options.split) if is_selected(record, options))


def is_selected(record: ImageRecord, options: ExportOptions) -> bool:
    """Whether an image of the split is exported: the others are `NOT_ACCEPTED`."""
    judged = record.state == "boxed" or record.label == "tampered"
    return options.review is None or not judged or record.review == options.review


class Names:
    """Names for images from all over the file system: their paths below the one folder that has them all.

    Two images whose names differ in their suffixes or in upper and lower case only get names that differ in more:
    their annotations are files of their own in many formats, on some systems without regard to case.

    Args:
        dataset: where the records are from.
        records: all that will be named.

    Attributes:
        root: the folder that has all the images.
    """

    def __init__(self, dataset: Dataset, records: Iterator[ImageRecord]) -> None:
        self._dataset = dataset
        self.root = ""
        taken: dict[str, str] = {}
        folders: set[str] = set()
        again: list[str] = []
        for record in records:
            folders.add(os.path.dirname(self._place(record.image)))
            stem = os.path.splitext(self._place(record.image))[0].casefold()
            if taken.setdefault(stem, record.image) != record.image:
                again.append(record.image)
        if folders:
            try:
                self.root = os.path.commonpath(list(folders))
            except ValueError as error:
                raise DatasetError(f"{dataset.root}: its images are on several drives; export them apart") from error
        self._renamed: dict[str, str] = {}
        for image in again:
            stem, suffix = os.path.splitext(self._place(image))
            number = 2
            while (key := f"{stem}-{number}".casefold()) in taken:
                number += 1
            taken[key] = image
            self._renamed[image] = f"{stem}-{number}{suffix}"

    def original(self, image: str) -> str:
        """The image's path below the common folder, as it is."""
        return self._below(self._place(image))

    def name(self, image: str) -> PurePosixPath:
        """The image's own name."""
        return PurePosixPath(self._below(self._renamed.get(image) or self._place(image)))

    def _place(self, image: str) -> str:
        return os.path.normpath(os.path.join(self._dataset.root, image))

    def _below(self, place: str) -> str:
        name = os.path.relpath(place, self.root).replace(os.sep, "/")
        if name.startswith("../"):
            raise DatasetError(f"{self._dataset.root}: images were added while it was exported; export it again")
        return name


def load_mask(dataset: Dataset, record: ImageRecord, masks: Masks) -> NDArray[np.bool_] | None:
    """The mask that is exported with an image, bool (h, w); None if it has none of that kind.

    A mask that marks nothing is none: readers take it for a region, or for a word that the image is authentic. Nor has
    an authentic image one: a teacher's was made before that was known.

    Raises:
        DatasetError: the mask cannot be read or is of another size than the image.
    """
    path = record.mask if masks == "true" else record.pseudo.path if masks == "pseudo" and record.pseudo else None
    if path is None or masks == "none" or record.label == "authentic":
        return None
    try:
        mask = open_mask(dataset.path(path)) > 127
    except ImageError as error:
        raise DatasetError(f"{error}; boxpromptiml validate finds all such files") from error
    if mask.shape != (record.height, record.width):
        raise DatasetError(
            f"{dataset.path(path)}: mask of {mask.shape[1]} x {mask.shape[0]} pixels for an image of "
            f"{record.width} x {record.height}; boxpromptiml validate finds all such files"
        )
    return np.asarray(mask) if mask.any() else None
