"""Which images a run trains on and which choose the epoch: from dataset records to two lists. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.dataset.splits import split_by_group
from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box
from boxpromptiml.shards import Part, ShardHolder
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.sources import Located, holder_folder, located

# What a tampered image must have, and what to do where none has it. Labels are another matter (`_check_labels`).
_REMEDIES: dict[Supervision, tuple[str, str]] = {
    "pseudo": ("pseudo mask", "make them with  boxpromptiml pseudo-label {folder}"),
    "mask": ("true mask", "import masks, or train with  --supervision pseudo"),
    "box": ("box", "draw boxes, or derive them with  boxpromptiml boxes {folder} --from-masks"),
}


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
        holder: of local copies of shards behind URLs; None where there are none.
    """

    train: list[Sample] = field(default_factory=list)
    val: list[Sample] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    carved: bool = False
    teachers: tuple[str, ...] = ()
    holder: ShardHolder | None = None

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


def gather_samples(folders: Sequence[str | Path], recipe: Recipe, supervision: Supervision) -> Samples:
    """Read the records of one or several datasets, or of shards, and decide what is trained on.

    - Training: the ``train`` split; in a dataset without one, the images that are in no split.
    - Validation: the ``val`` split; in a dataset without one, a share of the training images, by source group and
      seed. Targets are those of the supervision: a run from boxes never sees a true mask, not even to choose an epoch.
    - ``test`` images are never touched.
    - Authentic images have an empty target. Tampered ones without what the supervision needs are left out.
    - Supervision by labels reads neither masks nor boxes, and needs both kinds of images in both parts.

    Raises:
        DatasetError: no dataset there, nothing to train on (with the remedy), or files that are missing.
        StorageError: shards behind a URL that cannot be reached.
    """
    samples = Samples()
    limit = recipe.data.shard_cache_mb * 2**20
    holder = ShardHolder(holder_folder(folders, recipe.data), limit) if limit else None
    teachers: set[str] = set()
    for index, folder in enumerate(folders):
        prefix = f"{folder}: " if len(folders) > 1 else ""
        train, val = _parts(located(folder, holder), folder)
        usable = list(_usable(train, supervision, recipe, prefix, samples.left_out))
        if not val and recipe.validation.fraction > 0:
            held = _carve([record for record, _ in usable], recipe, index, folder)
            val_pairs = [(record, sample) for record, sample in usable if record.image in held]
            usable = [(record, sample) for record, sample in usable if record.image not in held]
            samples.carved |= bool(val_pairs)
        elif recipe.validation.fraction > 0:
            val_pairs = list(_usable(val, supervision, recipe, prefix, samples.left_out))
        else:
            val_pairs = []
        samples.train += [sample for _, sample in usable]
        # Validation images are few, and spread over all shards where they were held out: each is asked for by itself.
        samples.val += [_singly(sample) for _, sample in val_pairs]
        teachers |= {record.pseudo.teacher for record, sample in usable if record.pseudo and sample.soft}
    if any(isinstance(sample.path, Part) and sample.path.shard.remote for sample in samples.train):
        samples.holder = holder
    samples.teachers = tuple(sorted(teachers))
    where = ", ".join(str(folder) for folder in folders)
    if supervision == "label":
        _check_labels(samples, where, recipe)
    else:
        _check_targets(samples, where, supervision, recipe, folders[0])
    _check_files(samples, folders[0])
    samples.train = _thinned(samples.train, recipe)
    return samples


def _parts(images: Iterable[Located], folder: str | Path) -> tuple[list[Located], list[Located]]:
    by_split: dict[str | None, list[Located]] = {}
    for image in images:
        by_split.setdefault(image.record.split, []).append(image)
    train = by_split.get("train") or by_split.get(None, [])
    if not train:
        if not by_split:
            raise DatasetError(f"{folder}: the dataset has no images; add some with  boxpromptiml import")
        held = ", ".join(f"{len(found)} in {split}" for split, found in by_split.items())
        raise DatasetError(f"{folder}: no training images ({held}); assign them with  boxpromptiml split {folder}")
    return train, by_split.get("val", [])


def _usable(
    images: Iterable[Located],
    supervision: Supervision,
    recipe: Recipe,
    prefix: str,
    left_out: list[LeftOut],
) -> Iterator[tuple[ImageRecord, Sample]]:
    for record, image, true, pseudo in images:
        name = prefix + record.image
        reason = _obstacle(record, supervision, recipe.data.skip_suspicious)
        if reason is not None:
            left_out.append(LeftOut(name, reason))
            continue
        mask = None
        if record.label == "tampered":
            mask = {"pseudo": pseudo, "mask": true}.get(supervision)
        confined = record.boxes if recipe.refinement.start and supervision == "pseudo" and mask is not None else ()
        sample = Sample(
            name=name,
            path=image,
            width=record.width,
            height=record.height,
            tampered=record.label == "tampered",
            mask=mask,
            boxes=record.boxes if supervision == "box" else (),
            soft=supervision == "pseudo" and mask is not None,
            confined=confined,
            group=None if record.group is None else prefix + record.group,
            digest=_digest(record, supervision, image, confined),
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
    return "no box" if supervision == "box" and not record.boxes else None


def _digest(record: ImageRecord, supervision: Supervision, image: Path | Part, confined: Sequence[Box]) -> str:
    target: object = None
    if record.label == "tampered":
        if supervision == "pseudo" and record.pseudo is not None:
            target = [record.pseudo.path, record.pseudo.teacher, record.pseudo.settings]
        else:
            target = {"mask": record.mask, "box": record.boxes}.get(supervision)
    content = [record.image, record.width, record.height, record.label, target]
    if confined:
        content.append(confined)  # the target follows them, and a pseudo mask outlives its boxes
    if isinstance(image, Part):
        content.append(image.shard.sha256)  # the order of an epoch follows the shards
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _singly(sample: Sample) -> Sample:
    if not isinstance(sample.path, Part):
        return sample
    mask = sample.mask.singly() if isinstance(sample.mask, Part) else sample.mask
    return replace(sample, path=sample.path.singly(), mask=mask)


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


def _check_labels(samples: Samples, where: str, recipe: Recipe) -> None:
    """Both kinds of images in both parts: of one kind alone, the best student calls every pixel alike."""
    counts = samples.counts()
    parts = {"train": "train on"} | ({"val": "choose the epoch"} if recipe.validation.fraction > 0 else {})
    for part, purpose in parts.items():
        tampered, authentic = counts[f"{part}_tampered"], counts[f"{part}_authentic"]
        if not tampered or not authentic:
            remedy = "add and label some" if part == "train" else "add some, or raise validation.fraction"
            raise DatasetError(
                f"{where}: training from image labels needs both tampered and authentic images to {purpose}, there are "
                f"{tampered} and {authentic}; {remedy}"
            )
    if recipe.data.authentic_per_tampered is not None and not any(
        not s.tampered for s in _thinned(samples.train, recipe)
    ):
        raise DatasetError(
            f"{where}: training from image labels needs authentic images, and data.authentic_per_tampered="
            f"{recipe.data.authentic_per_tampered:g} leaves none; raise it, or set it to null"
        )


def _check_targets(samples: Samples, where: str, supervision: Supervision, recipe: Recipe, folder: str | Path) -> None:
    what, remedy = _REMEDIES[supervision]
    if not any(sample.tampered for sample in samples.train):
        reasons = ", ".join(f"{n} x {reason}" for reason, n in samples.left_out_by_reason().items())
        raise DatasetError(
            f"{where}: no tampered training image with a {what}"
            + (f" (left out: {reasons})" if reasons else "")
            + f"; {remedy.format(folder=folder)}"
        )
    if recipe.validation.fraction > 0 and not any(sample.tampered for sample in samples.val):
        raise DatasetError(
            f"{where}: no tampered validation image with a {what}, so that no epoch could be chosen; add images, raise "
            "validation.fraction, or set it to 0 to keep the last epoch"
        )


def _check_files(samples: Samples, folder: str | Path) -> None:
    # Shards are complete, or have no index.
    paths = [path for s in [*samples.train, *samples.val] for path in (s.path, s.mask) if isinstance(path, Path)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no such file"
            + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
            + f"; find out with  boxpromptiml validate {folder}"
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
