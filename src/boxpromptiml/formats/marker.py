"""The file that marks a folder as an export of ours: what may be replaced, and in which format it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# No .json: programs that read all JSON files of a folder would stumble over it.
MARKER = ".boxpromptiml-export"


def read_marker(folder: Path) -> str | None:
    """The format of an export; None for any other folder."""
    value = marker_of(folder)
    return value.get("format") if value else None


def marker_of(folder: Path) -> dict[str, Any]:
    """What the export says of itself: ``format``, ``dataset``; empty for any other folder."""
    try:
        value = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if isinstance(value, dict) and isinstance(value.get("format"), str):
        return value
    return {}
