"""Reading a manifest back into a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.manifest import read_manifest
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.importing import ImportReport, store_records
from boxpromptiml.formats.source import RejectedError


def import_manifest(
    path: str | Path,
    dataset: Dataset | str | Path,
    *,
    base: str | Path | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Import a manifest, in one transaction; its paths are re-based on the dataset's folder.

    Args:
        path: the manifest.
        dataset: where to; a folder is made into a dataset, but only once the manifest has been accepted.
        base: the folder that the manifest's paths are relative to; None for the manifest's own.
        overwrite: also replace records whose stored boxes differ from the manifest's. Without it these images are
            kept as they are and reported: nobody's boxes are lost to an old manifest.

    Raises:
        RejectedError: malformed lines; nothing was imported.
        DatasetError: the file cannot be read, or lists no image.
    """
    problems: list[DatasetError] = []
    records = list(read_manifest(path, base=base, on_error=problems.append))
    if problems:
        lines = "1 line is" if len(problems) == 1 else f"{len(problems)} lines are"
        raise RejectedError(f"{path}: {lines} malformed, nothing was imported", tuple(str(p) for p in problems))
    if not records:
        raise DatasetError(f"{path}: lists no image")
    folder = Path(path).parent if base is None else Path(base)
    if isinstance(dataset, Dataset):
        return _store(records, folder, dataset, overwrite)
    with Dataset.create(dataset) as made:
        return _store(records, folder, made, overwrite)


def _store(records: list[ImageRecord], folder: Path, dataset: Dataset, overwrite: bool) -> ImportReport:
    known = {record.image: record for record in dataset.records()}
    everything = dict(known)
    imported: set[str] = set()
    kept: list[str] = []
    for record in records:
        moved = _moved(record, folder, dataset)
        imported.add(moved.image)
        stored = known.get(moved.image)
        if stored is not None and stored.boxes and stored.boxes != moved.boxes and not overwrite:
            kept.append(moved.image)
        else:
            everything[moved.image] = replace(moved, version=stored.version if stored else 0)
    return store_records(dataset, known, everything.values(), format="manifest", imported=imported, kept=tuple(kept))


def _moved(record: ImageRecord, folder: Path, dataset: Dataset) -> ImageRecord:
    pseudo = record.pseudo
    return replace(
        record,
        image=dataset.relative(folder / record.image),
        mask=None if record.mask is None else dataset.relative(folder / record.mask),
        pseudo=None if pseudo is None else replace(pseudo, path=dataset.relative(folder / pseudo.path)),
    )
