"""Bringing a foreign dataset into a dataset folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from boxpromptiml.dataset import Dataset, ImageRecord, Label
from boxpromptiml.dataset.paths import relative_path
from boxpromptiml.dataset.splits import crossing_groups
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.casia import casia_kind
from boxpromptiml.formats.detect import read_source
from boxpromptiml.formats.examine import Examined, examine, mask_saver
from boxpromptiml.formats.grouping import check_grouping, groups_of
from boxpromptiml.formats.merging import draw_masks, is_contradicted, merged
from boxpromptiml.formats.source import Mismatch, ReadOptions, RejectedError, Source
from boxpromptiml.progress import track

OnMismatch = Literal["error", "skip", "resize"]
MASKS = "masks"
_SKIP = "--on-mismatch skip leaves such images out"
_RESIZE = "resize mends masks of another size, with colours or with 1 for 255"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        format: the format that was read.
        added: images that are new.
        changed: images that were known and have changed.
        unchanged: images that were known and are as they were, or were kept as they were.
        labels: images of the source by label.
        left_out: images and masks that were not imported, and why.
        mended: images that were imported with a mended mask, and what was wrong with it.
        kept: images on which a person has said something else than the source; they were kept.
        incomplete: images with polygons or masks for some of their regions only: only the boxes were taken.
        unused: authentic images of a manifest with masks that mark something: these stay on record, and nothing uses
            them.
        groups: source groups in the dataset now.
        crossing: source groups that have images in several splits.
    """

    format: str
    added: int
    changed: int
    unchanged: int
    labels: dict[Label | None, int]
    left_out: tuple[Mismatch, ...] = ()
    mended: tuple[Mismatch, ...] = ()
    kept: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    groups: int = 0
    crossing: tuple[str, ...] = ()


def import_source(
    src: str | Path,
    dataset: Dataset | str | Path,
    *,
    on_mismatch: OnMismatch = "error",
    label: Label | None = None,
    split: str | None = None,
    group_by: str = "auto",
    kind: str = "auto",
    workers: int | None = None,
    format: str | None = None,
    options: ReadOptions | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Import a foreign dataset (see `read_source`), in one transaction.

    Images and masks stay where they are; masks that a format draws (polygons, run lengths) are written to ``masks/``.
    What the dataset knows of an image already is kept: boxes, label and seconds of an annotated image, pseudo mask,
    review, and split unless one is given. If the image has another size than before it is another image: its boxes,
    pseudo mask, seconds and review are dropped.

    Args:
        src: the source.
        dataset: where to; a folder is made into a dataset, but only once the source has been accepted.
        on_mismatch: for masks that are missing, unreadable, coloured, too dark, ambiguous or of another size, masks
            that mark nothing of a tampered image or something of an authentic one, masks without an image and
            unreadable images: ``error`` imports nothing, ``skip`` leaves these images out, ``resize`` mends masks of
            another size (nearest neighbour; not if the aspect ratio differs by more than 5 %), coloured ones (tampered
            where the brightest channel is above 127) and those that are not empty but nowhere above 127 (tampered
            where they are above 0) into ``masks/``, scales boxes that were drawn at another size, clips those that
            overhang the image, and leaves the rest out.
        label: of the images that the source does not label.
        split: of all images; None keeps what is known.
        group_by: ``auto`` (CASIA's names where they are recognised, otherwise equal stems within the source, those of
            Roboflow's copies without their hash and within the export), ``casia``, ``stem``, ``none`` or a regular
            expression, see `source_groups`. Groups are connected over the entire dataset, not within one import.
        kind: kind of manipulation of the tampered images; ``auto`` asks CASIA's names, ``none`` leaves it open.
        workers: threads that read files; default one a CPU.
        format: the source's format, one of `IMPORT_FORMATS`; None to tell it by the content.
        options: what is to be known for reading it.
        overwrite: where the source says otherwise about an annotated image (other boxes, none any more, another
            label), take its boxes, label and mask as they are; without it these images are kept and reported.

    Raises:
        RejectedError: malformed entries, or files that do not fit together, under ``error``; nothing was imported.
        DatasetError: not a format that is read, no image that fits, or the dataset cannot be written.
    """
    check_policy(on_mismatch)
    source = read_source(src, format, options)
    if label is not None and all(candidate.label for candidate in source.candidates):
        raise DatasetError(f"{src}: the {source.format} labels its images itself; leave the label out")
    if overwrite and all(candidate.annotation is None for candidate in source.candidates):
        raise DatasetError(f"{src}: --overwrite is for manifests and formats with boxes, the {source.format} has none")
    root = dataset.root if isinstance(dataset, Dataset) else Path(dataset)
    check_grouping(group_by, src, [_name(candidate.image, dataset) for candidate in source.candidates])
    # Only mending writes before all is known to fit, and mending never rejects a source.
    fitting: list[Examined] = []
    left_out = list(source.mismatches)
    for result in examine(source, mask_saver(root / MASKS) if on_mismatch == "resize" else None, workers):
        if isinstance(result, Examined):
            fitting.append(result)
        else:
            left_out.append(result)
    if left_out and on_mismatch == "error":
        raise _rejected(src, left_out)
    if not fitting:
        raise DatasetError(f"{src}: no image fits, the first is {left_out[0]}")
    if isinstance(dataset, Dataset):
        return store_examined(src, source, fitting, left_out, dataset, label, split, group_by, kind, overwrite)
    with Dataset.create(dataset) as made:
        return store_examined(src, source, fitting, left_out, made, label, split, group_by, kind, overwrite)


def store_examined(
    src: str | Path,
    source: Source,
    fitting: list[Examined],
    left_out: list[Mismatch],
    dataset: Dataset,
    label: Label | None,
    split: str | None,
    group_by: str,
    kind: str,
    overwrite: bool = False,
) -> ImportReport:
    known = {record.image: record for record in dataset.records()}
    new: dict[str, ImageRecord] = {}
    kept: list[str] = []
    drawn: dict[str, Examined] = {}
    for image in fitting:
        name = dataset.relative(image.image)
        proposed = ImageRecord(
            image=name,
            width=image.width,
            height=image.height,
            label=image.label or (None if image.skipped else label),
            boxes=image.boxes or (),
            mask=None if image.mask is None else dataset.relative(image.mask),
            split=split or image.split,
            kind=_kind(name, image.label or label, kind),
            seconds=image.seconds,
            skipped=image.skipped,
        )
        stored = known.get(name)
        draws = image.boxes is not None
        if stored is not None and not overwrite and is_contradicted(stored, proposed, draws):
            kept.append(name)
            new[name] = replace(stored, split=split or stored.split)
        else:
            new[name] = merged(stored, proposed, split_given=split is not None, draws=draws)
            if image.pixels is not None:
                drawn[name] = image
    for name, mask in draw_masks(drawn, dataset.root / MASKS):
        new[name] = replace(new[name], mask=dataset.relative(mask))
    everything = {**known, **new}
    groups = groups_of(everything, set(new), group_by, dataset, src)
    everything = {name: replace(record, group=groups.get(name, record.group)) for name, record in everything.items()}
    return store_records(
        dataset,
        known,
        everything.values(),
        format=source.format,
        imported=new.keys(),
        left_out=tuple(left_out),
        mended=tuple(image.mended for image in fitting if image.mended is not None),
        kept=tuple(kept),
        incomplete=tuple(dataset.relative(image.image) for image in fitting if image.incomplete),
    )


def store_records(
    dataset: Dataset,
    known: dict[str, ImageRecord],
    records: Iterable[ImageRecord],
    *,
    format: str,
    imported: Collection[str],
    left_out: tuple[Mismatch, ...] = (),
    mended: tuple[Mismatch, ...] = (),
    kept: tuple[str, ...] = (),
    incomplete: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> ImportReport:
    """Store all records that are new or differ from the known ones, in one transaction, and report on it.

    Args:
        dataset: where to.
        known: what the dataset holds.
        records: all records that the dataset shall hold afterwards.
        format: of the source.
        imported: the images that the source listed.
        left_out: see `ImportReport`.
        mended: see `ImportReport`.
        kept: see `ImportReport`.
        incomplete: see `ImportReport`.
        unused: see `ImportReport`.

    Raises:
        ConflictError: another process changed one of the images meanwhile.
    """
    everything = list(records)
    different = [record for record in everything if known.get(record.image) != record]
    if different:
        dataset.put(track(different, "store"), unchanged=True)
    added = sum(record.image not in known for record in different)
    changed = sum(record.image in known and record.image in imported for record in different)
    listed = [record for record in everything if record.image in imported]
    return ImportReport(
        format=format,
        added=added,
        changed=changed,
        unchanged=len(listed) - added - changed,
        labels=dict(Counter(record.label for record in listed)),
        left_out=left_out,
        mended=mended,
        kept=kept,
        incomplete=incomplete,
        unused=unused,
        groups=len({record.group for record in everything if record.group is not None}),
        crossing=tuple(sorted(crossing_groups(everything))),
    )


def _kind(name: str, label: Label | None, kind: str) -> str | None:
    if label != "tampered" or kind == "none":
        return None
    return casia_kind(name) if kind == "auto" else kind


def _name(image: Path, dataset: Dataset | str | Path) -> str:
    """What the dataset calls an image, or will call it once it is made."""
    return dataset.relative(image) if isinstance(dataset, Dataset) else relative_path(image, dataset)


def check_policy(on_mismatch: str) -> None:
    """Raise DatasetError for what is no `OnMismatch`."""
    if on_mismatch not in get_args(OnMismatch):
        raise DatasetError(f"on_mismatch {on_mismatch!r} is not one of {', '.join(get_args(OnMismatch))}")


def remedy_of_misfits(mendable: bool) -> str:
    """What --on-mismatch does about files that do not fit; `mendable`: whether any of them could be mended."""
    return f"{_SKIP}, {_RESIZE}" if mendable else _SKIP


def _rejected(src: str | Path, mismatches: list[Mismatch]) -> RejectedError:
    count = "1 file does" if len(mismatches) == 1 else f"{len(mismatches)} files do"
    remedy = remedy_of_misfits(mendable=True)
    return RejectedError(
        f"{src}: {count} not fit, nothing was imported; {remedy}",
        tuple(str(mismatch) for mismatch in mismatches),
        remedy,
    )
