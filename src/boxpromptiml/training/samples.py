"""Which images a run trains on and which choose the epoch: from dataset records to two lists. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.splits import split_by_group
from boxpromptiml.errors import DatasetError
from boxpromptiml.images import open_image, open_mask
from boxpromptiml.preprocessing import resize_image, resize_map
from boxpromptiml.regions import Box, filled_boxes
from boxpromptiml.training.recipe import Recipe, Supervision

_REMEDIES: dict[Supervision, tuple[str, str]] = {
    "pseudo": ("pseudo mask", "make them with  boxpromptiml pseudo-label {folder}"),
    "mask": ("true mask", "import masks, or train with  --supervision pseudo"),
    "box": ("box", "draw boxes, or derive them with  boxpromptiml boxes {folder} --from-masks"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and where its target comes from.

    Attributes:
        name: the image as the dataset names it, behind the dataset's folder where there are several.
        path: image file.
        width, height: of the upright image, pixels.
        tampered: False: the target is empty.
        mask: mask file (true or pseudo), for those supervisions.
        boxes: for supervision by boxes.
        soft: whether the mask holds probabilities (pseudo) or is cut at 127 (true masks).
        digest: changes with everything that shapes image or target, as far as the dataset knows it.
    """

    name: str
    path: Path
    width: int
    height: int
    tampered: bool
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()
    soft: bool = False
    digest: str = ""

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Image, uint8 (h, w, 3), and target, float32 (h, w) in [0, 1], at the image's own size.

        Raises:
            ImageError: image or mask cannot be read.
            DatasetError: their sizes are not what the dataset says.
        """
        image = open_image(self.path)
        size = (self.height, self.width)
        if image.shape[:2] != size:
            raise DatasetError(_size_error(self.path, image.shape, size))
        if self.mask is not None:
            grey = open_mask(self.mask)
            if grey.shape != size:
                raise DatasetError(_size_error(self.mask, grey.shape, size))
            values = np.asarray(grey / 255 if self.soft else grey > 127, np.float32)
        else:
            values = np.asarray(filled_boxes(self.boxes, self.width, self.height), np.float32)
        return image, values

    def load_resized(self, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image, uint8 (height, width, 3), and target, uint8 (height, width), probability x 255.

        Both go through the antialiased filter of `boxpromptiml.preprocessing`; so a target's value is the share of
        the pixel that is tampered, for all three supervisions.
        """
        image, values = self.load()
        return resize_image(image, height, width), quantised(resize_map(values, height, width))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A training or validation image that is not used, and why."""

    name: str
    reason: str


@dataclass(slots=True)
class Samples:
    """The images of a run.

    Attributes:
        train, val: ordered by dataset and image. `val` is empty only if the recipe wants no validation.
        left_out: images that lack what the supervision needs.
        carved: whether (part of) `val` was held out from the training images, for want of a ``val`` split.
        teachers: ids of the teachers of the pseudo masks.
    """

    train: list[Sample] = field(default_factory=list)
    val: list[Sample] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    carved: bool = False
    teachers: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Numbers of images by part and label."""
        parts = {"train": self.train, "val": self.val}
        numbers = {
            f"{part}_{label}": sum(sample.tampered == tampered for sample in samples)
            for part, samples in parts.items()
            for label, tampered in (("tampered", True), ("authentic", False))
        }
        return numbers | {"left_out": len(self.left_out)}

    def left_out_by_reason(self) -> dict[str, int]:
        """How many images were left out for which reason, most frequent first."""
        return dict(Counter(item.reason for item in self.left_out).most_common())


def quantised(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities in [0, 1] to 8 bits, rounded to the nearest."""
    return np.rint(values * 255).astype(np.uint8)


def gather_samples(folders: Sequence[str | Path], recipe: Recipe, supervision: Supervision) -> Samples:
    """Read the records of one or several datasets and decide what is trained on.

    - Training: the ``train`` split; in a dataset without one, the images that are in no split.
    - Validation: the ``val`` split; in a dataset without one, a share of the training images, by source group and
      seed. Targets are those of the supervision: a run from boxes never sees a true mask, not even to choose an epoch.
    - ``test`` images are never touched.
    - Authentic images have an empty target. Tampered ones without what the supervision needs are left out.

    Raises:
        DatasetError: no dataset there, nothing to train on (with the remedy), or files that are missing.
    """
    samples = Samples()
    teachers: set[str] = set()
    for index, folder in enumerate(folders):
        prefix = f"{folder}: " if len(folders) > 1 else ""
        with Dataset.open(folder) as dataset:
            train, val = _parts(dataset, folder)
            usable = list(_usable(train, dataset, supervision, recipe, prefix, samples.left_out))
            if not val and recipe.validation.fraction > 0:
                held = _carve([record for record, _ in usable], recipe, index, folder)
                val_pairs = [(record, sample) for record, sample in usable if record.image in held]
                usable = [(record, sample) for record, sample in usable if record.image not in held]
                samples.carved |= bool(val_pairs)
            elif recipe.validation.fraction > 0:
                val_pairs = list(_usable(val, dataset, supervision, recipe, prefix, samples.left_out))
            else:
                val_pairs = []
            samples.train += [sample for _, sample in usable]
            samples.val += [sample for _, sample in val_pairs]
            teachers |= {record.pseudo.teacher for record, sample in usable if record.pseudo and sample.soft}
    samples.teachers = tuple(sorted(teachers))
    _check(samples, folders, supervision, recipe)
    samples.train = _thinned(samples.train, recipe)
    return samples


def _parts(dataset: Dataset, folder: str | Path) -> tuple[list[ImageRecord], list[ImageRecord]]:
    by_split: dict[str | None, list[ImageRecord]] = {}
    for record in dataset.records():
        by_split.setdefault(record.split, []).append(record)
    train = by_split.get("train") or by_split.get(None, [])
    if not train:
        if not by_split:
            raise DatasetError(f"{folder}: the dataset has no images; add some with  boxpromptiml import")
        held = ", ".join(f"{len(records)} in {split}" for split, records in by_split.items())
        raise DatasetError(f"{folder}: no training images ({held}); assign them with  boxpromptiml split {folder}")
    return train, by_split.get("val", [])


def _usable(
    records: Iterable[ImageRecord],
    dataset: Dataset,
    supervision: Supervision,
    recipe: Recipe,
    prefix: str,
    left_out: list[LeftOut],
) -> Iterator[tuple[ImageRecord, Sample]]:
    for record in records:
        name = prefix + record.image
        reason = _obstacle(record, supervision, recipe.data.skip_suspicious)
        if reason is not None:
            left_out.append(LeftOut(name, reason))
            continue
        mask = None
        if record.label == "tampered":
            if supervision == "pseudo" and record.pseudo is not None:
                mask = dataset.path(record.pseudo.path)
            elif supervision == "mask" and record.mask is not None:
                mask = dataset.path(record.mask)
        sample = Sample(
            name=name,
            path=dataset.path(record.image),
            width=record.width,
            height=record.height,
            tampered=record.label == "tampered",
            mask=mask,
            boxes=record.boxes if supervision == "box" else (),
            soft=supervision == "pseudo" and mask is not None,
            digest=_digest(record, supervision),
        )
        yield record, sample


def _obstacle(record: ImageRecord, supervision: Supervision, skip_suspicious: bool) -> str | None:
    """Why an image cannot be used, or None."""
    if record.label is None:
        return "not labelled yet"
    if record.label == "authentic":
        return None
    if supervision == "pseudo":
        if record.pseudo is None:
            return "no pseudo mask"
        if record.review == "rejected":
            return "pseudo mask rejected in review"
        if skip_suspicious and record.pseudo.suspicious and record.review != "accepted":
            return "suspicious pseudo mask"
        return None
    if supervision == "mask":
        return "no true mask" if record.mask is None else None
    return "no box" if not record.boxes else None


def _digest(record: ImageRecord, supervision: Supervision) -> str:
    target: object = None
    if record.label == "tampered":
        if supervision == "pseudo" and record.pseudo is not None:
            target = [record.pseudo.path, record.pseudo.teacher, record.pseudo.settings]
        else:
            target = record.mask if supervision == "mask" else record.boxes
    content = [record.image, record.width, record.height, record.label, target]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _carve(records: Sequence[ImageRecord], recipe: Recipe, index: int, folder: str | Path) -> set[str]:
    """Images held out for validation: whole source groups, tampered and authentic ones alike."""
    if len(records) < 2:
        return set()
    try:
        splits = split_by_group(records, {"val": recipe.validation.fraction}, recipe.seed + index)
    except DatasetError as error:
        raise DatasetError(
            f"{folder}: no validation images can be held out ({error}); set validation.fraction=0 to do without"
        ) from error
    return {image for image, split in splits.items() if split == "val"}


def _check(samples: Samples, folders: Sequence[str | Path], supervision: Supervision, recipe: Recipe) -> None:
    what, remedy = _REMEDIES[supervision]
    where = ", ".join(str(folder) for folder in folders)
    if not any(sample.tampered for sample in samples.train):
        reasons = ", ".join(f"{n} x {reason}" for reason, n in samples.left_out_by_reason().items())
        raise DatasetError(
            f"{where}: no tampered training image with a {what}"
            + (f" (left out: {reasons})" if reasons else "")
            + f"; {remedy.format(folder=folders[0])}"
        )
    if recipe.validation.fraction > 0 and not any(sample.tampered for sample in samples.val):
        raise DatasetError(
            f"{where}: no tampered validation image with a {what}, so that no epoch could be chosen; add images, raise "
            "validation.fraction, or set it to 0 to keep the last epoch"
        )
    paths = [path for s in [*samples.train, *samples.val] for path in (s.path, s.mask) if path is not None]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no such file"
            + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
            + f"; find out with  boxpromptiml validate {folders[0]}"
        )


def _thinned(train: list[Sample], recipe: Recipe) -> list[Sample]:
    """At most `authentic_per_tampered` authentic images per tampered one, drawn by the seed."""
    ratio = recipe.data.authentic_per_tampered
    if ratio is None:
        return train
    authentic = [i for i, sample in enumerate(train) if not sample.tampered]
    limit = round(ratio * (len(train) - len(authentic)))
    if len(authentic) <= limit:
        return train
    rng = np.random.default_rng([recipe.seed, 1])
    kept = set(rng.choice(authentic, size=limit, replace=False).tolist())
    return [sample for i, sample in enumerate(train) if sample.tampered or i in kept]


def _size_error(path: Path, found: Sequence[int], size: tuple[int, int]) -> str:
    return (
        f"{path}: {found[1]} x {found[0]} pixels, the dataset says {size[1]} x {size[0]}; "
        "import it again, or find such files with  boxpromptiml validate"
    )
