"""Which foreign format a path holds."""

from __future__ import annotations

from pathlib import Path

from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.folders import read_images, read_tp_gt, tp_gt_parts
from boxpromptiml.formats.imdlbenco import read_json_list
from boxpromptiml.formats.source import Source

ACCEPTED = (
    "a folder with Tp/ (tampered) and Gt/ (masks) and/or Au/ (authentic), a folder of images, "
    "an IMDLBenCo list (.json) or a manifest (.jsonl)"
)


def is_manifest(path: str | Path) -> bool:
    """Whether a path is read as a manifest of ours."""
    return Path(path).suffix.lower() in (".jsonl", ".ndjson")


def read_source(path: str | Path) -> Source:
    """Read a foreign dataset, choosing the format by what is there.

    Raises:
        DatasetError: none of the formats; the message says what is accepted.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix.lower() == ".json":
            source = read_json_list(path)
        else:
            raise DatasetError(f"{path}: not a format that is read; give {ACCEPTED}")
    elif {"tp", "au"} & tp_gt_parts(path).keys():
        source = read_tp_gt(path)
    elif (path / DATABASE).is_file():
        raise DatasetError(
            f"{path}: is a dataset already; to copy it, import what  boxpromptiml manifest  writes of it"
        )
    else:
        source = read_images(path)
    if not source.candidates and not source.mismatches:
        raise DatasetError(f"{path}: no images in it; give {ACCEPTED}")
    return source
