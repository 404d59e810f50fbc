"""Which foreign format a path holds, by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.coco import coco_files, is_coco, read_coco, read_coco_folder
from boxpromptiml.formats.cvat import read_cvat
from boxpromptiml.formats.folders import read_images, read_tp_gt, refuse_nested_tp_gt, tp_gt_parts
from boxpromptiml.formats.imdlbenco import is_json_list, read_json_list
from boxpromptiml.formats.label_studio import is_label_studio, read_label_studio
from boxpromptiml.formats.labelme import is_labelme, is_labelme_folder, read_labelme
from boxpromptiml.formats.marker import read_marker
from boxpromptiml.formats.parsing import load_json, load_xml
from boxpromptiml.formats.source import ReadOptions, Source
from boxpromptiml.formats.voc import is_voc_folder, read_voc
from boxpromptiml.formats.yolo import is_yolo_folder, is_yolo_labels, read_yolo
from boxpromptiml.images import find_images

ImportFormat = Literal[
    "folders", "images", "imdlbenco", "manifest", "coco", "yolo", "voc", "labelme", "label-studio", "cvat"
]
# Files that are looked at before a folder is taken for one of images only.
_PROBED = 20
IMPORT_FORMATS: tuple[ImportFormat, ...] = get_args(ImportFormat)

ACCEPTED = (
    "a folder with Tp/ (tampered) and Gt/ (masks) and/or Au/ (authentic), a folder of images, "
    "an IMDLBenCo list (.json), a manifest (.jsonl), or annotations of COCO, YOLO, Pascal VOC, LabelMe, Label Studio "
    "or CVAT (name the format with --format)"
)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One format: reads a path; `boxes` says whether it draws anything, so that `ReadOptions` mean something."""

    read: Callable[[Path, ReadOptions], Source]
    boxes: bool = True


def _coco(path: Path, options: ReadOptions) -> Source:
    if path.is_file():
        return read_coco(path, options)
    if (path / "annotations.json").is_file():
        return read_coco(path / "annotations.json", options)
    return read_coco_folder(path, options)


def _within(name: str, read: Callable[[Path, ReadOptions], Source]) -> Callable[[Path, ReadOptions], Source]:
    """A reader of a file that also takes the folder which our own export made around it."""
    return lambda path, options: read(path / name if path.is_dir() else path, options)


_READERS: dict[str, _Reader] = {
    "folders": _Reader(lambda path, _: read_tp_gt(path), boxes=False),
    "images": _Reader(lambda path, _: read_images(path), boxes=False),
    "imdlbenco": _Reader(_within("list.json", lambda path, _: read_json_list(path)), boxes=False),
    "coco": _Reader(_coco),
    "yolo": _Reader(read_yolo),
    "voc": _Reader(read_voc),
    "labelme": _Reader(read_labelme),
    "label-studio": _Reader(_within("tasks.json", read_label_studio)),
    "cvat": _Reader(_within("annotations.xml", read_cvat)),
}


def is_manifest(path: str | Path) -> bool:
    """Whether a path is read as a manifest of ours."""
    return Path(path).suffix.lower() in (".jsonl", ".ndjson")


def read_source(path: str | Path, format: str | None = None, options: ReadOptions | None = None) -> Source:
    """Read a foreign dataset.

    Args:
        path: a file or folder.
        format: one of `IMPORT_FORMATS` but ``manifest``; None to tell it by the content.
        options: what the user says about it.

    Raises:
        DatasetError: none of the formats (the message says what is accepted), or options that the format has no use
            for.
        RejectedError: malformed entries.
    """
    path = Path(path)
    options = options or ReadOptions()
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    name = detected(path) if format is None else format
    if name not in _READERS:
        raise DatasetError(f"{path}: format {name!r} is not one of {', '.join(_READERS)}")
    reader = _READERS[name]
    if not reader.boxes and options != ReadOptions():
        raise DatasetError(
            f"{path}: --images, --tampered, --boxes-only and --zero-based are for formats with boxes, "
            f"this is read as {name}"
        )
    if options.zero_based and name != "voc":
        raise DatasetError(f"{path}: --zero-based is for Pascal VOC, this is read as {name}")
    if options.images is not None and not options.images.is_dir():
        raise DatasetError(f"{options.images}: no such folder (--images)")
    if path.is_file() and name in ("folders", "images"):
        raise DatasetError(f"{path}: is a file, the format {name} is a folder")
    source = reader.read(path, options)
    if not source.candidates and not source.mismatches:
        raise DatasetError(f"{path}: no images in it; give {ACCEPTED}")
    return source


def detected(path: Path) -> str:
    """The name of the format of a file or folder, by its content.

    Raises:
        DatasetError: none that is known.
    """
    name = _of_file(path) if path.is_file() else _of_folder(path)
    if name is None:
        raise DatasetError(f"{path}: not a format that is read; give {ACCEPTED}")
    return name


def _of_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _of_json(load_json(path))
    if suffix == ".xml":
        return {"annotation": "voc", "annotations": "cvat"}.get(load_xml(path).tag)
    return "yolo" if suffix in (".yaml", ".yml") else None


def _of_json(value: Any) -> str | None:
    if is_coco(value):
        return "coco"
    if is_labelme(value):
        return "labelme"
    if is_label_studio(value):
        return "label-studio"
    return "imdlbenco" if is_json_list(value) else None


def _of_folder(path: Path) -> str:
    marked = read_marker(path)
    if marked in _READERS:
        return str(marked)
    if {"tp", "au"} & tp_gt_parts(path).keys():
        return "folders"
    if (path / DATABASE).is_file():
        raise DatasetError(
            f"{path}: is a dataset already; to copy it, import what  boxpromptiml manifest  writes of it"
        )
    if is_yolo_folder(path):
        return "yolo"
    if is_voc_folder(path):
        return "voc"
    if coco_files(path):
        return "coco"
    if is_labelme_folder(path):
        return "labelme"
    _refuse_annotated(path)
    return "images"


def _refuse_annotated(path: Path) -> None:
    """Refuse a folder of which photographs alone would be half of what it holds: images are told by their suffix.

    Raises:
        DatasetError: annotations lie in it, or folders of masks; the message says what to give instead.
    """
    alone = "--format images takes all of its images for photographs"
    for file in islice(sorted(path.glob("*.json")) + sorted(path.glob("*.xml")), _PROBED):
        name = _annotations_in(file)
        if name is not None:
            raise DatasetError(f"{path}: holds {file.name}, annotations of the format {name}; give {file} ({alone})")
    for image in islice(find_images(path), _PROBED):
        if is_yolo_labels(image.with_suffix(".txt")):
            raise DatasetError(
                f"{path}: holds {image.with_suffix('.txt').relative_to(path)}, which looks like labels of YOLO; "
                f"give --format yolo ({alone})"
            )
    refuse_nested_tp_gt(path, f"import them one by one, with --split ({alone})")


def _annotations_in(file: Path) -> str | None:
    """The format of a file with boxes; None for any other one, which is nobody's business in a folder of images."""
    try:
        name = _of_file(file)
    except DatasetError:
        return None
    return name if name in ("coco", "label-studio", "cvat", "voc") else None
