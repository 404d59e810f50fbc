"""COCO's object detection JSON: boxes, and segmentations as polygons, run lengths or compressed run lengths.

`bbox` is [x, y, width, height] with the left and top sides first; a box [x0, y0, x1, y1) is [x0, y0, x1 - x0, y1 - y0].
What COCO has no field for (label, skipped, split, a mask file) stands under the key ``boxpromptiml`` of an image,
which other tools pass over.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from boxpromptiml import rle
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.locating import ImageFinder, NotFoundError
from boxpromptiml.formats.parsing import (
    Categories,
    Entry,
    Loose,
    Number,
    Pixels,
    Problems,
    checked,
    load_json,
    shortened,
)
from boxpromptiml.formats.shapes import ROUNDING, Annotation, Shape, Sides, polygon_shape
from boxpromptiml.formats.source import Candidate, Mismatch, ReadOptions, Source, stated_label, without_repetition

OWN = "boxpromptiml"
ROBOFLOW = "_annotations.coco.json"


class _Own(Entry):
    label: Literal["tampered", "authentic"] | None = None
    skipped: bool = False
    split: Literal["train", "val", "test"] | None = None
    mask: str | None = None


class _Image(Entry):
    id: int | str
    file_name: str
    width: Pixels | None = None
    height: Pixels | None = None
    boxpromptiml: _Own = _Own()


class _Annotation(Entry):
    id: int | str | None = None
    image_id: int | str
    category_id: int | str | None = None
    bbox: Annotated[tuple[Number, Number, Number, Number], Loose] | None = None
    segmentation: Any = None


class _Category(Entry):
    id: int | str
    name: str


class _Coco(Entry):
    images: list[_Image]
    annotations: Annotated[tuple[_Annotation, ...], Loose] = ()
    categories: Annotated[tuple[_Category, ...], Loose] = ()


def is_coco(value: Any) -> bool:
    """Whether parsed JSON is a COCO file."""
    return isinstance(value, dict) and "images" in value and ("annotations" in value or "categories" in value)


def read_coco(path: Path, options: ReadOptions) -> Source:
    """Read a COCO file.

    Images are looked for below the file's folder, its ``images/``, and, for a file in ``annotations/``, beside that
    folder and in ``images/`` there, as CVAT and others lay them out.

    Raises:
        RejectedError: malformed entries.
        DatasetError: the file cannot be read, or a category that was asked for does not occur.
    """
    problems = Problems(path)
    raw = load_json(path)
    coco = checked(problems, _Coco, raw)
    problems.raise_if_any()
    assert coco is not None
    names = {category.id: category.name for category in coco.categories}
    known = {image.id for image in coco.images}
    if len(known) < len(coco.images):
        _note_repeated(problems, coco)
    categories = Categories(options.tampered)
    for name in names.values():
        categories.seen.add(name)
    shapes: dict[int | str, list[Shape]] = defaultdict(list)
    others: set[int | str] = set()
    for number, annotation in enumerate(coco.annotations):
        entry = f"annotations[{number}]" + ("" if annotation.id is None else f" (id {annotation.id})")
        where = f"{path}: {entry}"
        if annotation.image_id not in known:
            problems.add(where, f"image_id {shortened(annotation.image_id)} is not among the images")
        elif annotation.category_id is not None and names and annotation.category_id not in names:
            problems.add(where, f"category_id {shortened(annotation.category_id)} is not among the categories")
        elif categories.takes("" if annotation.category_id is None else _name(annotation.category_id, names)):
            shape = _shape(problems, where, entry, annotation, options)
            if shape is not None:
                shapes[annotation.image_id].append(shape)
        else:
            others.add(annotation.image_id)
    problems.raise_if_any()
    categories.check(path)
    finder = ImageFinder(image_folders(path), options.images)
    candidates, mismatches = [], []
    for number, image in enumerate(coco.images):
        entry = f"images[{number}] (id {image.id})"
        own = image.boxpromptiml
        try:
            file = finder.find(image.file_name)
            mask = None if own.mask is None or options.boxes_only else finder.find(own.mask)
        except NotFoundError as error:
            mismatches.append(Mismatch(Path(image.file_name), f"{entry} in {path}: {error}"))
            continue
        candidates.append(
            Candidate(
                file,
                mask=mask,
                label=stated_label(own.label, shapes[image.id]),
                annotation=Annotation(
                    tuple(shapes[image.id]),
                    image.width,
                    image.height,
                    skipped=own.skipped,
                    others=image.id in others,
                ),
                split=own.split,
                entry=entry,
            )
        )
    return without_repetition("COCO file", candidates, mismatches)


def _name(category: int | str, names: dict[int | str, str]) -> str:
    return names.get(category, str(category))


def image_folders(path: Path) -> list[Path]:
    """Where the images of an annotation file are, by convention."""
    folder = path.parent
    folders = [folder, folder / "images"]
    if folder.absolute().name.lower() == "annotations":
        folders += [folder.parent, folder.parent / "images"]
    return folders


def decode_counts(counts: list[int] | str, size: tuple[int, int], height: int, width: int) -> NDArray[np.bool_]:
    """Draw COCO's run lengths, compressed (text) or not, on a picture of that size.

    Raises:
        ValueError: the run lengths are of another size, or malformed.
    """
    if size != (height, width):
        raise ValueError(f"segmentation has the size {list(size)}, the image [{height}, {width}] (height, width)")
    if isinstance(counts, str):
        return rle.decode({"size": [height, width], "counts": counts})
    return rle.decode_runs(counts, height, width)


def _shape(problems: Problems, where: str, entry: str, annotation: _Annotation, options: ReadOptions) -> Shape | None:
    drawn: Sides | None = None
    if annotation.bbox is not None:
        x, y, width, height = annotation.bbox
        drawn = (x, y, x + width, y + height)
    found = annotation.segmentation
    if isinstance(found, dict):
        size, counts = found.get("size"), found.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
            problems.add(f"{where}.segmentation.size", f"expected [height, width], got {shortened(size)}")
            return None
        if not isinstance(counts, str) and not (
            isinstance(counts, list) and all(type(run) is int and 0 <= run < 2**62 for run in counts)
        ):
            problems.add(f"{where}.segmentation.counts", f"expected run lengths, got {shortened(counts)}")
            return None
        drawing = partial(_drawn, counts, (size[0], size[1]))
        if options.boxes_only and drawn is not None:
            return Shape(entry, drawn)
        return Shape(entry, drawn, drawing, drawn is not None)
    if not found:
        if drawn is None:
            problems.add(where, "has neither a bbox nor a segmentation; give it one, or remove it")
            return None
        return Shape(entry, drawn)
    if not (isinstance(found, list) and all(_is_ring(ring) for ring in found)):
        problems.add(
            f"{where}.segmentation", f"expected polygons [[x, y, x, y, x, y, ...], ...], got {shortened(found)}"
        )
        return None
    # A ring of fewer than three points has no area: that is for the policy, not a malformed file.
    rings = [ring for ring in found if len(ring) >= 6]
    shape = polygon_shape(entry, rings, drawn=drawn)
    return shape.boxed() if options.boxes_only or _is_box(rings, drawn) else shape


def _drawn(counts: list[int] | str, size: tuple[int, int], height: int, width: int) -> NDArray[np.bool_]:
    return decode_counts(counts, size, height, width)


def _is_ring(ring: Any) -> bool:
    return (
        isinstance(ring, list)
        and len(ring) % 2 == 0
        and all(type(value) in (int, float) and abs(value) < 2**31 for value in ring)
    )


def _is_box(rings: list[list[float]], drawn: Sides | None) -> bool:
    """Whether the polygon is only the box itself, as some tools write it: no truth about pixels."""
    if drawn is None or len(rings) != 1 or len(rings[0]) not in (8, 10):
        return False
    x0, y0, x1, y1 = drawn
    points = list(zip(rings[0][::2], rings[0][1::2], strict=True))
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    # x + width is not the x of the polygon's corner to the last digit.
    return all(any(_is_near(a, b) for b in corners) for a in points) and all(
        any(_is_near(a, b) for b in points) for a in corners
    )


def _is_near(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= ROUNDING


def _note_repeated(problems: Problems, coco: _Coco) -> None:
    first: dict[int | str, int] = {}
    for number, image in enumerate(coco.images):
        if first.setdefault(image.id, number) != number:
            problems.add(f"{problems.path}: images[{number}]", f"has the id {image.id} of images[{first[image.id]}]")


def read_coco_folder(folder: Path, options: ReadOptions) -> Source:
    """Read the one COCO file of a folder, see `coco_files`.

    Raises:
        DatasetError: there is none, or several.
    """
    files = _listed(folder)
    if len(files) > 1:
        files = coco_files(folder)
    if not files:
        raise DatasetError(f"{folder}: has no COCO file in annotations/; give the file itself")
    if len(files) > 1:
        names = ", ".join(file.relative_to(folder).as_posix() for file in files[:4])
        raise DatasetError(
            f"{folder}: has {len(files)} COCO files ({names}{', ...' * (len(files) > 4)}); "
            "import them one by one, with --split"
        )
    return read_coco(files[0], options)


def coco_files(folder: Path) -> list[Path]:
    """The COCO files of a folder: in ``annotations/``, and where Roboflow puts them, beside the images of a split.

    Raises:
        DatasetError: a file cannot be read as JSON.
    """
    return [path for path in _listed(folder) if is_coco(load_json(path))]


def _listed(folder: Path) -> list[Path]:
    places = ("annotations/*.json", ROBOFLOW, *(f"{split}/{ROBOFLOW}" for split in ("train", "valid", "test")))
    return sorted(path for place in places for path in folder.glob(place) if path.is_file())
