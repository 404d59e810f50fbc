"""What a run calls the files that it writes into its output folder."""

from __future__ import annotations

import re

RESULTS_NAME = "results.jsonl"  # of a run into files; it is there before the first picture is
RUN_NAME = "_run.json"  # of a run into a table; where it is, all of the plan is
PICTURES = {"mask": "masks/{}.png", "heatmap": "heatmaps/{}.png", "overlay": "overlays/{}.jpg"}
FOLDERS = frozenset(place.partition("/")[0] for place in PICTURES.values())
_PART = re.compile(r"part-\d{6,}\.parquet")


def part_name(number: int) -> str:
    """Of a part of a table, numbered from 0."""
    return f"part-{number:06d}.parquet"


def is_part(name: str) -> bool:
    """Whether a file in the output folder is called as a part of a table."""
    return _PART.fullmatch(name) is not None


def is_result(place: str) -> bool:
    """Whether a file, by its place below the output folder with forward slashes, is called as a picture or a part."""
    folder, slash, _ = place.partition("/")
    return folder in FOLDERS if slash else is_part(place)
