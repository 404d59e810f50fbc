"""LabelMe's JSON, a file an image: shapes of the types rectangle, polygon and mask, flags of the image.

Points are [x, y] in pixels, fractions allowed, so that a box is [[x0, y0], [x1, y1]]. A mask is a PNG of the pixels
between two corners, both of which belong to it. The flags ``authentic``, ``tampered`` and ``skipped`` say what is
known of the image.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.formats.locating import ImageFinder, NotFoundError
from boxpromptiml.formats.parsing import Categories, Entry, Pixels, Point, Problems, checked, load_json
from boxpromptiml.formats.shapes import Annotation, Shape, polygon_shape
from boxpromptiml.formats.source import (
    Candidate,
    Mismatch,
    ReadOptions,
    Source,
    stated_label,
    verdict,
    without_repetition,
)
from boxpromptiml.images import decode_image, find_images

# Files that are looked at to tell whether a folder is LabelMe's.
_PROBED = 20


class _Shape(Entry):
    label: str
    points: list[Point]
    shape_type: str = "polygon"
    mask: str | None = None


class _File(Entry):
    imagePath: str
    shapes: list[_Shape]
    flags: dict[str, Any] | None = None
    imageWidth: Pixels | None = None
    imageHeight: Pixels | None = None


def is_labelme(value: Any) -> bool:
    """Whether parsed JSON is a LabelMe file."""
    return isinstance(value, dict) and "shapes" in value and "imagePath" in value


def is_labelme_folder(folder: Path) -> bool:
    """Whether a folder has LabelMe files."""
    return any(is_labelme(_parsed(file)) for file in islice(folder.rglob("*.json"), _PROBED))


def read_labelme(path: Path, options: ReadOptions) -> Source:
    """Read one LabelMe file or a folder of them, sub-folders included.

    Images are looked for beside their files; in a folder, those without a file have no label. JSON files of others
    are passed over.

    Raises:
        RejectedError: malformed files.
        DatasetError: a category that was asked for does not occur.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.json"))
    problems, categories = Problems(path), Categories(options.tampered)
    finders: dict[Path, ImageFinder] = {}
    candidates: list[Candidate] = []
    mismatches: list[Mismatch] = []
    for file in files:
        try:
            raw = load_json(file)
        except DatasetError as error:
            problems.add(str(file), str(error).removeprefix(f"{file}: "))
            continue
        if path.is_dir() and not is_labelme(raw):
            continue
        read = checked(problems, _File, raw, str(file))
        if read is None:
            continue
        wanted = [(i, shape) for i, shape in enumerate(read.shapes) if categories.takes(shape.label)]
        try:
            shapes = [_drawn(f"{file.name}: shapes[{i}]", shape, options) for i, shape in wanted]
            finder = finders.setdefault(
                file.parent, ImageFinder([file.parent, *([path] if path.is_dir() else [])], options.images)
            )
            image = finder.find(read.imagePath)
        except (ValueError, NotFoundError) as error:
            mismatches.append(Mismatch(Path(read.imagePath or file), f"the image of {file}: {error}"))
            continue
        label, skipped = verdict(name for name, set_ in (read.flags or {}).items() if set_ is True)
        candidates.append(
            Candidate(
                image,
                label=stated_label(label, shapes),
                annotation=Annotation(
                    tuple(shapes),
                    read.imageWidth,
                    read.imageHeight,
                    skipped=skipped,
                    others=len(wanted) < len(read.shapes),
                ),
                entry=str(file),
            )
        )
    problems.raise_if_any()
    categories.check(path)
    if path.is_dir():
        claimed = {candidate.image for candidate in candidates}
        candidates += [Candidate(image) for image in find_images(path) if image not in claimed]
    return without_repetition("LabelMe files", candidates, mismatches)


def _drawn(entry: str, shape: _Shape, options: ReadOptions) -> Shape:
    points, kind = shape.points, shape.shape_type
    if kind not in ("rectangle", "polygon", "mask"):
        raise ValueError(
            f"{entry}: shape_type {kind!r} has no box; draw it as rectangle, polygon or mask, or remove it"
        )
    needed = 3 if kind == "polygon" else 2
    if len(points) < needed or (kind != "polygon" and len(points) != 2):
        raise ValueError(
            f"{entry}: a {kind} has {needed} points{' or more' if kind == 'polygon' else ''}, got {len(points)}"
        )
    if kind == "polygon":
        found = polygon_shape(entry, [[value for point in points for value in point]])
        return found.boxed() if options.boxes_only else found
    xs, ys = sorted(point[0] for point in points), sorted(point[1] for point in points)
    if kind == "rectangle":
        return Shape(entry, (xs[0], ys[0], xs[1], ys[1]))
    left, top = round(xs[0]), round(ys[0])
    size = (round(ys[1]) - top + 1, round(xs[1]) - left + 1)
    box = (left, top, left + size[1], top + size[0])
    if options.boxes_only:
        return Shape(entry, box)
    return Shape(entry, pixels=partial(_mask, shape.mask or "", left, top, size))


def _mask(text: str, left: int, top: int, size: tuple[int, int], height: int, width: int) -> NDArray[np.bool_]:
    try:
        part = decode_image(base64.b64decode(text, validate=True)).any(axis=2)
    except (binascii.Error, ImageError) as error:
        raise ValueError("mask is not a PNG in base64") from error
    if part.shape != size:
        raise ValueError(
            f"mask is {part.shape[1]} x {part.shape[0]} pixels, its points say {size[1]} x {size[0]} pixels"
        )
    if left < 0 or top < 0 or left + size[1] > width or top + size[0] > height:
        raise ValueError(f"mask is not inside the image of {width} x {height} pixels")
    whole = np.zeros((height, width), bool)
    whole[top : top + size[0], left : left + size[1]] = part
    return whole


def _parsed(file: Path) -> Any:
    try:
        return load_json(file)
    except DatasetError:
        return None
