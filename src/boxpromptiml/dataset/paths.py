"""Naming a file relative to a folder such that the name leads back to it, symbolic links or not."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


def relative_path(path: str | Path, folder: str | Path) -> str:
    """`path`, the path of a file, as seen from `folder`, with forward slashes.

    What lies inside the folder by its name keeps that name. Otherwise symbolic links to folders are resolved on both
    sides, or ``..`` would leave from the wrong place; the file's own name is kept, it may be a link. A file on another
    drive (Windows) is named by its absolute path.
    """
    parent, name = os.path.split(path)
    # Files come in large numbers, their folders do not.
    where = _relative_folder(parent, os.fspath(folder), os.getcwd())
    return name if where == "." else f"{where.rstrip('/')}/{name}"


@lru_cache(maxsize=4096)
def _relative_folder(parent: str, folder: str, working: str) -> str:
    absolute = os.path.join(working, parent)
    start = os.path.normpath(os.path.join(working, folder))
    # `..` behind a link means what the file system says, so that a name with `..` says nothing about where it leads.
    if ".." not in Path(absolute).parts:
        normal = os.path.normpath(absolute)
        for root in (start, os.path.realpath(start)):
            if normal == root or normal.startswith(os.path.join(root, "")):
                return os.path.relpath(normal, root).replace(os.sep, "/")
    try:
        found = os.path.relpath(os.path.realpath(absolute), os.path.realpath(start))
    except ValueError:
        found = absolute
    return found.replace(os.sep, "/")
