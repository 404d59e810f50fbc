"""Checking the files of a foreign dataset before anything is stored, and mending masks that can be mended."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Label
from boxpromptiml.dataset.boxes import rescaled
from boxpromptiml.errors import ImageError
from boxpromptiml.files import write_bytes
from boxpromptiml.formats.masks import alike, check_mask
from boxpromptiml.formats.shapes import Annotation, resolve
from boxpromptiml.formats.source import Candidate, Mismatch, Source
from boxpromptiml.images import DEFAULT_MAX_PIXELS, encode_png, image_size, save_png
from boxpromptiml.machine import in_threads
from boxpromptiml.preprocessing import resize_nearest
from boxpromptiml.progress import track
from boxpromptiml.regions import Box

_LONGEST_STEM = 100  # bytes

# Takes the candidate and its mended mask (h, w) 0/255, saves it and returns the file.
Mender = Callable[[Candidate, NDArray[np.uint8]], Path]


@dataclass(frozen=True, slots=True)
class Examined:
    """A candidate whose files fit together.

    Attributes:
        image: the image file.
        width: of the upright image.
        height: of the upright image.
        label: what is known of it.
        mask: the mask file, the mended one if it was mended.
        mended: what was wrong with the mask or the boxes and was mended; None if nothing.
        boxes: the boxes that the format draws; None where it says nothing about regions.
        pixels: draws the mask of the format's polygons, uint8 (h, w) 0/255, where they say it for every region.
        incomplete: whether they say it for some regions only, so that there is no mask.
        skipped: a person looked and left it.
        seconds: active annotation time.
        split: that the format says.
    """

    image: Path
    width: int
    height: int
    label: Label | None
    mask: Path | None
    mended: Mismatch | None = None
    boxes: tuple[Box, ...] | None = None
    pixels: Callable[[], NDArray[np.uint8]] | None = None
    incomplete: bool = False
    skipped: bool = False
    seconds: float | None = None
    split: str | None = None


def examine(source: Source, mender: Mender | None, workers: int | None = None) -> Iterator[Examined | Mismatch]:
    """Check each candidate of a source: the image's header, every pixel of the mask.

    Args:
        source: what to check.
        mender: saves mended masks; None leaves them as mismatches.
        workers: threads; default one a usable core.

    Yields:
        In the order of the source, candidates that fit and mismatches.
    """
    candidates = track(source.candidates, "check")
    return in_threads(lambda candidate: _examined(candidate, mender), candidates, threads=workers)


def mask_saver(folder: Path) -> Mender:
    """A `Mender` that writes to `folder`, under a name that follows the image's path: mending again overwrites."""

    def save(candidate: Candidate, mask: NDArray[np.uint8]) -> Path:
        path = folder / f"{_stem(candidate.image)}-{_digest(candidate.image)}.png"
        save_png(path, mask)
        return path

    return save


def save_drawn(folder: Path, image: Path, mask: NDArray[np.uint8]) -> Path:
    """Write the mask of a format's polygons to `folder`, under a name of its own for each content, and return it.

    A mask that a record names already is thus never replaced by another one.
    """
    data = encode_png(mask)
    path = folder / f"{_stem(image)}-{_digest(image)}-{hashlib.sha256(data).hexdigest()[:8]}.png"
    if not path.is_file():
        write_bytes(path, data)
    return path


def is_drawn(mask: str) -> bool:
    """Whether a record's mask is one of `save_drawn`: what it shows are the shapes of a format, as they were then."""
    return re.search(r"-[0-9a-f]{8}-[0-9a-f]{8}\.png$", mask) is not None


def _stem(image: Path) -> str:
    """The image's stem, cut where it would leave no room for what is added: a name has 255 bytes."""
    name = os.fsencode(image.stem)
    if len(name) <= _LONGEST_STEM:
        return image.stem
    return f"{name[:_LONGEST_STEM].decode(errors='ignore')}-{hashlib.sha256(name).hexdigest()[:16]}"


def _digest(image: Path) -> str:
    return hashlib.sha256(os.fsencode(image.absolute())).hexdigest()[:8]


def _examined(candidate: Candidate, mender: Mender | None) -> Examined | Mismatch:
    if not (_is_text(candidate.image) and _is_text(candidate.mask or candidate.image)):
        return Mismatch(candidate.image, "has a path that is not UTF-8, or its mask has; rename it")
    found = _with_mask(candidate, mender)
    if isinstance(found, Mismatch):
        return found
    found = replace(found, split=candidate.split)
    return found if candidate.annotation is None else _with_shapes(candidate, candidate.annotation, found, mender)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_shapes(
    candidate: Candidate, annotation: Annotation, found: Examined, mender: Mender | None
) -> Examined | Mismatch:
    """What the shapes of a format come to on the image itself."""
    count = len(annotation.shapes)
    if count and found.label == "authentic":
        return Mismatch(candidate.image, f"is said to be authentic, but has {count} tampered regions; correct either")
    size, own = (annotation.width or found.width, annotation.height or found.height), (found.width, found.height)
    reasons = []
    if count and size != own:
        reasons.append(f"was annotated at {size[0]} x {size[1]} pixels, but is {own[0]} x {own[1]}")
        # What claims to be larger than any image may be is not drawn at that size either.
        if mender is None or not alike(size, own) or size[0] * size[1] > DEFAULT_MAX_PIXELS:
            turned = " (turned: annotate the upright image)" if size == own[::-1] else ""
            return Mismatch(candidate.image, reasons[0] + turned)
    try:
        resolved = resolve(annotation, *size, clip=mender is not None)
    except ValueError as error:
        return Mismatch(candidate.image, str(error))
    if resolved.clipped:
        reasons.append(f"{resolved.clipped[0]} and in all {len(resolved.clipped)} regions overhang the image")
    mended = Mismatch(candidate.image, "; ".join(reasons)) if reasons else found.mended
    return replace(
        found,
        mended=mended,
        boxes=None if annotation.others and not count else rescaled(resolved.boxes, size, own),
        pixels=None if resolved.mask is None or found.mask else partial(_drawn, annotation, size, own),
        incomplete=resolved.incomplete and found.mask is None,
        skipped=annotation.skipped,
        seconds=annotation.seconds,
    )


def _drawn(annotation: Annotation, size: tuple[int, int], own: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask is drawn again when it is wanted: those of a whole dataset do not fit into memory."""
    mask = resolve(annotation, *size, clip=True).mask
    assert mask is not None
    pixels = np.where(mask, np.uint8(255), np.uint8(0))
    return pixels if size == own else resize_nearest(pixels, own[1], own[0])


def _with_mask(candidate: Candidate, mender: Mender | None) -> Examined | Mismatch:
    try:
        width, height = image_size(candidate.image)
    except ImageError as error:
        return Mismatch(candidate.image, error.reason)
    if candidate.mask is None:
        return Examined(candidate.image, width, height, candidate.label, None)
    mask = candidate.mask
    try:
        checked = check_mask(mask, width, height, None if candidate.label_by_mask else candidate.label)
    except ImageError as error:
        return Mismatch(candidate.image, f"its mask {mask} {error.reason}")
    label: Label | None = candidate.label
    if candidate.label_by_mask:
        label = "tampered" if checked.marks else "authentic"
    if checked.problem is None:
        return Examined(candidate.image, width, height, label, mask)
    problem = Mismatch(candidate.image, f"its mask {mask} {checked.problem}")
    if mender is None:
        return problem
    try:
        mended = checked.mended(width, height)
    except ValueError as error:
        return Mismatch(candidate.image, f"its mask {mask} {error}")
    return Examined(candidate.image, width, height, label, mender(candidate, mended), problem)
