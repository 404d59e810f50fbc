"""A folder, here or in an object store, that files are written to; every write is whole or not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import atomic_path, os_reason, try_lock
from boxpromptiml.storage import locations as storage
from boxpromptiml.storage.errors import StorageError, one_line

# What a local writer that was killed leaves behind (see `files.atomic_path`).
_LEFTOVER = re.compile(r"^\.(part-\d{6}|shard-\d{6}|index|_run|_summary)-[0-9a-f]{16}\.(parquet|tar|jsonl?)$")


class OutputFolder:
    """Where results go: a local folder, or a URL that fsspec writes to.

    A local file is written beside its place, synced and renamed; in an object store it is one put.
    """

    def __init__(self, name: str, base: str = "") -> None:
        """Name a folder; nothing is made or asked yet.

        Args:
            name: path or URL.
            base: folder that a relative path is relative to; empty for the working folder.

        Raises:
            StorageError: the name is empty.
        """
        if not name.strip():
            raise StorageError("the name of the output folder is empty; the working folder is called .")
        self.name = name
        self._url = name.rstrip("/") if storage.is_url(name) else None
        self._path = storage.local_path(name, base)

    def files(self) -> set[str]:
        """Names of the files right in the folder; none where it does not exist."""
        if self._url is None:
            return {path.name for path in self._path.iterdir()} if self._path.is_dir() else set()
        fs = storage.filesystem(self._url)
        with self._errors(""):
            try:
                entries = storage.retried(lambda: fs.ls(f"{self._url}/", detail=True))
            except FileNotFoundError:
                return set()
        return {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] != "directory"}

    def open(self, name: str) -> IO[bytes]:
        """Open one of the files for reading. Raises StorageError where it cannot be."""
        return storage.open_stream(f"{self._url}/{name}" if self._url else str(self._path / name))

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of a file. Raises StorageError."""
        return storage.read_bytes(f"{self._url}/{name}" if self._url else str(self._path / name), start, end)

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where a store does not tell. Raises StorageError."""
        return storage.size_of(f"{self._url}/{name}" if self._url else str(self._path / name))

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write a file to; on success it takes its place, on failure nothing changes.

        Raises:
            StorageError: it cannot be written (no room, no permission, the store does not answer).
        """
        with self._errors(name):
            if self._url is None:
                with atomic_path(self._path / name) as path:
                    yield path
                return
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, Path(name).name)
                yield path
                fs = storage.filesystem(self._url)
                fs.makedirs(f"{self._url}/{name}".rpartition("/")[0], exist_ok=True)
                storage.retried(lambda: fs.put_file(str(path), f"{self._url}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a small file. Raises StorageError."""
        with self.writing(name) as path:
            path.write_bytes(data)

    def remove(self, name: str) -> None:
        """Remove a file. Raises StorageError."""
        with self._errors(name):
            if self._url is None:
                (self._path / name).unlink(missing_ok=True)
            else:
                storage.filesystem(self._url).rm_file(f"{self._url}/{name}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of a local folder, and sweep up what killed ones left.

        Object stores have no locks: there two runs of the same command write the same parts twice, which harms none.

        Raises:
            StorageError: another run holds it, or it cannot be made.
        """
        if self._url is not None:
            yield
            return
        with self._errors(""):
            self._path.mkdir(parents=True, exist_ok=True)
            stream = (self._path / "_lock").open("ab")
        with stream:
            if not try_lock(stream):
                raise StorageError(f"{self.name}: another run is writing to this folder; wait for it or choose another")
            self._sweep()
            try:
                yield
            finally:
                self._sweep()

    def _sweep(self) -> None:
        for name in self.files():
            if _LEFTOVER.match(name):
                self.remove(name)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except BoxPromptError:
            raise
        except (OSError, NotImplementedError) as error:
            place = f"{self.name.rstrip('/')}/{name}" if name else self.name
            told = isinstance(error, OSError) and error.errno is not None
            reason = os_reason(error) if told else one_line(error)  # type: ignore[arg-type]
            raise StorageError(f"{place}: {reason}") from error
