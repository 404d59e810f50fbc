"""Datasets that a study derives from the user's: own records, the same image files. The user's is never changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.manifest import record_to_json
from boxpromptiml.dataset.paths import relative_path
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError, RecipeError
from boxpromptiml.evaluation.sources import AUTO, choose_split, import_foreign, is_usable
from boxpromptiml.files import sha256_of, write_json
from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.progress import track
from boxpromptiml.training import Recipe, Supervision
from boxpromptiml.training.samples import gather_samples

SNAPSHOT_NAME = "snapshot.json"
_BY_CONTENT = "content-"  # before the digits of a digest that looked into the files


@dataclass(frozen=True)
class Snapshot:
    """A derived dataset.

    Attributes:
        folder: where it is.
        digest: of its content, independent of where it and the images are.
        source: what it was made from, as given.
        facts: whatever else is worth telling, such as numbers of images.
    """

    folder: Path
    digest: str
    source: str
    facts: dict[str, Any]


def digest_of(
    dataset: Dataset, records: Sequence[ImageRecord], base: Path | None = None, like: str | None = None
) -> str:
    """Digest of records and of the files that they name: changes when anything that counts changes.

    Args:
        dataset: whose records they are.
        records: in a fixed order.
        base: name files as seen from this folder; None: as the records do.
        like: the digest that it will be compared with. A study that an earlier version began knows files by their
            sizes alone, and goes on so: it cannot be told any more what was in them.

    Raises:
        DatasetError: a file that is not there.
    """
    by_size = like is not None and not like.startswith(_BY_CONTENT)
    total = hashlib.sha256()
    for record in track(records, "compare images", total=len(records)):
        files = [
            _file(dataset.path(path), by_size)
            for path in (record.image, record.mask, None if record.pseudo is None else record.pseudo.path)
            if path is not None
        ]
        line = {**record_to_json(record), "sizes" if by_size else "files": files}
        if base is not None:
            line["image"] = relative_path(dataset.path(record.image), base)
            line["mask"] = None if record.mask is None else relative_path(dataset.path(record.mask), base)
        # Time and review say how the annotation came about, not what it is, unless it was rejected.
        line.pop("seconds", None)
        line.pop("skipped", None)
        total.update(json.dumps(line, sort_keys=True).encode("utf-8", "surrogateescape") + b"\n")
    return ("" if by_size else _BY_CONTENT) + total.hexdigest()[:16]


def rebased(source: Dataset, target: Dataset, record: ImageRecord) -> ImageRecord:
    """The record of the same files in another dataset folder."""

    def moved(path: str) -> str:
        return target.relative(source.path(path))

    pseudo = None if record.pseudo is None else replace(record.pseudo, path=moved(record.pseudo.path))
    mask = None if record.mask is None else moved(record.mask)
    return replace(record, image=moved(record.image), mask=mask, pseudo=pseudo, version=0)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place when all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_snapshot(folder: Path) -> Snapshot | None:
    """The derived dataset in a folder, None if there is none that is whole."""
    try:
        raw = json.loads((folder / SNAPSHOT_NAME).read_text(encoding="utf-8"))
        return Snapshot(folder, str(raw["digest"]), str(raw["source"]), dict(raw["facts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_snapshot(folder: Path, digest: str, source: str, facts: dict[str, Any]) -> None:
    """Mark a derived dataset as whole."""
    write_json(folder / SNAPSHOT_NAME, {"digest": digest, "source": source, "facts": facts})


def training_records(dataset: Dataset) -> list[ImageRecord]:
    """The records that a training on the dataset may use: never those of the test split."""
    by_split: dict[str | None, list[ImageRecord]] = {}
    for record in dataset.records():
        by_split.setdefault(record.split, []).append(record)
    train = by_split.get("train") or by_split.get(None, [])
    return sorted([*train, *by_split.get("val", [])], key=lambda record: record.image)


def snapshot_training(
    folder: Path,
    dataset: str | Path,
    recipe: Recipe,
    supervisions: Iterable[Supervision],
    expected: str | None = None,
) -> Snapshot:
    """Derive the images that all of some supervisions can be trained on.

    An image that lacks something for one of them is left out for all, so that they differ in their targets alone.

    Args:
        folder: where the derived dataset goes; one of the same content is kept.
        dataset: the user's dataset folder.
        recipe: its data settings take part in what is left out.
        supervisions: those to compare.
        expected: the digest that the content must have, if it must.

    Raises:
        RecipeError: the content is not what is expected.
        DatasetError: nothing is left, or one of the supervisions finds nothing to train on.
    """
    reasons: dict[str, str] = {}
    wanted = list(dict.fromkeys(supervisions))
    for supervision in wanted:
        for item in gather_samples([dataset], recipe, supervision).left_out:
            reasons.setdefault(item.name, item.reason)
    with Dataset.open(dataset) as source:
        records = [record for record in training_records(source) if record.image not in reasons]
        tampered = sum(record.label == "tampered" for record in records)
        if not tampered:
            raise DatasetError(
                f"{dataset}: no tampered training image has what all of {', '.join(wanted)} need; "
                "complete the annotation, or choose fewer of them with --only"
            )
        counted: dict[str, int] = {}
        for reason in reasons.values():
            counted[reason] = counted.get(reason, 0) + 1
        facts = {
            "images": len(records),
            "tampered": tampered,
            "authentic": len(records) - tampered,
            "left_out": counted,
        }
        digest = digest_of(source, records, like=expected)
        _check(folder, dataset, digest, expected)
        return _copied(folder, source, str(dataset), records, digest, facts)


def snapshot_test(
    folder: Path, source: str | Path, expected: str | None = None, *, on_mismatch: OnMismatch = "error"
) -> Snapshot:
    """Derive the images that are tested on: the test split where there is one, otherwise all.

    Args:
        folder: where the derived dataset goes; one of the same content is kept.
        source: dataset folder, Tp/Gt(/Au) folder, IMDLBenCo list or manifest.
        expected: the digest that the content must have, if it must.
        on_mismatch: for masks of foreign data sets that do not fit their images.

    Raises:
        RecipeError: the content is not what is expected.
        DatasetError: nothing there to test on.
    """
    if (Path(source) / DATABASE).is_file():
        with Dataset.open(source) as dataset:
            split = choose_split(dataset, source, AUTO)
            records = [replace(r, pseudo=None, boxes=()) for r in dataset.records(split=split) if is_usable(r)]
            facts = _test_facts(records, source) | {"left_out": 0, "mended": 0}
            digest = digest_of(dataset, records, like=expected)
            _check(folder, source, digest, expected)
            return _copied(folder, dataset, str(source), records, digest, facts)
    with building(folder) as temporary:
        with Dataset.create(temporary) as dataset:
            report = import_foreign(source, dataset, on_mismatch)
            records = [record for record in dataset.records() if is_usable(record)]
            facts = _test_facts(records, source)
            facts |= {"left_out": len(report.left_out), "mended": len(report.mended)}
            digest = digest_of(dataset, records, Path(source).absolute().parent, expected)
        _check(folder, source, digest, expected)
        write_snapshot(temporary, digest, str(source), facts)
    return Snapshot(folder, digest, str(source), facts)


def _check(folder: Path, source: str | Path, digest: str, expected: str | None) -> None:
    if expected not in (None, digest):
        raise RecipeError(
            f"{folder.parents[1]}: holds a study of other images than {source} gives now (its content has changed, or "
            "other supervisions were chosen); give the same as then, or choose another --out"
        )


def _test_facts(records: list[ImageRecord], source: str | Path) -> dict[str, Any]:
    if not any(record.mask is not None and record.label != "authentic" for record in records):
        raise DatasetError(f"{source}: no tampered image with a true mask to test on")
    tampered = sum(record.label == "tampered" for record in records)
    return {"images": len(records), "tampered": tampered, "authentic": len(records) - tampered}


def _copied(
    folder: Path, source: Dataset, name: str, records: list[ImageRecord], digest: str, facts: dict[str, Any]
) -> Snapshot:
    found = read_snapshot(folder)
    if found is not None and found.digest == digest and _is_reachable(folder):
        return Snapshot(folder, digest, name, facts)
    with building(folder) as temporary:
        with Dataset.create(temporary) as target:
            target.put(rebased(source, target, record) for record in records)
        write_snapshot(temporary, digest, name, facts)
    return Snapshot(folder, digest, name, facts)


def _is_reachable(folder: Path) -> bool:
    """Whether the images are still where the derived dataset says: folders may have been moved."""
    with Dataset.open(folder) as dataset:
        return all(dataset.path(record.image).is_file() for record in dataset.records(limit=1))


def _file(path: Path, by_size: bool) -> int | str:
    try:
        return path.stat().st_size if by_size else sha256_of(path)
    except OSError as error:
        raise DatasetError(f"{path}: no such file; find out with  boxpromptiml validate") from error
