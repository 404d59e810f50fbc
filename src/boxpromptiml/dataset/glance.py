"""What a folder's dataset names, read without opening it for work: nothing is written, not even a log beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from boxpromptiml.dataset.schema import DATABASE

_BUSY_SECONDS = 5.0


def mask_names(folder: str | Path) -> list[str]:
    """The true and pseudo masks that the records name, as they name them; of any version of the database.

    Raises:
        sqlite3.Error: what is there is no dataset, damaged, or written to for a long time.
        OSError: it cannot be looked at.
    """
    with _records(folder) as connection:
        rows = connection.execute(
            "SELECT mask FROM image WHERE mask IS NOT NULL UNION ALL SELECT path FROM pseudo_mask"
        )
        return [name for (name,) in rows]


def image_names(folder: str | Path, most: int) -> list[str]:
    """Some of the images that the records name, at the most so many. Raises as `mask_names`."""
    with _records(folder) as connection:
        return [name for (name,) in connection.execute("SELECT image FROM image LIMIT ?", (most,))]


@contextmanager
def _records(folder: str | Path) -> Iterator[sqlite3.Connection]:
    path = Path(folder, DATABASE).absolute()
    log = Path(f"{path}-wal")
    # Who reads a database with a log writes its index. Without one nobody writes, or nothing yet that would be missed.
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS)) as connection:
        yield connection
