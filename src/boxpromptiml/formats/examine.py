"""Checking the files of a foreign dataset before anything is stored, and mending masks that can be mended."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Label
from boxpromptiml.errors import ImageError
from boxpromptiml.formats.source import Candidate, Mismatch, Source
from boxpromptiml.images import image_size, mask_is_coloured, open_image, open_mask, save_png
from boxpromptiml.machine import usable_cores
from boxpromptiml.preprocessing import resize_nearest
from boxpromptiml.progress import track

# A mask whose aspect ratio is further off is turned, cropped or another image's: stretching it would be a lie.
_ASPECT = 0.05

_BATCH = 256

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
        mended: what was wrong with the mask and was mended; None if nothing.
    """

    image: Path
    width: int
    height: int
    label: Label | None
    mask: Path | None
    mended: Mismatch | None = None


def examine(source: Source, mender: Mender | None, workers: int | None = None) -> Iterator[Examined | Mismatch]:
    """Check each candidate of a source: the image's header, every pixel of the mask.

    Args:
        source: what to check.
        mender: saves mended masks; None leaves them as mismatches.
        workers: threads; default one a usable core.

    Yields:
        In the order of the source, candidates that fit and mismatches.
    """
    candidates = iter(track(source.candidates, "check"))
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        # In batches: all that is handed to the pool has to be worked off before Ctrl-C ends the process.
        while batch := list(islice(candidates, _BATCH)):
            yield from pool.map(lambda candidate: _examined(candidate, mender), batch)


def mask_saver(folder: Path) -> Mender:
    """A `Mender` that writes to `folder`, under a name that follows the image's path: mending again overwrites."""

    def save(candidate: Candidate, mask: NDArray[np.uint8]) -> Path:
        digest = hashlib.sha256(os.fsencode(candidate.image.absolute())).hexdigest()[:8]
        path = folder / f"{candidate.image.stem}-{digest}.png"
        save_png(path, mask)
        return path

    return save


def _examined(candidate: Candidate, mender: Mender | None) -> Examined | Mismatch:
    try:
        width, height = image_size(candidate.image)
    except ImageError as error:
        return Mismatch(candidate.image, error.reason)
    if candidate.mask is None:
        return Examined(candidate.image, width, height, candidate.label, None)
    try:
        coloured = mask_is_coloured(candidate.mask)
        mask = open_image(candidate.mask).max(axis=2) if coloured else open_mask(candidate.mask)
    except ImageError as error:
        return Mismatch(candidate.image, f"its mask {candidate.mask} {error.reason}")
    label: Label | None = candidate.label
    if candidate.label_by_mask:
        label = "tampered" if (mask > 127).any() else "authentic"
    mask_height, mask_width = mask.shape
    reasons = []
    if coloured:
        reasons.append("is coloured, not grey")
    if mask.shape != (height, width):
        reasons.append(f"is {mask_width} x {mask_height} pixels, the image {width} x {height}")
    if not reasons:
        return Examined(candidate.image, width, height, label, candidate.mask)
    problem = Mismatch(candidate.image, f"its mask {candidate.mask} {' and '.join(reasons)}")
    if mender is None:
        return problem
    if abs(math.log(mask_width / mask_height) - math.log(width / height)) > _ASPECT:
        return Mismatch(candidate.image, f"{problem.reason}: another aspect ratio, cannot be mended")
    mended = resize_nearest(np.where(mask > 127, np.uint8(255), np.uint8(0)), height, width)
    return Examined(candidate.image, width, height, label, mender(candidate, mended), problem)
