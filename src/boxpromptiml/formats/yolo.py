"""YOLO's text files: a line a region, ``class x_centre y_centre width height`` as shares of the image, and data.yaml.

``images/a/b.jpg`` has its labels in ``labels/a/b.txt``. A line with more numbers is a polygon
``class x y x y x y ...``. An empty file says that there is nothing to find: authentic; no file says nothing. Images are
read upright.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from boxpromptiml.errors import DatasetError, MissingExtraError
from boxpromptiml.formats.parsing import Categories, Problems, number, read_text, shortened
from boxpromptiml.formats.shapes import Annotation, Shape, polygon_shape
from boxpromptiml.formats.source import Candidate, Mismatch, ReadOptions, Source, without_repetition
from boxpromptiml.images import find_images

CONFIG, CLASSES = "data.yaml", "classes.txt"
# Splits with the places of their images.
Named = Sequence[tuple[str, Path]]
_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


def is_yolo_folder(folder: Path) -> bool:
    """Whether a folder has data.yaml, or images/ and labels/, or classes.txt beside text files of labels (labelImg)."""
    if (folder / CONFIG).is_file() or ((folder / "images").is_dir() and (folder / "labels").is_dir()):
        return True
    if (folder / CLASSES).is_file() and any(path.name != CLASSES for path in folder.glob("*.txt")):
        return True
    splits = [folder / split for split in _SPLITS]
    return any((split / "images").is_dir() and (split / "labels").is_dir() for split in splits)


def is_yolo_labels(path: Path) -> bool:
    """Whether a file begins like labels: a whole number and four or more others."""
    try:
        with path.open(encoding="utf-8") as stream:
            words = stream.readline(10_000).split()
    except (OSError, ValueError):
        return False
    values = [number(word) for word in words]
    return len(words) >= 5 and words[0].isdigit() and None not in values


def read_yolo(path: Path, options: ReadOptions) -> Source:
    """Read a YOLO dataset: its folder, or the YAML file in it.

    The images are those in ``images/`` (and ``train/images/`` and the like), in `options.images` and in the folders
    that the YAML file names, or else in the folder itself, labels beside them. The split is what the first folder
    below ``images/`` or the one above it says, or else the YAML file.

    Raises:
        RejectedError: malformed lines.
        DatasetError: the YAML file cannot be read, or a category that was asked for does not occur.
    """
    folder = path if path.is_dir() else path.parent
    config = folder / CONFIG if path.is_dir() else path
    names, named = _names(config, folder)
    problems = Problems(path)
    categories = Categories(options.tampered)
    categories.seen.update(names.values())
    candidates: list[Candidate] = []
    claimed: set[Path] = set()
    splits: set[str | None] = set()
    for image, labels, split, mask in _places(folder, named, options):
        claimed.add(labels)
        splits.add(split)
        shapes = _read_labels(labels, names, categories, problems, options)
        others = shapes == [] and _has_lines(labels)
        candidates.append(
            Candidate(
                image,
                mask=mask,
                label=None if shapes is None else "tampered" if shapes else None if others else "authentic",
                annotation=None if shapes is None else Annotation(tuple(shapes), shares=True, others=others),
                split=split,
                entry=str(labels),
            )
        )
    problems.raise_if_any()
    categories.check(path)
    orphans = [
        Mismatch(labels, "has labels, but no image of that name was found; say with --images which folder has them")
        for labels in _label_files(folder)
        if labels not in claimed
    ]
    away = [] if options.images else [each for each in _elsewhere(config, named) if each[0] not in splits]
    if away and not candidates:
        raise DatasetError(f"{config}: {away[0][2]}")
    # What is named and not there is no loss: Roboflow names a test set also where it made none.
    orphans += [Mismatch(config, reason) for _, place, reason in away if place.exists()]
    return without_repetition("YOLO labels", candidates, orphans)


def label_line(index: int, box: tuple[int, int, int, int], width: int, height: int) -> str:
    """A line for a box, with as many digits as bring every side back to its pixel (never below six)."""
    x0, y0, x1, y1 = box
    digits = max(6, len(str(max(width, height))) + 2)
    shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join([str(index), *(f"{share:.{digits}f}" for share in shares)])


def _places(folder: Path, named: Named, options: ReadOptions) -> Iterator[tuple[Path, Path, str | None, Path | None]]:
    """Images with the label file that belongs to each, the split, and a mask in `masks/` if there is one."""
    seen: set[Path] = set()
    for base, split in [(folder, None), *((folder / name, split) for name, split in _SPLITS.items())]:
        images = base / "images" if options.images is None or split is not None else options.images
        if not images.is_dir() or (base != folder and not (base / "labels").is_dir()):
            continue
        for image in _images(images):
            inner = image.relative_to(images)
            first = inner.parts[0] if len(inner.parts) > 1 else ""
            seen.add(image)
            found = split or _SPLITS.get(first.lower()) or _named_split(image, named)
            yield image, *_belonging(image, base / "labels" / inner, base / "masks" / inner, found, options)
    for _, place in named:
        for image in _images(place) if _is_inside(place, folder) else ():
            inside = image.relative_to(folder).parts
            if image not in seen:
                seen.add(image)
                labels, masks = (folder.joinpath(*_instead(inside, name)) for name in ("labels", "masks"))
                yield image, *_belonging(image, labels, masks, _named_split(image, named), options)
    if not seen:
        for image in find_images(options.images or folder):
            labels = image.with_suffix(".txt")
            if options.images is not None and not labels.is_file():
                labels = (folder / image.relative_to(options.images)).with_suffix(".txt")
            yield image, labels, None, None


def _named_split(image: Path, named: Named) -> str | None:
    """The split that the YAML file says; None where it says several, as people do who have no other set."""
    splits = {split for split, place in named if image.is_relative_to(place)}
    return splits.pop() if len(splits) == 1 else None


def _belonging(
    image: Path, labels: Path, mask: Path, split: str | None, options: ReadOptions
) -> tuple[Path, str | None, Path | None]:
    mask = mask.with_suffix(".png")
    usable = not options.boxes_only and mask != image and mask.is_file()
    return labels.with_suffix(".txt"), split, mask if usable else None


def _images(folder: Path) -> Iterator[Path]:
    """The images of a folder of images, whose own folders may be links: ``images/train`` to where they are kept."""
    yield from find_images(folder)
    for inner in sorted(folder.iterdir()):
        if inner.is_symlink() and inner.is_dir() and not inner.name.startswith("."):
            yield from find_images(inner)


def _instead(parts: Sequence[str], name: str) -> list[str]:
    """The path with its last folder ``images`` replaced, which is Ultralytics' rule; without one, beside the image."""
    replaced = list(parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            replaced[place] = name
            break
    return replaced


def _is_inside(place: Path, folder: Path) -> bool:
    return place.is_dir() and place.is_relative_to(folder)


def _elsewhere(config: Path, named: Named) -> Iterator[tuple[str, Path, str]]:
    """Splits, the places in which the YAML file has their images and which are not read, and what to do about it."""
    for split, place in named:
        if not _is_inside(place, config.parent):
            if place.is_file():
                remedy = "a list, which is not read; put its images into images/, their labels into labels/"
            elif place.is_dir():
                remedy = f"which is not below {config.parent}; import the folder that has its images/ and labels/"
            else:
                remedy = "which is not there; say with --images which folder has them"
            yield split, place, f"has its images of {split} in {place}, {remedy}"


def _label_files(folder: Path) -> Iterator[Path]:
    for base in (folder, *(folder / split for split in _SPLITS)):
        for where, _, names in sorted(os.walk(base / "labels")):
            yield from (Path(where, name) for name in sorted(names) if name.endswith(".txt") and name != CLASSES)


def _read_labels(
    path: Path, names: dict[int, str], categories: Categories, problems: Problems, options: ReadOptions
) -> list[Shape] | None:
    """The shapes of a file, None if there is none; what is malformed is noted."""
    if not path.is_file():
        return None
    try:
        lines = read_text(path).splitlines()
    except DatasetError as error:
        problems.add(str(path), str(error).removeprefix(f"{path}: "))
        return None
    shapes = []
    for place, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where, entry = f"{path}:{place}", f"{path.name}:{place}"
        values = [number(word) for word in words]
        bad = next((i for i, value in enumerate(values) if value is None), None)
        if bad is not None:
            problems.add(where, f"field {bad + 1} is {shortened(words[bad])}, not a number")
            continue
        index, *rest = (value for value in values if value is not None)
        if index < 0 or not index.is_integer() or (names and int(index) not in names):
            known = f"0 to {max(names)}" if names else "0 or more"
            problems.add(where, f"field 1 (class) is {words[0]}, expected {known}")
        elif len(rest) not in (4, 5) and (len(rest) < 6 or len(rest) % 2):
            problems.add(where, f"has {len(words)} fields, expected 5 (class x y width height) or a polygon")
        elif any(not -0.01 <= value <= 1.01 for value in rest[: 4 if len(rest) == 5 else None]):
            worst = next(i for i, value in enumerate(rest) if not -0.01 <= value <= 1.01)
            problems.add(where, f"field {worst + 2} is {words[worst + 1]}, expected a share of the image from 0 to 1")
        elif categories.takes(names.get(int(index), str(int(index)))):
            shapes.append(_shape(entry, rest, options))
    return shapes


def _shape(entry: str, values: list[float], options: ReadOptions) -> Shape:
    if len(values) in (4, 5):  # a fifth is a detector's confidence
        x, y, width, height = values[:4]
        return Shape(entry, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    shape = polygon_shape(entry, [values], scale=True)
    return shape.boxed() if options.boxes_only else shape


def _has_lines(path: Path) -> bool:
    """Whether there were lines, all of categories that do not count: that says nothing about the image."""
    return bool(read_text(path).strip())


def _names(config: Path, folder: Path) -> tuple[dict[int, str], Named]:
    """Names of the classes by their numbers, from data.yaml or classes.txt (empty where neither says them), and the
    places of the images that data.yaml names."""
    if config.is_file():
        return _read_config(config)
    for classes in (folder / CLASSES, folder / "labels" / CLASSES):
        if classes.is_file():
            return dict(enumerate(line.strip() for line in read_text(classes).splitlines() if line.strip())), ()
    return {}, ()


def _read_config(config: Path) -> tuple[dict[int, str], Named]:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyyaml", "formats") from error
    try:
        value: Any = yaml.safe_load(read_text(config))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DatasetError(f"{config}: not YAML ({' '.join(str(error).split())})") from error
    names = value.get("names") if isinstance(value, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(key) is int and key >= 0 for key in names):
        raise DatasetError(f"{config}: field names is {shortened(names)}, expected the names of the classes")
    return {key: str(name) for key, name in names.items()}, tuple(_named(config.parent, value))


def _named(folder: Path, value: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """The places that ``train``, ``val`` and ``test`` name, below ``path`` if that is given."""
    root = value.get("path")
    for key, split in _SPLITS.items():
        given = value.get(key)
        for place in given if isinstance(given, list) else [given]:
            if isinstance(place, str) and place.strip("./") and "\0" not in place:
                top = root if isinstance(root, str) and "\0" not in root else ""
                # Roboflow writes ../train/images for train/images.
                tried = [_below(folder, text) for text in (os.path.join(top, place), place, place.removeprefix("../"))]
                yield split, next((path for path in tried if path.is_dir()), tried[0])


def _below(folder: Path, place: str) -> Path:
    """A place that a file in the folder names, in the folder's own spelling if it is there."""
    path = Path(os.path.abspath(folder / place))
    top = os.path.abspath(folder)
    return folder / path.relative_to(top) if path.is_relative_to(top) else path
