"""Image files in folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from boxpromptiml.images.kinds import IMAGE_SUFFIXES

_log = logging.getLogger("boxpromptiml.images")


def find_images(folder: str | Path, recursive: bool = True) -> list[Path]:
    """The files below `folder` with a suffix of `IMAGE_SUFFIXES`, in any case, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out; links to folders are not followed.
    """
    return list(iter_files(folder, IMAGE_SUFFIXES, recursive))


def iter_files(folder: str | Path, suffixes: Collection[str], recursive: bool = True) -> Iterator[Path]:
    """Yield what `find_images` lists, for any suffixes (lower case), holding the names of one folder at a time.

    A folder that is not there has no files. One that cannot be read is passed over with a warning in the log.
    """
    try:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        _log.warning("%s: cannot be read: %s; its files are left out", folder, error.strerror or error)
        return
    base = Path(folder)
    for entry in sorted(entries, key=lambda entry: entry.name):
        if _holds(entry.is_dir):
            if recursive and not _holds(entry.is_symlink):
                yield from iter_files(base / entry.name, suffixes)
        elif os.path.splitext(entry.name)[1].lower() in suffixes:
            yield base / entry.name


def _holds(question: Callable[[], bool]) -> bool:
    """The answer of one entry: a link in a circle, or into a forbidden folder, has none and costs only itself."""
    try:
        return question()
    except OSError:
        return False
