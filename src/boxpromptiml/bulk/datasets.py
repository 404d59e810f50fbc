"""Which files in a folder of photographs that was made a dataset are masks, and none of the photographs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from boxpromptiml import storage
from boxpromptiml.dataset.schema import DATABASE

_BUSY_SECONDS = 5.0
_LOOKED_FOR = 1000  # images; where so many are gone, the others are hardly there


@cache
def mask_folders() -> frozenset[str]:
    """The folders right in a dataset that this project writes masks to."""
    # Not at the start: most runs meet no dataset.
    from boxpromptiml.formats.importing import MASKS
    from boxpromptiml.pseudolabels.files import FOLDER

    return frozenset({MASKS, FOLDER})


def named_masks(folder: str) -> frozenset[str]:
    """The true and pseudo masks that a dataset's records name in its folder, outside of `mask_folders`.

    Names are relative to the folder. None where the records cannot be read: what is no dataset of ours, damaged or
    behind a URL must not end a run over photographs.
    """
    if storage.is_url(folder):
        return frozenset()
    try:
        with _records(folder) as connection:
            names = (
                os.path.normpath(name)
                for (name,) in connection.execute(
                    "SELECT mask FROM image WHERE mask IS NOT NULL UNION ALL SELECT path FROM pseudo_mask"
                )
            )
            apart = mask_folders()
            return frozenset(name for name in names if name.split(os.sep, 1)[0] not in {*apart, os.pardir})
    except (sqlite3.Error, OSError, TypeError, ValueError):
        return frozenset()


def lists_images(folder: str) -> bool:
    """Whether a dataset on this machine can be read and lists images that are there."""
    if storage.is_url(folder):
        return False
    try:
        with _records(folder) as connection:
            rows = connection.execute("SELECT image FROM image LIMIT ?", (_LOOKED_FOR,))
            return any(os.path.isfile(os.path.join(os.path.realpath(folder), name)) for (name,) in rows)
    except (sqlite3.Error, OSError, TypeError, ValueError):
        return False


@contextmanager
def _records(folder: str) -> Iterator[sqlite3.Connection]:
    """The database, opened such that nothing is written, not even a log beside it."""
    path = Path(folder, DATABASE).absolute()
    log = Path(f"{path}-wal")
    # Who reads a database with a log writes its index. Without one nobody writes, or nothing yet that would be missed.
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS)) as connection:
        yield connection
