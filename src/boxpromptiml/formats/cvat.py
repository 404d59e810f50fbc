"""CVAT's own XML ("CVAT for images 1.1"): boxes, polygons, masks and tags; CVAT also exports COCO and Pascal VOC.

Turned boxes are enclosed. A tag ``authentic``, ``tampered`` or ``skipped`` says what is known of the image. Tracks of
videos, ellipses, polylines, points and skeletons are not read.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.coco import image_folders
from boxpromptiml.formats.locating import ImageFinder, NotFoundError
from boxpromptiml.formats.parsing import Categories, Problems, load_xml, number, shortened, whole
from boxpromptiml.formats.shapes import Annotation, Shape, polygon_shape, turned_box
from boxpromptiml.formats.source import (
    Candidate,
    Mismatch,
    ReadOptions,
    Source,
    stated_label,
    verdict,
    without_repetition,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_UNREAD = ("ellipse", "polyline", "points", "cuboid", "skeleton")


def read_cvat(path: Path, options: ReadOptions) -> Source:
    """Read an XML file of CVAT; its images are looked for as those of COCO files.

    Raises:
        RejectedError: malformed entries.
        DatasetError: the file cannot be read or holds tracks of a video, or a category that was asked for does not
            occur.
    """
    root = load_xml(path)
    if root.tag != "annotations":
        raise DatasetError(f"{path}: has the root <{root.tag}>, expected CVAT's <annotations>")
    if root.find("track") is not None:
        raise DatasetError(f"{path}: holds tracks of a video; export it from CVAT as 'CVAT for images 1.1'")
    problems, categories = Problems(path), Categories(options.tampered)
    finder = ImageFinder(image_folders(path), options.images)
    candidates: list[Candidate] = []
    mismatches: list[Mismatch] = []
    for place, image in enumerate(root.findall("image"), start=1):
        name = image.get("name", "")
        entry = f"image {place} ({name})"
        width, height = whole(image.get("width")), whole(image.get("height"))
        if not name or width is None or height is None:
            given = {key: image.get(key) for key in ("name", "width", "height")}
            problems.add(f"{path}: image {place}", f"needs name, width and height, got {shortened(given)}")
            continue
        try:
            shapes = _shapes(path, entry, image, problems, categories, options)
            file = finder.find(name)
        except (ValueError, NotFoundError) as error:
            mismatches.append(Mismatch(Path(name), f"{entry} in {path}: {error}"))
            continue
        label, skipped = verdict(tag.get("label", "") for tag in image.findall("tag"))
        candidates.append(
            Candidate(
                file,
                label=stated_label(label, shapes),
                annotation=Annotation(tuple(shapes), width, height, skipped=skipped, others=_has_regions(image)),
                split=_SPLITS.get(image.get("subset", "").lower()),
                entry=entry,
            )
        )
    problems.raise_if_any()
    categories.check(path)
    return without_repetition("CVAT file", candidates, mismatches)


def _has_regions(image: Element) -> bool:
    return any(element.tag not in ("tag", "attribute") for element in image)


def _shapes(
    path: Path, entry: str, image: Element, problems: Problems, categories: Categories, options: ReadOptions
) -> list[Shape]:
    shapes: list[Shape] = []
    for place, element in enumerate(image, start=1):
        if element.tag in ("tag", "attribute") or not categories.takes(element.get("label", "")):
            continue
        here = f"{entry}: {element.tag} {place}"
        if element.tag in _UNREAD:
            raise ValueError(f"{here} is not read; draw it as box, polygon or mask, or remove it")
        if element.tag == "box":
            shape = _box(here, element)
        elif element.tag == "polygon":
            shape = _polygon(here, element)
        elif element.tag == "mask":
            shape = _mask(here, element)
        else:
            continue
        if isinstance(shape, str):
            problems.add(f"{path}: {here}", shape)
        else:
            shapes.append(shape.boxed() if options.boxes_only else shape)
    return shapes


def _box(entry: str, element: Element) -> Shape | str:
    """The shape, or what is wrong with it."""
    sides = [number(element.get(corner)) for corner in _CORNERS]
    rotation = number(element.get("rotation", "0"))
    for corner, side in zip((*_CORNERS, "rotation"), (*sides, rotation), strict=True):
        if side is None:
            return f"field {corner} is {shortened(element.get(corner))}, expected a number"
    x0, y0, x1, y1 = (side for side in sides if side is not None)
    if not rotation:
        return Shape(entry, (x0, y0, x1, y1))
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    return Shape(entry, turned_box(x0, y0, x1 - x0, y1 - y0, rotation, middle))


def _polygon(entry: str, element: Element) -> Shape | str:
    text = element.get("points", "")
    values = [number(part) for point in text.split(";") for part in point.split(",")]
    ring = [value for value in values if value is not None]
    if len(ring) != len(values) or len(ring) < 6 or any(point.count(",") != 1 for point in text.split(";")):
        return f"field points is {shortened(text)}, expected x,y;x,y;x,y and so on"
    return polygon_shape(entry, [ring])


def _mask(entry: str, element: Element) -> Shape | str:
    left, top = (number(element.get(side)) for side in ("left", "top"))
    width, height = (whole(element.get(side)) for side in ("width", "height"))
    runs = [number(run) for run in element.get("rle", "").split(",")]
    if (
        left is None
        or top is None
        or width is None
        or height is None
        or any(run is None or not 0 <= run < 2**31 for run in runs)
    ):
        return "needs left, top, width, height and rle (run lengths with commas between them)"
    counts = np.array(runs, np.float64).astype(np.int64)
    if counts.sum() != width * height:
        return f"field rle adds up to {counts.sum()} pixels, width and height say {width * height}"
    place = (int(left), int(top), width, height)
    x0, y0 = place[:2]
    return Shape(entry, (x0, y0, x0 + width, y0 + height), partial(_drawn, counts, place), drawn=False)


def _drawn(counts: NDArray[np.int64], place: tuple[int, int, int, int], height: int, width: int) -> NDArray[np.bool_]:
    """CVAT counts rows of the mask's own rectangle, beginning with what is outside."""
    x0, y0, w, h = place
    if x0 < 0 or y0 < 0 or x0 + w > width or y0 + h > height:
        raise ValueError(f"mask is not inside the image of {width} x {height} pixels")
    mask = np.zeros((height, width), bool)
    mask[y0 : y0 + h, x0 : x0 + w] = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(h, w)
    return mask
