"""Naming a file relative to a folder such that the name leads back to it, symbolic links or not."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


def relative_path(path: str | Path, folder: str | Path) -> str:
    """`path` as seen from `folder`, with forward slashes.

    What lies inside the folder by its name keeps that name. Otherwise symbolic links to folders are resolved on both
    sides, or ``..`` would leave from the wrong place; the file's own name is kept, it may be a link. A file on another
    drive (Windows) is named by its absolute path.
    """
    absolute = os.path.join(os.getcwd(), path)
    # `..` behind a link means what the file system says, so that a name with `..` says nothing about where it leads.
    if ".." not in Path(absolute).parts:
        for root in (os.path.abspath(folder), _real(os.path.abspath(folder))):
            if os.path.normpath(absolute).startswith(os.path.join(root, "")):
                return _slashed(os.path.relpath(absolute, root))
    parent, name = os.path.split(absolute)
    try:
        return _slashed(os.path.relpath(os.path.join(_real(parent), name), _real(os.path.abspath(folder))))
    except ValueError:
        return _slashed(absolute)


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _slashed(path: str) -> str:
    return path.replace(os.sep, "/")
