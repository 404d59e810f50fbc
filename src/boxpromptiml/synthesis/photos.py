"""Which files are usable photographs, by their headers, and their pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml import images
from boxpromptiml.errors import BoxPromptError, ImageError
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.given import Given


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph of a pool: id (unique in the pool), path and size in pixels as `PhotoPool.load` gives it.

    `read` gives the encoded bytes of one that is no file of its own.
    """

    id: str
    path: Path
    width: int
    height: int
    instances: Path | None = None
    read: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that a pool does not use, and why."""

    path: Path
    reason: str


def photo_files(roots: Sequence[Path]) -> list[tuple[str, Path]]:
    """(id, path) of every image file under the roots. The id is the path from the root's name on."""
    found: list[tuple[str, Path]] = []
    for root in roots:
        if root.is_dir():
            found += [(f"{root.name}/{p.relative_to(root).as_posix()}", p) for p in images.find_images(root)]
        elif root.is_file():
            found.append((root.name, root))
        else:
            raise BoxPromptError(f"{root}: no such file or folder; give photographs or folders of them")
    return found


def scan(
    files: Sequence[tuple[str, Path]],
    min_side: int,
    max_side: int | None,
    pairs: dict[Path, Path] | None = None,
) -> tuple[list[Photo], list[Skipped]]:
    """Look at the headers: which files are usable, and why the others are not."""
    photos: list[Photo] = []
    skipped: list[Skipped] = []
    ids: set[str] = set()
    seen: set[str] = set()
    # A photo that is given twice, alone and in a folder, gets the longer name.
    for name, path in sorted(files, key=lambda item: (item[1].as_posix(), -len(item[0]), item[0])):
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        try:
            width, height = images.image_size(path)
            if pairs is not None:
                if path not in pairs:
                    raise ImageError(path, "no instance mask of that name in instances/")
                if images.image_size(pairs[path]) != (width, height):
                    raise ImageError(pairs[path], f"not {width}x{height} pixels as its photo is")
        except ImageError as error:
            skipped.append(Skipped(error.path, error.reason))
            continue
        width, height = _within(width, height, max_side)
        if min(width, height) < min_side:
            skipped.append(_too_small(path, width, height, min_side))
            continue
        number, unique = 2, name
        while unique in ids:
            unique = f"{name}#{number}"
            number += 1
        ids.add(unique)
        photos.append(Photo(unique, path, width, height, pairs[path] if pairs else None))
    return photos, skipped


def scan_given(given: Sequence[Given], min_side: int, max_side: int | None) -> tuple[list[Photo], list[Skipped]]:
    """As `scan`, of photographs whose sizes are known, in the order of their ids."""
    photos: list[Photo] = []
    skipped: list[Skipped] = []
    for item in sorted(given, key=lambda item: item.id):
        width, height = _within(item.width, item.height, max_side)
        if min(width, height) < min_side:
            skipped.append(_too_small(item.path, width, height, min_side))
        else:
            photos.append(Photo(item.id, item.path, width, height, read=item.read))
    return photos, skipped


def _within(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    if max_side is None or max(width, height) <= max_side:
        return width, height
    factor = max_side / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _too_small(path: Path, width: int, height: int, min_side: int) -> Skipped:
    return Skipped(path, f"{width}x{height} pixels, the shorter side must have at least {min_side}")


def decode(photo: Photo, failed: dict[Path, str]) -> NDArray[np.uint8]:
    """The pixels at the photo's size, read-only; a file that cannot be decoded is noted in `failed`."""
    try:
        image = images.open_image(photo.path) if photo.read is None else images.decode_image(photo.read(), photo.path)
    except ImageError as error:
        failed[photo.path] = error.reason
        raise
    if image.shape[:2] != (photo.height, photo.width):
        image = cv2.resize(image, (photo.width, photo.height), interpolation=cv2.INTER_AREA)
    image = np.ascontiguousarray(image)
    image.setflags(write=False)
    return image


def none_usable(roots: Sequence[Path], skipped: Sequence[Skipped]) -> str:
    """The error for a pool without a single usable photo."""
    where = ", ".join(str(root) for root in roots[:3]) + (" ..." if len(roots) > 3 else "")
    if not skipped:
        return f"{where or 'no path given'}: no photographs there; give image files or folders of them"
    first = skipped[0]
    return f"{where}: none of {len(skipped)} files is usable; the first is {first.path}: {first.reason}"
