"""Reading a manifest back into a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.manifest import read_lines
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.formats.importing import ImportReport, store_records
from boxpromptiml.formats.masks import check_mask
from boxpromptiml.formats.merging import is_annotated, judges_otherwise
from boxpromptiml.formats.source import RejectedError
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import track

_BATCH = 256


def import_manifest(
    path: str | Path,
    dataset: Dataset | str | Path,
    *,
    base: str | Path | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Import a manifest, in one transaction; its paths are re-based on the dataset's folder.

    True masks must fit their images as those of other sources: what is coloured, marks nothing above 127 or has
    another size would later be read as something else. Files that are not there are left to `validate`: a manifest
    may be read back before they are.

    Args:
        path: the manifest.
        dataset: where to; a folder is made into a dataset, but only once the manifest has been accepted.
        base: the folder that the manifest's paths are relative to; None for the manifest's own.
        overwrite: also take what a line says where a person has said something else (boxes, label, skip mark,
            seconds, verdict on the pseudo mask). Without it these images are kept as they are and reported: nobody's
            work is lost to an old manifest. What a line leaves out stays as it is stored.

    Raises:
        RejectedError: malformed lines, or masks that do not fit; nothing was imported.
        DatasetError: the file cannot be read, or lists no image.
    """
    problems: list[DatasetError] = []
    lines = list(read_lines(path, base=base, on_error=problems.append))
    if problems:
        many = "1 line is" if len(problems) == 1 else f"{len(problems)} lines are"
        raise RejectedError(f"{path}: {many} malformed, nothing was imported", tuple(str(p) for p in problems))
    if not lines:
        raise DatasetError(f"{path}: lists no image")
    folder = Path(path).parent if base is None else Path(base)
    misfits = tuple(f"{path}:{number}: field 'mask': {what}" for number, what in _misfits(lines, folder))
    if misfits:
        many = "1 mask does" if len(misfits) == 1 else f"{len(misfits)} masks do"
        raise RejectedError(
            f"{path}: {many} not fit, nothing was imported; save them as 8-bit grey, 255 for tampered, at the size of "
            "their images",
            misfits,
        )
    records = [record for _, record in lines]
    if isinstance(dataset, Dataset):
        return _store(records, folder, dataset, overwrite)
    with Dataset.create(dataset) as made:
        return _store(records, folder, made, overwrite)


def _misfits(lines: Iterable[tuple[int, ImageRecord]], folder: Path) -> Iterator[tuple[int, str]]:
    """The lines whose masks do not fit, and what is wrong with them."""

    def problem(record: ImageRecord) -> str | None:
        mask = folder / (record.mask or "")
        if record.mask is None or not os.path.exists(mask):
            return None
        try:
            found = check_mask(mask, record.width, record.height, record.label).problem
        except ImageError as error:
            found = error.reason
        return None if found is None else f"{mask} {found}"

    remaining = iter(track(list(lines), "masks"))
    with ThreadPoolExecutor(usable_cores()) as pool:
        # In batches: all that is handed to the pool has to be worked off before Ctrl-C ends the process.
        while batch := list(islice(remaining, _BATCH)):
            for (number, _), found in zip(batch, pool.map(lambda line: problem(line[1]), batch), strict=True):
                if found is not None:
                    yield number, found


def _store(records: list[ImageRecord], folder: Path, dataset: Dataset, overwrite: bool) -> ImportReport:
    known = {record.image: record for record in dataset.records()}
    everything = dict(known)
    imported: set[str] = set()
    kept: list[str] = []
    for record in records:
        moved = _moved(record, folder, dataset)
        imported.add(moved.image)
        stored = known.get(moved.image)
        if stored is None:
            everything[moved.image] = moved
        elif not overwrite and _is_contradicted(stored, moved):
            kept.append(moved.image)
        else:
            everything[moved.image] = _merged(stored, moved)
    return store_records(dataset, known, everything.values(), format="manifest", imported=imported, kept=tuple(kept))


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
