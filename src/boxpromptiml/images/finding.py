"""Image files in folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from boxpromptiml.images.kinds import IMAGE_SUFFIXES


def find_images(folder: str | Path, recursive: bool = True) -> list[Path]:
    """The files below `folder` with a suffix of `IMAGE_SUFFIXES`, in any case, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out; links to folders are not followed.
    """
    return list(iter_files(folder, IMAGE_SUFFIXES, recursive))


def iter_files(folder: str | Path, suffixes: Collection[str], recursive: bool = True) -> Iterator[Path]:
    """Yield what `find_images` lists, for any suffixes (lower case), holding the names of one folder at a time.

    Folders that cannot be read are passed over.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_symlink(), entry.is_dir()) for entry in entries if not entry.name.startswith(".")
            )
    except OSError:
        return
    for name, is_link, is_folder in found:
        path = Path(folder, name)
        if is_folder:
            if recursive and not is_link:
                yield from iter_files(path, suffixes)
        elif os.path.splitext(name)[1].lower() in suffixes:
            yield path
