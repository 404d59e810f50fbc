"""What becomes of an image that the dataset knows already when a source says something about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.formats.examine import Examined, save_drawn
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import track

_BATCH = 64


def is_contradicted(known: ImageRecord, new: ImageRecord, overwrite: bool) -> bool:
    """Whether a source's boxes must not replace those of an image that a person has annotated.

    A source that draws nothing on the image, and says neither authentic nor skipped, contradicts nobody.
    """
    if overwrite or not (known.boxes or known.seconds is not None):
        return False
    if (known.width, known.height) != (new.width, new.height):
        return False
    return bool(new.boxes) and new.boxes != known.boxes


def merged(known: ImageRecord | None, new: ImageRecord, split_given: bool) -> ImageRecord:
    """The record to store: what the source says, and what the dataset knows besides.

    Args:
        known: the stored record; None if there is none.
        new: what the source says.
        split_given: whether the user, rather than the source, says the split: it replaces the stored one.
    """
    if known is None:
        return new
    split = new.split or known.split if split_given else known.split or new.split
    kept = replace(
        new,
        version=known.version,
        group=known.group,
        split=split,
        kind=new.kind or known.kind,
        mask=new.mask or known.mask,
    )
    if (known.width, known.height) != (new.width, new.height):
        return kept
    if new.boxes and new.boxes != known.boxes:
        # The pseudo mask stays: its digest of the boxes tells that it is out of date. The verdict on it does not.
        return replace(kept, pseudo=known.pseudo)
    annotated = bool(known.boxes) or known.seconds is not None
    return replace(
        kept,
        label=known.label if annotated else new.label or known.label,
        boxes=known.boxes,
        seconds=known.seconds if known.seconds is not None else new.seconds,
        pseudo=known.pseudo,
        review=known.review,
        skipped=known.skipped or new.skipped,
    )


def draw_masks(images: Mapping[str, Examined], folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw and save the masks of a format's polygons; yields the names of the images and the files."""

    def save(name: str) -> tuple[str, Path]:
        image = images[name]
        assert image.pixels is not None
        return name, save_drawn(folder, image.image, image.pixels())

    names = iter(track(list(images), "masks"))
    with ThreadPoolExecutor(usable_cores()) as pool:
        while batch := list(islice(names, _BATCH)):
            yield from pool.map(save, batch)
