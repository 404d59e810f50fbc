"""Which images of a data set a run can use, what they are taught, and why the others are not used. Torch-free."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box
from boxpromptiml.shards import Part
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.sources import Located


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A training or validation image that is not used, and why."""

    name: str
    reason: str


def usable(
    images: Iterable[Located],
    supervision: Supervision,
    recipe: Recipe,
    prefix: str,
    left_out: list[LeftOut],
) -> Iterator[tuple[ImageRecord, Sample]]:
    """Yield the images that can be used, and note the others.

    Args:
        images: of a data set.
        supervision: where targets come from.
        recipe: of the run.
        prefix: of the samples' names.
        left_out: the others are added to it.
    """
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
            bytes=_length(image),
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


def singly(sample: Sample) -> Sample:
    """The same, read without fetching the whole shard for it."""
    if not isinstance(sample.path, Part):
        return sample
    mask = sample.mask.singly() if isinstance(sample.mask, Part) else sample.mask
    return replace(sample, path=sample.path.singly(), mask=mask)


def check_files(samples: Sequence[Sample], folder: str | Path) -> None:
    """Raise DatasetError, naming the first, if images or masks are missing. Shards are complete, or have no index."""
    missing = [
        path
        for sample in samples
        for path, there in ((sample.path, sample.bytes is not None), (sample.mask, None))
        if isinstance(path, Path) and not (path.is_file() if there is None else there)
    ]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no such file"
            + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
            + f"; find out with  boxpromptiml validate {folder}"
        )


def _length(image: Path | Part) -> int | None:
    if isinstance(image, Part):
        return image.size
    try:
        found = image.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
