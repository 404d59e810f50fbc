"""Writing a dataset in a foreign format: one pass, image by image, into a folder that appears as a whole."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from boxpromptiml.dataset import SPLITS, Dataset, ImageRecord
from boxpromptiml.errors import DatasetError
from boxpromptiml.files import write_bytes
from boxpromptiml.formats.export_folder import check_folder, export_folder
from boxpromptiml.formats.export_items import (
    NOT_ACCEPTED,
    ExportOptions,
    Item,
    Names,
    is_selected,
    load_mask,
    selected,
)
from boxpromptiml.formats.writers import Writer
from boxpromptiml.formats.writers.coco import CocoWriter
from boxpromptiml.formats.writers.folders import FoldersWriter
from boxpromptiml.formats.writers.imdlbenco import ImdlbencoWriter
from boxpromptiml.formats.writers.label_studio import LabelStudioWriter
from boxpromptiml.formats.writers.labelme import LabelmeWriter
from boxpromptiml.formats.writers.voc import VocWriter
from boxpromptiml.formats.writers.yolo import YoloWriter
from boxpromptiml.machine import in_threads, usable_cores
from boxpromptiml.progress import progress_bar

ExportFormat = Literal["coco", "yolo", "voc", "labelme", "label-studio", "folders", "imdlbenco"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

_WRITERS: Mapping[str, type[Writer]] = {
    "coco": CocoWriter,
    "yolo": YoloWriter,
    "voc": VocWriter,
    "labelme": LabelmeWriter,
    "label-studio": LabelStudioWriter,
    "folders": FoldersWriter,
    "imdlbenco": ImdlbencoWriter,
}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        images: images in it.
        boxes: boxes in it.
        masks: masks in it.
        states: images in it by state (``boxed``, ``authentic``, ``skipped``, ``todo``).
        left_out: how many images of the split are not in it, by reason: what the format has no place for, and what
            nobody has accepted.
        lost: how many images come back with less than the dataset knows, by what is lost.
        root: the folder that has the images, where they do not lie in the export; their names in it are relative to
            this folder, in LabelMe to the file that names them.
    """

    images: int
    boxes: int
    masks: int
    states: Mapping[str, int]
    left_out: Mapping[str, int]
    lost: Mapping[str, int]
    root: Path | None


def export_boxes(
    dataset: Dataset, out: str | Path, format: str, options: ExportOptions | None = None, *, overwrite: bool = False
) -> ExportReport:
    """Write a dataset in a foreign format.

    Args:
        dataset: what to write.
        out: the folder to write; see `export_folder`.
        format: one of `EXPORT_FORMATS`.
        options: what to write of it, and how.
        overwrite: replace an earlier export of the dataset in this format.

    Raises:
        DatasetError: an option that the format cannot fulfil, nothing to write, a mask that does not fit its image,
            an image that cannot be copied, or `out` holds something else.
    """
    options = options or ExportOptions()
    out = Path(out)
    kind = _WRITERS.get(format)
    if kind is None:
        raise DatasetError(f"format {format!r} is not one of {', '.join(EXPORT_FORMATS)}")
    options = _settled(kind, format, options)
    check_folder(out, format, dataset.root, overwrite=overwrite)
    names = Names(dataset, selected(dataset, options))
    of_split = Counter(is_selected(record, options) for record in dataset.records(split=options.split))
    total = of_split[True]
    left_out: Counter[str] = Counter({NOT_ACCEPTED: of_split[False]} if of_split[False] else {})
    if not total:
        reason = f": {_reasons(left_out)}" if left_out else "; see  boxpromptiml manifest"
        raise DatasetError(f"{dataset.root}: no image to export{reason}")
    counts: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    states: Counter[str] = Counter()
    with export_folder(out, format, dataset.root, overwrite=overwrite) as folder, progress_bar() as bar:
        writer = kind(folder, out, options)
        task = bar.add_task("export", total=total)
        made = _in_order(
            lambda record: _made(dataset, names, writer, folder, options, record), selected(dataset, options)
        )
        for record, item in made:
            bar.advance(task)
            if isinstance(item, str):
                left_out[item] += 1
                continue
            writer.add(item)
            states[record.state] += 1
            lost.update(writer.losses(item))
            counts.update(images=1, boxes=len(record.boxes) if writer.has_boxes else 0, masks=item.mask is not None)
        if not counts["images"]:
            raise DatasetError(f"{dataset.root}: nothing to export as {format}: {_reasons(left_out)}")
        writer.close()
    return ExportReport(
        images=counts["images"],
        boxes=counts["boxes"],
        masks=counts["masks"],
        states=dict(states),
        left_out=dict(left_out),
        lost=dict(lost),
        root=Path(names.root) if options.images == "reference" else None,
    )


def _reasons(left_out: Mapping[str, int]) -> str:
    return "; ".join(f"{number:,} {reason}" for reason, number in left_out.items())


def _settled(kind: type[Writer], format: str, options: ExportOptions) -> ExportOptions:
    """The options with the format's own choices filled in; refuses those that it cannot fulfil."""
    if options.split is not None and options.split not in SPLITS:
        raise DatasetError(f"split {options.split!r} is not one of {', '.join(SPLITS)}")
    if kind.needs_masks and options.masks == "none":
        raise DatasetError(f"{format} consists of masks: say which with --masks true or --masks pseudo")
    if options.mask_format is not None and options.masks == "none":
        raise DatasetError("--mask-format is for masks: say which with --masks true or --masks pseudo")
    mask_format = options.mask_format or kind.mask_formats[0]
    if mask_format not in kind.mask_formats:
        raise DatasetError(f"{format} takes no masks as {mask_format}; leave --mask-format out")
    images = options.images or kind.placements[0]
    if images not in kind.placements:
        raise DatasetError(f"{format} needs its images in its own folders: --images {' or '.join(kind.placements)}")
    if not options.category.strip() or any(ord(letter) < 32 for letter in options.category):
        raise DatasetError(f"category {options.category!r} is no name")
    return replace(options, mask_format=mask_format, images=images)


def _in_order(
    make: Callable[[ImageRecord], Item | str], records: Iterator[ImageRecord]
) -> Iterator[tuple[ImageRecord, Item | str]]:
    """Prepare images in threads, a few ahead: masks of large photographs must not pile up."""
    return in_threads(lambda record: (record, make(record)), records, batch=4 * usable_cores())


def _made(
    dataset: Dataset, names: Names, writer: Writer, folder: Path, options: ExportOptions, record: ImageRecord
) -> Item | str:
    """The image with its mask, copied and written where they belong; or why it has no place in the format."""
    mask = load_mask(dataset, record, options.masks)
    reason = writer.refuses(record, mask)
    if reason is not None:
        return reason
    name = names.name(record.image)
    file = Path(os.path.normpath(dataset.path(record.image)))
    if options.images == "reference":
        image = names.original(record.image)
    else:
        place = writer.image_place(record, name)
        _place(file, folder / place, options.images == "link")
        image = place.as_posix()
    item = Item(record, file, name, image, mask, None if mask is None else writer.mask_place(record, name))
    if item.mask is not None and item.mask_file is not None:
        # The folder as a whole is what must survive: no file of it needs to by itself.
        write_bytes(folder / item.mask_file, writer.mask_bytes(item.mask), durable=False)
    return item


def _place(file: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not file.is_file():
            raise FileNotFoundError(2, "no such file")
        if link:
            target.symlink_to(file)
        else:
            shutil.copyfile(file, target)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be {'linked' if link else 'copied'} ({error.strerror or error})") from error
