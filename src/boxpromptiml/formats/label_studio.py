"""Label Studio's JSON: a list of tasks, boxes in percent, masks in run lengths of its own kind, choices.

An image is ``authentic`` or ``tampered`` by a choice of that name, skipped by a choice ``skip`` or by Label Studio's
own button (``was_cancelled``). Of several annotations of a task the ground truth counts, or else the last one;
predictions do not. ``lead_time`` is the annotation time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.formats.coco import image_folders
from boxpromptiml.formats.label_studio_rle import decode
from boxpromptiml.formats.locating import ImageFinder, NotFoundError
from boxpromptiml.formats.parsing import (
    Categories,
    Entry,
    Loose,
    Number,
    Pixels,
    Point,
    Problems,
    checked,
    load_json,
    shortened,
)
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

# Label Studio puts eight hexadecimal digits before the names of files that are uploaded to it.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
_LABELS = ("rectanglelabels", "polygonlabels", "brushlabels", "labels", "ellipselabels")


class _Result(Entry):
    type: str
    value: dict[str, Any]
    original_width: Pixels | None = None
    original_height: Pixels | None = None
    image_rotation: Number | None = None


class _Annotated(Entry):
    result: Annotated[tuple[_Result, ...], Loose] = ()
    was_cancelled: bool | None = False
    ground_truth: bool | None = False
    lead_time: Number | None = None


class _Task(Entry):
    id: int | str | None = None
    data: dict[str, Any]
    annotations: Annotated[tuple[_Annotated, ...], Loose] = ()


class _Rectangle(Entry):
    x: Number
    y: Number
    width: Number
    height: Number
    rotation: Number = 0


class _Polygon(Entry):
    points: list[Point]


class _Brush(Entry):
    rle: list[int]
    format: Literal["rle"] = "rle"


def is_label_studio(value: Any) -> bool:
    """Whether parsed JSON is a list of Label Studio's tasks, or one task."""
    tasks = value if isinstance(value, list) else [value]
    return any(isinstance(task, dict) and "data" in task for task in tasks)


def read_label_studio(path: Path, options: ReadOptions) -> Source:
    """Read an export of Label Studio in its JSON format (not JSON-MIN).

    Addresses are never fetched: ``/data/local-files/?d=a/b.jpg`` is looked for as ``a/b.jpg``,
    ``/data/upload/1/0a1b2c3d-b.jpg`` as ``b.jpg``, any other one by the path's last part, below the file's folder and
    `options.images`.

    Raises:
        RejectedError: malformed tasks.
        DatasetError: a category that was asked for does not occur.
    """
    raw = load_json(path)
    problems, categories = Problems(path), Categories(options.tampered)
    tasks = checked(problems, list[_Task], raw if isinstance(raw, list) else [raw])
    problems.raise_if_any()
    assert tasks is not None
    finder = ImageFinder(image_folders(path), options.images)
    candidates: list[Candidate] = []
    mismatches: list[Mismatch] = []
    for number, task in enumerate(tasks):
        entry = f"[{number}]" + ("" if task.id is None else f" (id {task.id})")
        address = _address(task)
        if address is None:
            problems.add(f"{path}: {entry}.data", f"names no image, got {shortened(task.data)}")
            continue
        chosen = _chosen(task.annotations)
        shapes: list[Shape] = []
        words: list[str] = []
        others = False
        try:
            for place, result in enumerate(() if chosen is None else chosen.result):
                if result.type == "choices":
                    given = result.value.get("choices")
                    words += [word for word in given if isinstance(word, str)] if isinstance(given, list) else []
                    continue
                where = f"{path}: {entry}.result[{place}]"
                name = _category(result.value)
                if categories.takes(name):
                    shape = _shape(problems, where, f"{entry}.result[{place}]", result, options)
                    if shape is not None:
                        shapes.append(shape)
                else:
                    others = True
            image = _find(finder, address)
            width, height = _size(entry, () if chosen is None else chosen.result)
        except (ValueError, NotFoundError) as error:
            mismatches.append(Mismatch(Path(address), f"task {entry} in {path}: {error}"))
            continue
        label, skipped = verdict(words)
        cancelled = chosen is not None and bool(chosen.was_cancelled)
        seconds = None if chosen is None else chosen.lead_time
        candidates.append(
            Candidate(
                image,
                label=stated_label(label, shapes),
                annotation=None
                if chosen is None
                else Annotation(
                    tuple(shapes),
                    width,
                    height,
                    shares=True,
                    skipped=skipped or cancelled,
                    seconds=seconds if seconds is not None and seconds >= 0 else None,
                    others=others,
                ),
                entry=f"task {entry}",
            )
        )
    problems.raise_if_any()
    categories.check(path)
    return without_repetition("Label Studio tasks", candidates, mismatches)


def _chosen(annotations: Sequence[_Annotated]) -> _Annotated | None:
    truths = [annotation for annotation in annotations if annotation.ground_truth]
    done = [annotation for annotation in annotations if not annotation.was_cancelled]
    return next(iter(reversed(truths or done or annotations)), None)


def _address(task: _Task) -> str | None:
    """Where the task's image is: under ``image``, or under the one key whose value looks like a path."""
    named = [task.data[key] for key in ("image", "img", "url") if isinstance(task.data.get(key), str)]
    texts = named or [value for value in task.data.values() if isinstance(value, str) and "." in value]
    return texts[0] if texts and texts[0].strip() else None


def _find(finder: ImageFinder, address: str) -> Path:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise NotFoundError("is no address") from error
    if "local-files" in parts.path and (given := parse_qs(parts.query).get("d")):
        return finder.find(given[0])
    path = unquote(parts.path)
    last = path.rsplit("/", 1)[-1]
    names = [address, path.lstrip("/"), last, _UPLOADED.sub("", last)]
    for name in dict.fromkeys(names):
        try:
            return finder.find(name)
        except NotFoundError as error:
            failed = error
    raise failed


def _category(value: dict[str, Any]) -> str:
    for key in _LABELS:
        given = value.get(key)
        if isinstance(given, list) and given and isinstance(given[0], str):
            return given[0]
    return ""


def _size(entry: str, results: Any) -> tuple[int | None, int | None]:
    """The size that all results agree on."""
    sizes = {(r.original_width, r.original_height) for r in results if r.original_width and r.original_height}
    if len(sizes) > 1:
        raise ValueError(f"{entry}: its results differ in original_width and original_height")
    return next(iter(sizes), (None, None))


def _shape(problems: Problems, where: str, entry: str, result: _Result, options: ReadOptions) -> Shape | None:
    if result.image_rotation:
        raise ValueError(f"{entry}: image_rotation is {result.image_rotation:g}; turn the image back and export again")
    if result.type in ("rectanglelabels", "rectangle"):
        box = checked(problems, _Rectangle, result.value, f"{where}.value")
        return None if box is None else Shape(entry, _sides(entry, box, result))
    if result.type in ("polygonlabels", "polygon"):
        polygon = checked(problems, _Polygon, result.value, f"{where}.value")
        if polygon is None:
            return None
        if len(polygon.points) < 3:
            raise ValueError(f"{entry}: a polygon has 3 points or more, got {len(polygon.points)}")
        shape = polygon_shape(entry, [[side / 100 for point in polygon.points for side in point]], scale=True)
        return shape.boxed() if options.boxes_only else shape
    if result.type in ("brushlabels", "brush"):
        brush = checked(problems, _Brush, result.value, f"{where}.value")
        return None if brush is None else Shape(entry, pixels=partial(_drawn, brush.rle))
    if _category(result.value):
        raise ValueError(f"{entry}: type {result.type!r} is not read; use rectangles, polygons or brushes")
    return None


def _sides(entry: str, box: _Rectangle, result: _Result) -> tuple[float, float, float, float]:
    if not box.rotation:
        return box.x / 100, box.y / 100, (box.x + box.width) / 100, (box.y + box.height) / 100
    width, height = result.original_width, result.original_height
    if width is None or height is None:
        raise ValueError(f"{entry}: a turned rectangle needs original_width and original_height")
    # Turned about its top left corner, in pixels: percentages of two sides are no common measure.
    x, y, w, h = (
        side / 100 * size for side, size in zip((box.x, box.y, box.width, box.height), (width, height) * 2, strict=True)
    )
    x0, y0, x1, y1 = turned_box(x, y, w, h, box.rotation, (x, y))
    return x0 / width, y0 / height, x1 / width, y1 / height


def _drawn(rle: list[int], height: int, width: int) -> NDArray[np.bool_]:
    return decode(rle, height, width)
