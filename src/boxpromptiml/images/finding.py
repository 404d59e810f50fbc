"""Image files in folders."""

from __future__ import annotations

import os
from pathlib import Path

from boxpromptiml.images.kinds import IMAGE_SUFFIXES


def find_images(folder: str | Path, recursive: bool = True) -> list[Path]:
    """The files below `folder` with a suffix of `IMAGE_SUFFIXES`, in any case, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out; links to folders are not followed.
    """
    found: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        found += [
            Path(where, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)
