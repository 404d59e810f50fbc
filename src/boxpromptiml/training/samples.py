"""Which images a run trains on and which choose the epoch: from dataset records to two lists. Torch-free."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.dataset.splits import split_by_group
from boxpromptiml.errors import DatasetError
from boxpromptiml.shards import Part, ShardHolder, is_sharded
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.sources import Located, holder_folder, located, refuse_repeated
from boxpromptiml.training.usable import LeftOut, check_files, singly, usable

# What a tampered image must have, and what to do where none has it. Labels are another matter (`_check_labels`).
_REMEDIES: dict[Supervision, tuple[str, str]] = {
    "pseudo": ("pseudo mask", "make them with  boxpromptiml pseudo-label {folder}"),
    "mask": ("true mask", "import masks, or train with  --supervision pseudo"),
    "box": ("box", "draw boxes, or derive them with  boxpromptiml boxes {folder} --from-masks"),
}
_FOR_SHARDS = "in the dataset that the shards were written from, then run  boxpromptiml shard  again"


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


def gather_samples(
    folders: Sequence[str | Path], recipe: Recipe, supervision: Supervision, held: Collection[str] | None = None
) -> Samples:
    """Read the records of one or several datasets, or of shards, and decide what is trained on.

    - Training: the ``train`` split; in a dataset without one, the images that are in no split.
    - Validation: the ``val`` split; in a dataset without one, a share of the training images, by source group and
      seed. Targets are those of the supervision: a run from boxes never sees a true mask, not even to choose an epoch.
    - ``test`` images are never touched.
    - Authentic images have an empty target. Tampered ones without what the supervision needs are left out.
    - Supervision by labels reads neither masks nor boxes, and needs both kinds of images in both parts.

    Args:
        folders: the datasets.
        recipe: of the run.
        supervision: where targets come from.
        held: images to validate with in a dataset without a ``val`` split, as it names them, in place of those that the
            seed draws.

    Raises:
        DatasetError: no dataset there, one that is given twice, nothing to train on (with the remedy), a file that is
            trained on and validated with, or files that are missing.
        StorageError: shards behind a URL that cannot be reached.
    """
    refuse_repeated(folders)
    samples = Samples()
    limit = recipe.data.shard_cache_mb * 2**20
    holder = ShardHolder(holder_folder(folders, recipe.data), limit) if limit else None
    teachers: set[str] = set()
    used: list[tuple[str | Path, list[Sample]]] = []
    lacking: str | Path | None = None  # the first dataset with images that lack something
    for index, folder in enumerate(folders):
        prefix = f"{folder}: " if len(folders) > 1 else ""
        train, val = _parts(located(folder, holder), folder)
        trained = list(usable(train, supervision, recipe, prefix, samples.left_out))
        validated: list[tuple[ImageRecord, Sample]] = []
        if not val and recipe.validation.fraction > 0:
            drawn = _carve([record for record, _ in trained], recipe, index, folder) if held is None else set(held)
            validated = [(record, sample) for record, sample in trained if record.image in drawn]
            trained = [(record, sample) for record, sample in trained if record.image not in drawn]
            samples.carved |= bool(validated)
        elif recipe.validation.fraction > 0:
            validated = list(usable(val, supervision, recipe, prefix, samples.left_out))
        used.append((folder, [sample for _, sample in [*trained, *validated]]))
        lacking = folder if lacking is None and samples.left_out else lacking
        samples.train += [sample for _, sample in trained]
        # Validation images are few, and spread over all shards where they were held out: each is asked for by itself.
        samples.val += [singly(sample) for _, sample in validated]
        teachers |= {record.pseudo.teacher for record, sample in trained if record.pseudo and sample.soft}
    if any(isinstance(sample.path, Part) and sample.path.shard.remote for sample in samples.train):
        samples.holder = holder
    samples.teachers = tuple(sorted(teachers))
    where = ", ".join(str(folder) for folder in folders)
    if supervision == "label":
        _check_labels(samples, where, recipe)
    else:
        _check_targets(samples, where, supervision, recipe, lacking or folders[0])
    for folder, images in used:
        check_files(images, folder)
    if len(folders) > 1:
        _check_apart(samples)
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
        remedy = _FOR_SHARDS if is_sharded(folder) else f"with  boxpromptiml split {folder}"
        raise DatasetError(f"{folder}: no training images ({held}); assign them {remedy}")
    return train, by_split.get("val", [])


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
            + f"; {f'make them {_FOR_SHARDS}' if is_sharded(folder) else remedy.format(folder=folder)}"
        )
    if recipe.validation.fraction > 0 and not any(sample.tampered for sample in samples.val):
        raise DatasetError(
            f"{where}: no tampered validation image with a {what}, so that no epoch could be chosen; add images, raise "
            "validation.fraction, or set it to 0 to keep the last epoch"
        )


def _check_apart(samples: Samples) -> None:
    """Refuse an image that one dataset has for training and another for validation: it would be known by heart."""
    trained = {_content(sample): sample for sample in samples.train}
    for sample in samples.val:
        if (other := trained.get(_content(sample))) is not None:
            raise DatasetError(
                f"{sample.name}: is to be validated with, and is the same file as {other.name}, which is to be trained "
                "on; put both into the same split, or leave one of the datasets out"
            )


def _content(sample: Sample) -> tuple[str | int, int]:
    """What two names of the same file have in common."""
    if isinstance(sample.path, Part):
        return sample.path.shard.sha256, sample.path.start
    found = os.stat(sample.path)
    return found.st_dev, found.st_ino


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
