"""Pascal VOC's XML, a file an image: ``Annotations/a.xml`` for ``JPEGImages/a.jpg``.

Corners count from 1 and the last ones belong to the box, as VOC's own devkit has it: [x0, y0, x1, y1) is written as
xmin = x0 + 1, ymin = y0 + 1, xmax = x1, ymax = y1. Many tools write xmin = x0 instead: `ReadOptions.zero_based`;
without it such boxes come out a pixel larger at the left and at the top. ``verified="yes"``, labelImg's mark of an
image that was looked at, says authentic where there are no objects and no segmentation marks anything.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.formats.locating import ImageFinder, NotFoundError
from boxpromptiml.formats.parsing import Categories, Problems, load_xml, number, shortened, whole
from boxpromptiml.formats.shapes import Annotation, Shape
from boxpromptiml.formats.source import Candidate, Mismatch, ReadOptions, Source, without_repetition
from boxpromptiml.images import find_images, open_image

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ANNOTATIONS, IMAGES, MASKS, SETS = "Annotations", "JPEGImages", "SegmentationClass", "ImageSets/Main"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
# Files that are looked at to tell whether a folder is VOC's.
_PROBED = 20
# VOC's colour of pixels that belong to no class.
_VOID = (224, 224, 192)


def is_voc_folder(folder: Path) -> bool:
    """Whether a folder has Annotations/ with XML files, or XML files of VOC itself."""
    if next((folder / ANNOTATIONS).rglob("*.xml"), None) is not None:
        return True
    return any(_is_voc(file) for file in islice(sorted(folder.glob("*.xml")), _PROBED))


def read_voc(path: Path, options: ReadOptions) -> Source:
    """Read a VOC folder, a folder of XML files, or one XML file.

    Images are looked for in ``JPEGImages/`` and beside the XML files; those that have no XML file have no label.
    Segmentations in ``SegmentationClass/`` are masks, unless only some categories count: colours do not tell which.

    Raises:
        RejectedError: malformed files.
        DatasetError: a category that was asked for does not occur.
    """
    if path.is_file():
        base, files = path.parent, [path]
    else:
        # Without XML files in it a folder Annotations/ says nothing about where they are.
        base = path / ANNOTATIONS
        files = sorted(base.rglob("*.xml"))
        if not files:
            base, files = path, sorted(path.rglob("*.xml"))
    folder = base.parent if base.name == ANNOTATIONS and base != path else base
    images = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    finder = ImageFinder([images, folder], options.images)
    problems, categories = Problems(path), Categories(options.tampered)
    splits = _splits(folder)
    candidates: list[Candidate] = []
    mismatches: list[Mismatch] = []
    for file in files:
        name = file.relative_to(base).with_suffix("").as_posix()
        root = _root(file, problems)
        if root is None:
            continue
        shapes = _shapes(file, root, problems, categories, options)
        mask = folder / MASKS / f"{name}.png"
        usable = not options.boxes_only and options.tampered is None and mask.is_file()
        # Beside objects a segmentation that marks nothing is a mismatch; without any it says nothing.
        if usable and (shapes or _marks_any(mask)):
            shapes.append(Shape(f"{MASKS}/{name}.png", pixels=partial(_segmentation, mask)))
        given = root.findtext("filename") or ""
        try:
            image = _find(finder, given, os.path.dirname(name))
        except NotFoundError as error:
            mismatches.append(Mismatch(Path(given.strip() or file), f"the image of {file}: {error}"))
            continue
        looked_at = not root.findall("object") and root.get("verified", "").lower() in ("yes", "true", "1")
        candidates.append(
            Candidate(
                image,
                label="tampered" if shapes else "authentic" if looked_at else None,
                annotation=Annotation(
                    tuple(shapes),
                    whole(root.findtext("size/width")),
                    whole(root.findtext("size/height")),
                    others=root.find("object") is not None,
                ),
                split=splits.get(name),
                entry=str(file),
            )
        )
    problems.raise_if_any()
    categories.check(path)
    if path.is_dir():
        claimed = {candidate.image for candidate in candidates}
        candidates += [Candidate(image) for image in find_images(images) if image not in claimed]
    return without_repetition("Pascal VOC files", candidates, mismatches)


def _is_voc(file: Path) -> bool:
    try:
        return load_xml(file).tag == "annotation"
    except DatasetError:
        return False


def _root(file: Path, problems: Problems) -> Element | None:
    try:
        root = load_xml(file)
    except DatasetError as error:
        problems.add(str(file), str(error).removeprefix(f"{file}: "))
        return None
    if root.tag != "annotation":
        problems.add(str(file), f"has the root <{root.tag}>, expected <annotation>; remove what is not Pascal VOC's")
        return None
    for field in ("size/width", "size/height"):
        text = root.findtext(field)
        if text is not None and whole(text) is None and text.strip() != "0":
            problems.add(str(file), f"field {field} is {shortened(text)}, expected whole pixels")
    return root


def _shapes(file: Path, root: Element, problems: Problems, categories: Categories, options: ReadOptions) -> list[Shape]:
    shapes = []
    first = 0 if options.zero_based else 1
    for place, element in enumerate(root.findall("object"), start=1):
        where, entry = f"{file}: object {place}", f"{file.name}: object {place}"
        texts = [element.findtext(f"bndbox/{side}") for side in _SIDES]
        sides = [number(text) for text in texts]
        bad = next((i for i, side in enumerate(sides) if side is None), None)
        if bad is not None:
            given = "missing" if texts[bad] is None else shortened(texts[bad])
            problems.add(where, f"field bndbox/{_SIDES[bad]} is {given}, expected a number")
            continue
        if categories.takes((element.findtext("name") or "").strip()):
            x0, y0, x1, y1 = (side for side in sides if side is not None)
            shapes.append(Shape(entry, (x0 - first, y0 - first, x1, y1)))
    return shapes


def _find(finder: ImageFinder, name: str, inner: str) -> Path:
    try:
        return finder.find(name)
    except NotFoundError:
        # Sub-folders are mirrored by some tools and written into the name by others.
        if not inner or not name.strip():
            raise
        try:
            return finder.find(f"{inner}/{name}")
        except NotFoundError:
            return finder.find(f"{inner}/{name.strip()}")


def _splits(folder: Path) -> dict[str, str]:
    """Splits by the names in ImageSets/Main."""
    found = {}
    for split in ("train", "val", "test"):
        listed = folder / SETS / f"{split}.txt"
        if listed.is_file():
            for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
                # The blanks at the ends may be the name's own.
                found[line] = found[line.strip()] = split
    return found


def _segmentation(file: Path, height: int, width: int) -> NDArray[np.bool_]:
    try:
        mask = _classes(file)
    except ImageError as error:
        raise ValueError(error.reason) from error
    if mask.shape != (height, width):
        raise ValueError(f"is {mask.shape[1]} x {mask.shape[0]} pixels, the image {width} x {height}")
    return mask


def _marks_any(file: Path) -> bool:
    try:
        return bool(_classes(file).any())
    except ImageError:
        return True  # what is wrong with it is said where it is drawn


def _classes(file: Path) -> NDArray[np.bool_]:
    """What is neither background (black) nor void."""
    colours = open_image(file)
    mask: NDArray[np.bool_] = colours.any(axis=2) & (colours != np.array(_VOID, np.uint8)).any(axis=2)
    return mask
