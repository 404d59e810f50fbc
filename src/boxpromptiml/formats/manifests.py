"""Reading a manifest back into a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.manifest import read_lines
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.formats.examine import Mender, mask_saver
from boxpromptiml.formats.importing import (
    MASKS,
    ImportReport,
    OnMismatch,
    check_policy,
    remedy_of_misfits,
    store_records,
)
from boxpromptiml.formats.masks import check_mask
from boxpromptiml.formats.merging import is_annotated, judges_otherwise
from boxpromptiml.formats.source import Candidate, Mismatch, RejectedError
from boxpromptiml.machine import in_threads
from boxpromptiml.progress import track


@dataclass(frozen=True, slots=True)
class _Misfit:
    """A mask that does not fit its image.

    Attributes:
        mask: the file.
        reason: what is wrong with it.
        mendable: whether `resize` could do something about it.
    """

    mask: Path
    reason: str
    mendable: bool

    def __str__(self) -> str:
        return f"{self.mask} {self.reason}"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line, and what its mask file says.

    Attributes:
        number: of the line.
        record: what it says, with the mended mask where there is one.
        misfit: what is wrong with the mask; None where it fits, or is not there.
        mended: whether that was mended.
        unused: whether it marks something, though the image is authentic.
    """

    number: int
    record: ImageRecord
    misfit: _Misfit | None = None
    mended: bool = False
    unused: bool = False


def import_manifest(
    path: str | Path,
    dataset: Dataset | str | Path,
    *,
    base: str | Path | None = None,
    overwrite: bool = False,
    on_mismatch: OnMismatch = "error",
) -> ImportReport:
    """Import a manifest, in one transaction; its paths are re-based on the dataset's folder.

    True masks must fit their images as those of other sources: what is coloured, marks nothing above 127 or has
    another size would later be read as something else. One that marks something of an authentic image is kept, as a
    dataset keeps it when its image is labelled anew, so that what a manifest is written of comes back whole: nothing
    uses it. Files that are not there are left to `validate`: a manifest may be read back before they are.

    Args:
        path: the manifest.
        dataset: where to; a folder is made into a dataset, but only once the manifest has been accepted.
        base: the folder that the manifest's paths are relative to; None for the manifest's own.
        overwrite: also take what a line says where a person has said something else (boxes, label, skip mark,
            seconds, verdict on the pseudo mask). Without it these images are kept as they are and reported: nobody's
            work is lost to an old manifest. What a line leaves out stays as it is stored.
        on_mismatch: for masks that do not fit, see `import_source`.

    Raises:
        RejectedError: malformed lines, or masks that do not fit; nothing was imported.
        DatasetError: the file cannot be read, or lists no image.
    """
    check_policy(on_mismatch)
    problems: list[DatasetError] = []
    lines = list(read_lines(path, base=base, on_error=problems.append))
    if problems:
        many = "1 line is" if len(problems) == 1 else f"{len(problems)} lines are"
        raise RejectedError(f"{path}: {many} malformed, nothing was imported", tuple(str(p) for p in problems))
    if not lines:
        raise DatasetError(f"{path}: lists no image")
    folder = Path(path).parent if base is None else Path(base)
    root = dataset.root if isinstance(dataset, Dataset) else Path(dataset)
    checked = list(_checked(lines, folder, mask_saver(root / MASKS) if on_mismatch == "resize" else None))
    misfits = [(line, line.misfit) for line in checked if line.misfit is not None and not line.mended]
    if misfits and on_mismatch == "error":
        remedy = remedy_of_misfits(any(misfit.mendable for _, misfit in misfits))
        many = "1 mask does" if len(misfits) == 1 else f"{len(misfits)} masks do"
        raise RejectedError(
            f"{path}: {many} not fit, nothing was imported; {remedy}",
            tuple(f"{path}:{line.number}: field 'mask': {misfit}" for line, misfit in misfits),
            remedy,
        )
    fitting = [line for line in checked if line.misfit is None or line.mended]
    left_out = tuple(_mismatch(line, folder) for line, _ in misfits)
    if not fitting:
        raise DatasetError(f"{path}: no image fits, the first is {left_out[0]}")
    if isinstance(dataset, Dataset):
        return _store(fitting, left_out, folder, dataset, overwrite)
    with Dataset.create(dataset) as made:
        return _store(fitting, left_out, folder, made, overwrite)


def _mismatch(line: _Line, folder: Path) -> Mismatch:
    return Mismatch(folder / line.record.image, f"its mask {line.misfit}")


def _checked(lines: Iterable[tuple[int, ImageRecord]], folder: Path, mender: Mender | None) -> Iterator[_Line]:
    """The lines with what is wrong with their masks, mended where that can be and there is a mender."""

    def check(numbered: tuple[int, ImageRecord]) -> _Line:
        number, record = numbered
        if record.mask is None or not os.path.exists(folder / record.mask):
            return _Line(number, record)
        mask = folder / record.mask
        # That it contradicts the label `authentic` is no flaw of the mask.
        authentic = record.label == "authentic"
        try:
            found = check_mask(mask, record.width, record.height, None if authentic else record.label)
        except ImageError as error:
            return _Line(number, record, _Misfit(mask, error.reason, False))
        unused = authentic and found.marks
        if found.problem is None:
            return _Line(number, record, unused=unused)
        misfit = _Misfit(mask, found.problem, found.contradiction is None)
        if mender is None:
            return _Line(number, record, misfit)
        try:
            mended = found.mended(record.width, record.height)
        except ValueError as error:
            return _Line(number, record, replace(misfit, reason=str(error)))
        saved = mender(Candidate(folder / record.image), mended).absolute()
        return _Line(number, replace(record, mask=str(saved)), misfit, mended=True, unused=unused)

    return in_threads(check, track(list(lines), "masks"))


def _store(
    lines: list[_Line], left_out: tuple[Mismatch, ...], folder: Path, dataset: Dataset, overwrite: bool
) -> ImportReport:
    known = {record.image: record for record in dataset.records()}
    everything = dict(known)
    imported: set[str] = set()
    kept: list[str] = []
    unused: list[str] = []
    for line in lines:
        moved = _moved(line.record, folder, dataset)
        imported.add(moved.image)
        stored = known.get(moved.image)
        if stored is not None and not overwrite and _is_contradicted(stored, moved):
            kept.append(moved.image)
            continue
        everything[moved.image] = moved if stored is None else _merged(stored, moved)
        if line.unused:
            unused.append(moved.image)
    return store_records(
        dataset,
        known,
        everything.values(),
        format="manifest",
        imported=imported,
        left_out=left_out,
        mended=tuple(_mismatch(line, folder) for line in lines if line.mended),
        kept=tuple(kept),
        unused=tuple(unused),
    )


def _is_contradicted(stored: ImageRecord, line: ImageRecord) -> bool:
    """Whether a line says otherwise about an image that a person has annotated or reviewed.

    What it leaves out says nothing: the manifest may have been written before the person's work.
    """
    if not is_annotated(stored) and stored.review is None:
        return False
    return (
        (stored.width, stored.height) != (line.width, line.height)
        or _annotates_otherwise(stored, line)
        or (None not in (stored.seconds, line.seconds) and stored.seconds != line.seconds)
        or (stored.review is not None and line.review not in (None, stored.review))
        or (stored.review is not None and line.pseudo not in (None, stored.pseudo))
    )


def _annotates_otherwise(stored: ImageRecord, line: ImageRecord) -> bool:
    return line.boxes not in ((), stored.boxes) or judges_otherwise(stored, line)


def _merged(stored: ImageRecord, line: ImageRecord) -> ImageRecord:
    """What the line says, and what is stored where it says nothing.

    An annotation is one thing: where the line's is another one, nothing of the stored one is left in it.
    """
    kept = replace(
        line,
        version=stored.version,
        split=line.split or stored.split,
        group=line.group or stored.group,
        kind=line.kind or stored.kind,
    )
    if (stored.width, stored.height) != (line.width, line.height):
        return kept
    kept = replace(kept, mask=line.mask or stored.mask, pseudo=line.pseudo or stored.pseudo)
    if _annotates_otherwise(stored, line):
        if line.label == "authentic":
            return replace(kept, mask=line.mask, kind=line.kind)
        return replace(kept, label=line.label or ("tampered" if line.boxes else None))
    return replace(
        kept,
        boxes=line.boxes or stored.boxes,
        label=line.label or stored.label,
        skipped=line.skipped or stored.skipped,
        seconds=stored.seconds if line.seconds is None else line.seconds,
        review=line.review or (stored.review if kept.pseudo == stored.pseudo else None),
    )


def _moved(record: ImageRecord, folder: Path, dataset: Dataset) -> ImageRecord:
    pseudo = record.pseudo
    return replace(
        record,
        image=dataset.relative(folder / record.image),
        mask=None if record.mask is None else dataset.relative(folder / record.mask),
        pseudo=None if pseudo is None else replace(pseudo, path=dataset.relative(folder / pseudo.path)),
    )
