"""Image files in folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from boxpromptiml.images.kinds import IMAGE_SUFFIXES

_log = logging.getLogger("boxpromptiml.images")


class Entry(NamedTuple):
    """What lies in a folder under one name; of a link `is_folder` tells what it leads to."""

    name: str
    is_folder: bool
    is_link: bool = False


def find_images(folder: str | Path, recursive: bool = True) -> list[Path]:
    """The files below `folder` with a suffix of `IMAGE_SUFFIXES`, in any case, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out; links to folders are not followed.
    """
    return list(iter_files(folder, IMAGE_SUFFIXES, recursive))


def iter_files(folder: str | Path, suffixes: Collection[str], recursive: bool = True) -> Iterator[Path]:
    """Yield what `find_images` lists, for any suffixes (lower case), holding the names of one folder at a time.

    A folder that is not there has no files. One that cannot be read is passed over with a warning in the log.
    """
    base = Path(folder)
    for name, is_folder, is_link in folder_entries(folder):
        if is_folder:
            if recursive and not is_link:
                yield from iter_files(base / name, suffixes)
        elif os.path.splitext(name)[1].lower() in suffixes:
            yield base / name


def folder_entries(folder: str | Path, on_unreadable: Callable[[str], None] = lambda folder: None) -> list[Entry]:
    """What lies right in a folder, sorted by name, hidden names left out.

    A folder that is not there is empty; so is one that cannot be read, with a warning in the log, and
    `on_unreadable` is called with it.
    """
    try:
        with os.scandir(folder) as found:
            # No list of what the system gives beside that of entries: folders may hold hundreds of thousands.
            return sorted(
                Entry(entry.name, _holds(entry.is_dir), _holds(entry.is_symlink))
                for entry in found
                if not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _log.warning("%s: cannot be read: %s; its files are left out", folder, error.strerror or error)
        on_unreadable(str(folder))
        return []


def _holds(question: Callable[[], bool]) -> bool:
    """The answer of one entry: a link in a circle, or into a forbidden folder, has none and costs only itself."""
    try:
        return question()
    except OSError:
        return False
