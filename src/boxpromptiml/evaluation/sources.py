"""What can be evaluated on: a dataset folder, or a foreign data set that is read for the occasion."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxpromptiml.dataset import SPLITS, Dataset, ImageRecord
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import RejectedError, import_manifest, import_source, is_manifest
from boxpromptiml.formats.importing import OnMismatch

AUTO, ALL = "auto", "all"


@contextmanager
def open_source(source: Dataset | str | Path, *, on_mismatch: OnMismatch = "error") -> Iterator[Dataset]:
    """Open a dataset folder, or read Tp/Gt(/Au) folders, an IMDLBenCo list or a manifest into a temporary dataset.

    Raises:
        DatasetError: there is nothing of the kind, or its files do not fit together.
    """
    if isinstance(source, Dataset):
        yield source
    elif (Path(source) / DATABASE).is_file():
        with Dataset.open(source) as dataset:
            yield dataset
    else:
        with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as folder, Dataset.create(folder) as dataset:
            if is_manifest(source):
                import_manifest(source, dataset)
            else:
                _import(source, dataset, on_mismatch)
            yield dataset


def _import(source: str | Path, dataset: Dataset, on_mismatch: OnMismatch) -> None:
    try:
        import_source(source, dataset, on_mismatch=on_mismatch, group_by="none")
    except RejectedError as error:
        number = len(error.problems)
        raise DatasetError(
            f"{source}: {number} {'file does' if number == 1 else 'files do'} not fit, the first: {error.problems[0]}; "
            "leave them out with --on-mismatch skip, mend them with resize, or see all with  boxpromptiml import"
        ) from error


def choose_split(dataset: Dataset, name: str | Path, split: str) -> str | None:
    """The split to evaluate; None for all images.

    Args:
        dataset: the dataset.
        name: of the dataset, for the message.
        split: ``train``, ``val``, ``test``, ``all``, or ``auto``: ``test`` where the dataset has one, otherwise all.

    Raises:
        DatasetError: unknown split, or one without images.
    """
    if split == ALL:
        return None
    if split == AUTO:
        return "test" if dataset.count(split="test") else None
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r}; there are {', '.join((AUTO, ALL, *SPLITS))}")
    if not dataset.count(split=split):
        have = [known for known in SPLITS if dataset.count(split=known)]
        remedy = f"it has {', '.join(have)}" if have else f"split it with  boxpromptiml split {name}"
        raise DatasetError(f"{name}: no image is in the split {split}; {remedy}")
    return split


def is_usable(record: ImageRecord) -> bool:
    """Whether the truth about an image is known."""
    return record.label is not None or record.mask is not None
