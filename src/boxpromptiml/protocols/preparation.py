"""From the sets of a protocol to datasets with splits, boxes and pseudo masks; every step resumes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.boxes import derive_boxes
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import import_source, read_source
from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.protocols.journal import Journal, source_digest
from boxpromptiml.protocols.model import SetSpec
from boxpromptiml.pseudolabels import pseudo_label
from boxpromptiml.teachers import Teacher


@dataclass(frozen=True, slots=True)
class Prepared:
    """A set as a dataset.

    Attributes:
        spec: the set.
        folder: the dataset folder.
        tampered, authentic: images in the dataset, whether used or not.
        used: images that are trained or tested on.
        left_out: files that did not fit.
        mended: masks that were mended.
        on_mismatch: how misfits were treated.
        digest: of the files that it was made from.
    """

    spec: SetSpec
    folder: Path
    tampered: int
    authentic: int
    used: int
    left_out: int
    mended: int
    on_mismatch: str
    digest: str


def prepare_set(
    journal: Journal, spec: SetSpec, path: Path, *, on_mismatch: OnMismatch, per_set: int | None, seed: int
) -> Prepared:
    """Import a set into ``OUT/datasets/<set>`` and put the images that the protocol uses into its split.

    Raises:
        DatasetError: the set cannot be read, its files do not fit, or they or what the protocol uses of them have
            changed since the run imported them.
    """
    folder = journal.out / "datasets" / spec.name
    digest = source_digest(read_source(path))
    step = f"import-{spec.name}"
    split = "train" if spec.role == "train" else "test"
    done = journal.done(step)
    if done is not None:
        _check_use(journal, spec, {"split": done.pop("split", split), "use": done.pop("use", spec.use)}, split)
        if done["digest"] != digest:
            raise DatasetError(f"{path}: its files have changed since this run imported them; choose another --out")
        prepared = Prepared(spec, folder, **done)
        if prepared.on_mismatch != on_mismatch and prepared.left_out + prepared.mended:
            raise DatasetError(
                f"{spec.name}: was imported with --on-mismatch {prepared.on_mismatch}; give the same, or choose "
                "another --out"
            )
        return prepared
    report = import_source(path, folder, on_mismatch=on_mismatch)
    with Dataset.open(folder) as dataset:
        records = list(dataset.records())
        used = _used(records, spec, per_set if spec.role == "train" else None, seed)
        dataset.set_splits({record.image: split if record.image in used else None for record in records})
    prepared = Prepared(
        spec,
        folder,
        tampered=sum(record.label == "tampered" for record in records),
        authentic=sum(record.label == "authentic" for record in records),
        used=len(used),
        left_out=len(report.left_out),
        mended=len(report.mended),
        on_mismatch=on_mismatch,
        digest=digest,
    )
    facts = asdict(prepared)
    kept = {name: facts[name] for name in facts if name not in ("spec", "folder")}
    journal.record(step, kept | {"split": split, "use": spec.use})
    return prepared


def _check_use(journal: Journal, spec: SetSpec, then: dict[str, str], split: str) -> None:
    """Refuse a set that the protocol's file puts to another use than when the run imported it."""
    for what, was, is_now in (("role", then["split"], split), ("use", then["use"], spec.use)):
        if was != is_now:
            raise DatasetError(
                f"{journal.out}: cannot go on, {what} of {spec.name} was {was} and is now {is_now} in the protocol; "
                "give the same as then, or choose another --out"
            )


def derive_training_boxes(journal: Journal, prepared: Prepared, loosen: float, jitter: float, seed: int) -> None:
    """Give the training images of a set the boxes that an annotator might have drawn."""
    step = f"boxes-{prepared.spec.name}"
    if journal.done(step) is None:
        with Dataset.open(prepared.folder) as dataset:
            summary = derive_boxes(dataset, loosen, jitter, seed, split="train")
        journal.record(step, {"images": summary.images + summary.kept, "empty": list(summary.empty)})


def make_pseudo_masks(journal: Journal, prepared: Prepared, teacher: Teacher) -> None:
    """Let the teacher turn the boxes of a set's training images into pseudo masks.

    Raises:
        DatasetError: images that the teacher cannot be asked about: a student of the rest would be another one.
    """
    step = f"pseudo-{prepared.spec.name}"
    if journal.done(step) is not None:
        return
    with Dataset.open(prepared.folder) as dataset:
        summary = pseudo_label(dataset, teacher, split="train")
    if summary.failed:
        image, message = summary.failed[0]
        raise DatasetError(
            f"{prepared.spec.name}: the teacher cannot be asked about {len(summary.failed)} of its training images, "
            f"the first: {image}: {message}"
        )
    journal.record(step, {"made": summary.made + summary.already, "suspicious": len(summary.suspicious)})


def _used(records: list[ImageRecord], spec: SetSpec, limit: int | None, seed: int) -> set[str]:
    names = sorted(record.image for record in records if spec.use == "all" or record.label == "tampered")
    if limit is None or limit >= len(names):
        return set(names)
    # By the set's name, so that one set's draw does not depend on the others.
    words = np.frombuffer(hashlib.sha256(spec.name.encode()).digest()[:16], dtype="<u4").tolist()
    chosen = np.random.default_rng([seed, *words]).choice(len(names), size=limit, replace=False)
    return {names[index] for index in chosen}
