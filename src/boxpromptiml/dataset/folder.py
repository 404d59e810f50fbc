"""The folder of a dataset and its open database, for threads, forks and pickles."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from boxpromptiml.dataset.paths import relative_path
from boxpromptiml.dataset.records import ImageRecord
from boxpromptiml.dataset.rows import load
from boxpromptiml.dataset.schema import DATABASE, connect, is_writable, transaction, translated
from boxpromptiml.errors import DatasetError, UnknownImageError


class DatasetFolder:
    """What `Dataset` stands on: it names files, and reads and writes in transactions.

    Attributes:
        root: the folder, absolute, symbolic links resolved.
    """

    root: Path

    def __init__(self, folder: str | Path, *, create: bool = False) -> None:
        given = Path(folder)
        if given.exists() and not given.is_dir():
            raise DatasetError(f"{given}: not a folder; a dataset is a folder")
        if create:
            try:
                given.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatasetError(f"{given}: the folder cannot be made ({error.strerror})") from error
        elif not given.exists():
            raise DatasetError(f"{given}: no such folder; make a dataset with  boxpromptiml import")
        self.root = given.resolve()
        self._lexical = Path(os.path.abspath(given))
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = connect(self.root, create=create)
        self._process = os.getpid()

    @property
    def read_only(self) -> bool:
        """Whether folder or file cannot be written, so that every change will be refused."""
        return not is_writable(self.root / DATABASE)

    def path(self, relative: str) -> Path:
        """Absolute path of a file that a record names. Images stay where they are: it may lie outside the folder."""
        # Not normalised: `..` behind a symbolic link means what the file system says it means.
        return self.root / relative

    def relative(self, path: str | Path) -> str:
        """The way round: how a record names a file, relative to the folder, with forward slashes.

        A file on another drive (Windows) is named by its absolute path.
        """
        return relative_path(path, self._lexical)

    def close(self) -> None:
        """Close the database. Using the object afterwards is an error."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self._lexical),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self.root / DATABASE):
            if self._connection is None:
                raise DatasetError(f"{self.root}: the dataset was closed")
            if self._process != os.getpid():
                # After a fork. The inherited connection must not even be closed here: the parent would lose its locks.
                _inherited.append(self._connection)
                self._connection = connect(self.root, create=False)
                self._process = os.getpid()
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection, transaction(connection):
            yield connection

    def _get(self, connection: sqlite3.Connection, image: str) -> ImageRecord:
        found = load(connection, [image])
        if not found:
            raise self._unknown(image)
        return found[0]

    def _known(self, connection: sqlite3.Connection, image: str) -> None:
        if connection.execute("SELECT 1 FROM image WHERE image = ?", (image,)).fetchone() is None:
            raise self._unknown(image)

    def _unknown(self, image: str) -> UnknownImageError:
        return UnknownImageError(f"{self.root}: no image {image!r}; list them with  boxpromptiml manifest")


# Connections inherited through a fork, kept so that the garbage collector does not close them.
_inherited: list[sqlite3.Connection] = []
