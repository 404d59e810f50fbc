"""From a folder to the dataset that is annotated: made if it is none yet, with the images that are new in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.examine import Examined, examine
from boxpromptiml.formats.folders import folders_apart, read_tp_gt, refuse_nested_tp_gt, tp_gt_parts
from boxpromptiml.formats.importing import MASKS, store_examined
from boxpromptiml.formats.source import Candidate, Mismatch, Source
from boxpromptiml.images import find_images
from boxpromptiml.progress import track
from boxpromptiml.pseudolabels.files import FOLDER as PSEUDO_MASKS


@dataclass(frozen=True, slots=True)
class Found:
    """What was new in a folder.

    Attributes:
        added: images that were added to the dataset.
        without_mask: images that were added without their mask, which does not fit, and why.
        left_out: images that cannot be read, and why.
    """

    added: int = 0
    without_mask: tuple[Mismatch, ...] = ()
    left_out: tuple[Mismatch, ...] = ()


def open_folder(folder: str | Path, *, split: str | None = None, read_only: bool = False) -> tuple[Dataset, Found]:
    """Open a dataset folder, or make one of a folder of images; look for new images in it.

    Images are looked for in a folder with ``Tp/`` or ``Au/`` (where ``Gt/`` holds true masks), and else in the folder
    and all below it, but not among masks and not in datasets of their own. A dataset whose images all lie elsewhere is
    opened as it is. What cannot be read is left out, and looked at again the next time.

    Args:
        folder: the folder.
        split: of the images that are new.
        read_only: look for nothing.

    Returns:
        The dataset, which the caller closes, and what was new.

    Raises:
        DatasetError: no such folder, no image in it, or it cannot be made a dataset.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DatasetError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: not a folder; give a folder of images, or a dataset's")
    if not (folder / DATABASE).exists():
        if read_only:
            raise DatasetError(f"{folder}: is no dataset yet; leave --read-only out once, to make it one")
        return _made(folder, split)
    dataset = Dataset.open(folder)
    if read_only or dataset.read_only:
        return dataset, Found()
    try:
        return dataset, _with_new(dataset, folder, split)
    except BaseException:
        dataset.close()
        raise


def _made(folder: Path, split: str | None) -> tuple[Dataset, Found]:
    if not {"tp", "au"} & tp_gt_parts(folder).keys():
        refuse_nested_tp_gt(folder, "give one of them, or import them one by one into a dataset of their own")
    source = _source(folder, [])
    if not source.candidates:
        raise DatasetError(f"{folder}: no images in it (PNG, JPEG, TIFF, WebP or BMP)")
    fitting, found = _examined(source)
    if not fitting:  # before anything is written: a wrong folder must not become a dataset
        raise DatasetError(f"{folder}: no image in it can be read, the first is {found.left_out[0]}")
    dataset = Dataset.create(folder)
    try:
        _store(folder, source, fitting, dataset, split)
    except BaseException:
        dataset.close()
        raise
    return dataset, found


def _with_new(dataset: Dataset, folder: Path, split: str | None) -> Found:
    known = {record.image: record for record in track(dataset.records(), "open", dataset.count())}
    if known and all(name.startswith("../") or Path(name).is_absolute() for name in known):
        return Found()
    source = _source(folder, known.values())
    new = tuple(candidate for candidate in source.candidates if dataset.relative(candidate.image) not in known)
    if not new:
        return Found()
    fitting, found = _examined(replace(source, candidates=new))
    if fitting:
        _store(folder, source, fitting, dataset, split)
    return found


def _examined(source: Source) -> tuple[list[Examined], Found]:
    fitting: list[Examined] = []
    without_mask: dict[Path, Mismatch] = {}
    left_out: list[Mismatch] = []
    again: list[Candidate] = []
    for candidate, result in zip(source.candidates, examine(source, None), strict=True):
        if isinstance(result, Examined):
            fitting.append(result)
        elif candidate.mask is None:
            left_out.append(result)
        else:
            # A person can draw boxes on it all the same, if the image itself can be read.
            without_mask[candidate.image] = result
            again.append(replace(candidate, mask=None))
    for result in examine(replace(source, candidates=tuple(again)), None) if again else ():
        if isinstance(result, Examined):
            fitting.append(result)
        else:
            left_out.append(result)
            del without_mask[result.path]
    return fitting, Found(len(fitting), tuple(without_mask.values()), tuple(left_out))


def _store(folder: Path, source: Source, fitting: list[Examined], dataset: Dataset, split: str | None) -> None:
    store_examined(folder, source, fitting, [], dataset, label=None, split=split, group_by="auto", kind="auto")


def _source(folder: Path, known: Iterable[ImageRecord]) -> Source:
    parts = tp_gt_parts(folder)
    if {"tp", "au"} & parts.keys():
        source = read_tp_gt(folder)
        # What has no mask, or several, is left for people.
        paired = {candidate.image for candidate in source.candidates}
        others = [path for path in find_images(parts["tp"]) if path not in paired] if "tp" in parts else []
        unpaired = tuple(Candidate(path, label="tampered") for path in others)
        return Source(source.format, (*source.candidates, *unpaired))
    masks = {folder / name for record in known for name in _mask_files(record)}
    datasets, tp_gt = folders_apart(folder)
    away = {folder / MASKS, folder / PSEUDO_MASKS, *datasets, *tp_gt}
    # Images come in large numbers, their folders do not.
    is_away = cache(lambda where: not away.isdisjoint({where, *where.parents}))
    images = [path for path in find_images(folder) if path not in masks and not is_away(path.parent)]
    return Source("folder of images", tuple(map(Candidate, images)))


def _mask_files(record: ImageRecord) -> list[str]:
    pseudo = None if record.pseudo is None else record.pseudo.path
    return [name for name in (record.mask, pseudo) if name is not None]
