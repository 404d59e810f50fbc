"""What becomes of an image that the dataset knows already when a source says something about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.formats.examine import Examined, is_drawn, save_drawn
from boxpromptiml.machine import in_threads
from boxpromptiml.progress import track

_BATCH = 64


def is_annotated(record: ImageRecord) -> bool:
    """Whether a person has said something about an image: what a source says otherwise must not replace it."""
    return record.state != "todo" or record.seconds is not None


def is_contradicted(known: ImageRecord, new: ImageRecord, draws: bool) -> bool:
    """Whether a source says otherwise about an image that a person has annotated.

    Args:
        known: the stored record.
        new: what the source says.
        draws: whether the source has an annotation of the image, so that having no box on it says that there is none;
            the files of a folder, say, contradict nobody.
    """
    if not draws or not is_annotated(known) or (known.width, known.height) != (new.width, new.height):
        return False
    return new.boxes != known.boxes or judges_otherwise(known, new)


def judges_otherwise(known: ImageRecord, new: ImageRecord) -> bool:
    """Whether a source calls an annotated image something else, or skips it where the person did not."""
    return new.label not in (None, known.label or "tampered") or (new.skipped and not known.skipped)


def merged(known: ImageRecord | None, new: ImageRecord, *, split_given: bool, draws: bool) -> ImageRecord:
    """The record to store: what the source says, and what the dataset knows besides.

    Args:
        known: the stored record; None if there is none.
        new: what the source says. Where it contradicts a person's annotation, it takes the place of that one.
        split_given: whether the user, rather than the source, says the split: it replaces the stored one.
        draws: see `is_contradicted`.
    """
    if known is None:
        return new
    split = new.split or known.split if split_given else known.split or new.split
    kept = replace(new, version=known.version, group=known.group, split=split, kind=new.kind or known.kind)
    if (known.width, known.height) != (new.width, new.height):
        return kept
    if is_contradicted(known, new, draws) or new.boxes not in ((), known.boxes):
        mask = new.mask or _kept_mask(known, new)
        # The pseudo mask stays: its digest of the boxes tells that it is out of date. The verdict on it does not.
        label = new.label or (known.label if mask else None)
        kind = None if label == "authentic" else kept.kind
        return replace(kept, label=label, kind=kind, mask=mask, pseudo=known.pseudo)
    annotated = bool(known.boxes) or known.seconds is not None
    return replace(
        kept,
        label=known.label if annotated else new.label or known.label,
        boxes=known.boxes,
        mask=new.mask or known.mask,
        seconds=known.seconds if known.seconds is not None else new.seconds,
        pseudo=known.pseudo,
        review=known.review,
        skipped=known.skipped or new.skipped,
    )


def _kept_mask(known: ImageRecord, new: ImageRecord) -> str | None:
    """The stored mask, unless it was drawn from shapes that the source no longer has, or nothing is tampered."""
    drawn = known.mask is not None and is_drawn(known.mask)
    return None if drawn or new.label == "authentic" else known.mask


def draw_masks(images: Mapping[str, Examined], folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw and save the masks of a format's polygons; yields the names of the images and the files."""

    def save(name: str) -> tuple[str, Path]:
        image = images[name]
        assert image.pixels is not None
        return name, save_drawn(folder, image.image, image.pixels())

    return in_threads(save, track(list(images), "masks"), batch=_BATCH)
