"""The SQLite file under a dataset: its tables, their versions, and what SQLite's errors mean to a user."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxpromptiml.dataset.queries import folded
from boxpromptiml.dataset.records import suspicion_of
from boxpromptiml.errors import DatasetError

DATABASE = "dataset.db"

# "BPIM": tells our file from another program's SQLite file.
_APPLICATION_ID = 0x4250494D

# How long a writer waits for another process's transaction. Transactions take milliseconds, a bulk import seconds.
_BUSY_SECONDS = 60.0

# Entry i takes a file from version i to version i + 1; PRAGMA user_version holds the number. Never change an entry
# that has been released: append one.
MIGRATIONS: list[tuple[str, ...]] = [
    (
        # Ordered by image on disk: a page of images is one contiguous read. Every index ends in the image too, so
        # that filtered pages come in order without a sort.
        """
        CREATE TABLE image (
            image TEXT NOT NULL PRIMARY KEY,
            width INTEGER NOT NULL CHECK (width > 0),
            height INTEGER NOT NULL CHECK (height > 0),
            label TEXT CHECK (label IN ('tampered', 'authentic')),
            mask TEXT,
            split TEXT,
            source_group TEXT,
            kind TEXT,
            seconds REAL,
            review TEXT,
            annotated INTEGER NOT NULL CHECK (annotated IN (0, 1)),
            version INTEGER NOT NULL CHECK (version > 0)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX image_by_split ON image (split, image)",
        "CREATE INDEX image_by_label ON image (label, image)",
        "CREATE INDEX image_by_annotated ON image (annotated, image)",
        "CREATE INDEX image_by_all ON image (split, label, annotated, image)",
        "CREATE INDEX image_by_group ON image (source_group)",
        """
        CREATE TABLE region (
            image TEXT NOT NULL REFERENCES image ON DELETE CASCADE,
            position INTEGER NOT NULL,
            x0 INTEGER NOT NULL CHECK (x0 >= 0),
            y0 INTEGER NOT NULL CHECK (y0 >= 0),
            x1 INTEGER NOT NULL CHECK (x1 > x0),
            y1 INTEGER NOT NULL CHECK (y1 > y0),
            PRIMARY KEY (image, position)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE pseudo_mask (
            image TEXT NOT NULL PRIMARY KEY REFERENCES image ON DELETE CASCADE,
            path TEXT NOT NULL,
            teacher TEXT NOT NULL,
            settings TEXT NOT NULL,
            qualities TEXT NOT NULL,
            flags TEXT NOT NULL,
            fallbacks TEXT NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    (
        # What the annotation and review pages list by, as `ImageRecord.state` and `.review_state` tell it.
        "ALTER TABLE image ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0 CHECK (skipped IN (0, 1))",
        """
        ALTER TABLE image ADD COLUMN state TEXT NOT NULL DEFAULT 'todo'
            CHECK (state IN ('todo', 'boxed', 'authentic', 'skipped'))
        """,
        """
        ALTER TABLE image ADD COLUMN review_state TEXT NOT NULL DEFAULT 'none'
            CHECK (review_state IN ('open', 'accepted', 'rejected', 'none'))
        """,
        # - suspicion of the pseudo mask, 1 without one: ascending, the suspicious come first. In one direction places
        # in the order compare as (suspicion_rank, image), which an index answers.
        "ALTER TABLE image ADD COLUMN suspicion_rank REAL NOT NULL DEFAULT 1.0",
        """
        UPDATE image SET state = CASE WHEN annotated THEN 'boxed' ELSE 'authentic' END
        WHERE annotated OR label = 'authentic'
        """,
        """
        UPDATE image SET review_state = CASE WHEN label = 'authentic' THEN 'none' ELSE coalesce(review, 'open') END,
        suspicion_rank = (
            SELECT -suspicion_of(flags, qualities) FROM pseudo_mask WHERE pseudo_mask.image = image.image
        )
        WHERE image IN (SELECT image FROM pseudo_mask)
        """,
        # The names in either order with the columns of the filters: a page far down reads nothing but the index.
        "CREATE INDEX image_by_name ON image (image, state, review_state)",
        "CREATE INDEX image_by_suspicion ON image (suspicion_rank, image, state, review_state)",
        "CREATE INDEX image_by_state ON image (state, image, review_state)",
        "CREATE INDEX image_by_review ON image (review_state, suspicion_rank, image, state)",
        "CREATE INDEX image_by_seconds ON image (seconds) WHERE seconds IS NOT NULL",
    ),
]


def connect(folder: Path, *, create: bool) -> sqlite3.Connection:
    """Open the database of a dataset folder and bring it to the newest version.

    A folder that cannot be written is opened for reading.

    Args:
        folder: the dataset folder; it exists.
        create: make the database if there is none.

    Raises:
        DatasetError: no database, an empty one, another program's, damaged, of a newer version, or not readable.
    """
    path = folder / DATABASE
    with translated(path):
        if not create and not path.is_file():
            raise DatasetError(f"{folder}: no dataset here ({DATABASE} is missing); make one with  boxpromptiml import")
        # SQLite takes an empty file for a new database: without this, what a full disk or a broken copy left behind
        # would pass for a dataset without images.
        if not create and path.stat().st_size == 0:
            raise DatasetError(
                f"{path}: empty (0 bytes); restore it from a backup, or fill it anew with  boxpromptiml import"
            )
        if not is_writable(path):
            return _with_functions(_connect_read_only(path))
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # Check first whether the file is ours: nothing may be written to another program's database.
            _version(connection, path)
            _use_wal(connection)
            # In WAL mode FULL syncs the log at each commit: what was committed survives a power cut. NORMAL would
            # only survive the death of the process. F_FULLFSYNC is what it takes on macOS; elsewhere it is ignored.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
        return _with_functions(connection)


def _with_functions(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Teach a connection what the queries call."""
    connection.create_function("folded", 1, folded, deterministic=True)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: all of it is stored, or nothing.

    The write lock is taken at once: a transaction that starts by reading and is overtaken could never be committed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a `DatasetError` that names the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise DatasetError(f"{path}: {_meaning(error)}") from error
    except UnicodeEncodeError as error:
        raise DatasetError(f"{path}: the name {error.object!r} is not valid UTF-8; rename the file") from error


def _meaning(error: sqlite3.Error) -> str:
    # The lowest byte is the primary result code. Errors of the driver itself carry none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "busy: another process has been writing for a long time; try again when it is done"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return "read-only; change the permissions of file and folder, or work on a copy of the folder"
        case sqlite3.SQLITE_CANTOPEN:
            return "cannot be opened; check that it is a file and that you may read and write it and its folder"
        case sqlite3.SQLITE_NOTADB:
            return "not a dataset (no SQLite file); move it away, or restore it from a backup"
        case sqlite3.SQLITE_CORRUPT:
            return f"damaged ({error}); restore it from a backup, or import its manifest into a new folder"
        case sqlite3.SQLITE_FULL:
            return "the disk is full; make room and run the same command again"
        case sqlite3.SQLITE_IOERR:
            return f"the disk reports an error ({error}); nothing of the last change was stored"
        case _:
            return str(error)


def is_writable(path: Path) -> bool:
    """Whether SQLite could write the database at `path`: it needs the file and, for its log, the folder."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _connect_read_only(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise DatasetError(f"{path.parent}: the folder cannot be written; choose another one for the dataset")
    # Without write access SQLite cannot coordinate with others through the log's index, unless told that nobody
    # writes. That is true of a read-only disk, but a log left by a crash would be overlooked: then better refuse.
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise DatasetError(
            f"{path}: has a log that is not merged yet and cannot be written; work on a copy of the folder"
        )
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        if _version(connection, path) == len(MIGRATIONS):
            return connection
        return _migrated_copy(connection, path)
    except BaseException:
        connection.close()
        raise


def _migrated_copy(old: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A read-only file of an older version is read through a temporary copy, which SQLite removes with the connection.

    Changes are refused as those of the file are: they would be lost.
    """
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        old.backup(copy)
        _migrate(copy, path)
        copy.execute("PRAGMA query_only = ON")
    except BaseException:
        copy.close()
        raise
    old.close()
    return copy


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log: readers and one writer do not wait for each other.

    The switch itself needs the file for itself and may fail at once when another process makes it as well.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of an opened file; 0 for a new one. Raises for files that are not ours to touch."""
    # One statement, so that all three are of one moment: another process may be making the tables.
    (version, application, tables) = connection.execute(
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    if application != _APPLICATION_ID and (application or version or tables):
        raise DatasetError(f"{path}: another program's database; choose another folder for the dataset")
    if version > len(MIGRATIONS):
        raise DatasetError(
            f"{path}: written by a newer boxpromptiml (schema {version}, this one knows {len(MIGRATIONS)}); upgrade it"
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == len(MIGRATIONS):
        return
    connection.create_function("suspicion_of", 2, _suspicion_of, deterministic=True)
    with transaction(connection):
        # Another process may have migrated while this one waited for the lock.
        for number in range(_version(connection, path), len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _suspicion_of(flags: str, qualities: str) -> float:
    return suspicion_of(json.loads(flags), json.loads(qualities))
