"""What can be evaluated on: a dataset folder, or a foreign data set that is read for the occasion."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.dataset import SPLITS, Dataset, ImageRecord
from boxpromptiml.dataset.paths import relative_path
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import IMPORT_FORMATS, RejectedError, import_manifest, import_source, is_manifest
from boxpromptiml.formats.importing import ImportReport, OnMismatch

AUTO, ALL = "auto", "all"
Source = Dataset | str | Path

# Options that the readers of foreign data sets speak of, and that only  boxpromptiml import  has.
_OPTION = re.compile(rf"--format(?: (?P<format>{'|'.join(IMPORT_FORMATS)})\b)?|--images\b")
_ASIDE = re.compile(r" \([^()]*--(?:format|images)\b[^()]*\)")
# An aside of theirs that is no remedy here: photographs alone have no truth.
_PHOTOGRAPHS = re.compile(r" \(--format images\b[^()]*\)")


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source that can be read.

    Attributes:
        name: of the source, as it was given.
        dataset: its records; a temporary dataset for foreign data sets.
        folder: what the names of its images are relative to: the dataset's folder, the folder of a Tp/Gt(/Au) data set,
            or the one that a list or manifest lies in.
        temporary: whether `dataset` is gone when the source is closed.
        left_out: files of a foreign data set that did not fit and are not in `dataset`; in a `Plan` also the images of
            `dataset` whose masks do not fit.
        mended: its masks that did not fit and were mended.
    """

    name: str
    dataset: Dataset
    folder: Path
    temporary: bool
    left_out: int = 0
    mended: int = 0

    def name_of(self, path: str) -> str:
        """The name of an image or mask, relative to `folder`; `path` is as a record of `dataset` has it."""
        return relative_path(self._real(path), self.folder) if self.temporary else path

    def path_of(self, path: str) -> Path:
        """The file itself, by a path that the user knows; never by way of a temporary folder."""
        if not self.temporary:
            return self.dataset.path(path)
        name = self.name_of(path)
        # Behind `..` the folder's own name may mislead, where it is a symbolic link.
        return Path(self._real(path)) if name.startswith("..") else self.folder / name

    def record_of(self, name: str) -> ImageRecord:
        """The record of an image by its name."""
        return self.dataset.get(self.dataset.relative(self.folder / name) if self.temporary else name)

    def owns(self, path: str) -> bool:
        """Whether a file was made for the occasion, such as a mended mask."""
        return self.temporary and Path(self._real(path)).is_relative_to(self.dataset.root)

    def _real(self, path: str) -> str:
        # The root has no symbolic links, so that a leading `..` means what it says.
        return os.path.normpath(self.dataset.root / path)


@contextmanager
def open_source(source: Source, *, on_mismatch: OnMismatch = "error") -> Iterator[OpenSource]:
    """Open a dataset folder, or read Tp/Gt(/Au) folders, an IMDLBenCo list or a manifest into a temporary dataset.

    Raises:
        DatasetError: there is nothing of the kind, or its files do not fit together.
    """
    if isinstance(source, Dataset):
        yield OpenSource(str(source.root), source, source.root, temporary=False)
    elif (Path(source) / DATABASE).is_file():
        with Dataset.open(source) as dataset:
            yield OpenSource(str(source), dataset, dataset.root, temporary=False)
    else:
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as made, Dataset.create(made) as dataset:
            report = import_foreign(source, dataset, on_mismatch)
            left_out, mended = len(report.left_out), len(report.mended)
            yield OpenSource(str(source), dataset, folder, temporary=True, left_out=left_out, mended=mended)


def misfits(left_out: int, mended: int) -> list[str]:
    """What was done about files that do not fit, for people; nothing where all of them do."""
    left = "1 file that does not fit was" if left_out == 1 else f"{left_out} files that do not fit were"
    said = [f"{left} left out"] if left_out else []
    return [*said, f"{mended} masks were mended"] if mended else said


def import_foreign(source: str | Path, dataset: Dataset, on_mismatch: OnMismatch) -> ImportReport:
    """Read a Tp/Gt(/Au) folder, an IMDLBenCo list or a manifest into a dataset, to test on it.

    Raises:
        DatasetError: there is nothing of the kind, or its files do not fit together; the message names the first.
    """
    try:
        if is_manifest(source):
            return import_manifest(source, dataset, on_mismatch=on_mismatch)
        return import_source(source, dataset, on_mismatch=on_mismatch, group_by="none")
    except RejectedError as error:
        number = len(error.problems)
        if is_manifest(source):
            lines = "1 line does" if number == 1 else f"{number} lines do"
            remedy = f"; {error.remedy}" if error.remedy else ""
            raise DatasetError(f"{source}: {lines} not fit, the first: {error.problems[0]}{remedy}") from error
        first, remedy = _without_options(source, error.problems[0])
        raise DatasetError(
            f"{source}: {number} {'file does' if number == 1 else 'files do'} not fit, the first: {first}; "
            "leave them out with --on-mismatch skip, mend them with resize, or "
            f"{remedy or 'see all with  boxpromptiml import'}"
        ) from error
    except DatasetError as error:
        text, remedy = _without_options(source, str(error))
        raise DatasetError(f"{text}; {remedy}" if remedy else text) from error


def _without_options(source: str | Path, message: str) -> tuple[str, str]:
    """A reader's message without options that only an import has, and the import that has them; empty without any."""
    message = _PHOTOGRAPHS.sub("", message)
    options = {
        match[0].split()[0]: match["format"] or ("FORMAT" if match[0].startswith("--format") else "FOLDER")
        for match in _OPTION.finditer(message)
    }
    if not options:
        return message, ""
    clauses = _ASIDE.sub("", message).split("; ")
    text = "; ".join([clauses[0], *(clause for clause in clauses[1:] if not _OPTION.search(clause))])
    given = " ".join(f"{name} {value}" for name, value in options.items())
    return text, f"import it first:  boxpromptiml import {source} -o DATASET {given}"


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
        remedy = f"it has {', '.join(have)}" if have else "it has no splits: leave --split out, or give --split all"
        raise DatasetError(f"{name}: no image is in the split {split}; {remedy}")
    return split


def is_usable(record: ImageRecord) -> bool:
    """Whether the truth about an image is known."""
    return record.label is not None or record.mask is not None
