"""What an interrupted evaluation has done so far, so that it goes on where it stopped and ends in the same digits."""

from __future__ import annotations

import json
import time
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.evaluation.table import ROW_WIDTH
from boxpromptiml.files import atomic_path, naming, os_reason, try_lock

Arrays = Mapping[str, NDArray[Any]]
ROWS_NAME = "rows.bin"
CHECKPOINT_NAME = "checkpoint.npz"
_META = "meta"
_SHARE = 0.05  # of the time at most goes into checkpoints


class RunState:
    """A folder with two files: rows that are only ever appended to, and a checkpoint that replaces the one before.

    The checkpoint holds the sums over a number of rows and tells that number, with a check sum of these rows. What was
    appended behind them is dropped when the state is opened again; so rows and sums always tell of the same images.

    Attributes:
        rows: float64 (n, ROW_WIDTH), those that the checkpoint covered when the state was opened.
        arrays: the sums over them.
        seconds: time that was spent on them.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], stream: IO[bytes]) -> None:
        self._folder = folder
        self._identity = identity
        self._stream = stream
        self._waiting: list[NDArray[np.float64]] = []
        self._count = self._crc = 0
        self._due = time.monotonic()
        self.rows: NDArray[np.float64] = np.empty((0, ROW_WIDTH))
        self.arrays: dict[str, NDArray[Any]] = {}
        self.seconds = 0.0

    @classmethod
    def open(cls, folder: str | Path, identity: dict[str, Any]) -> RunState:
        """Open the state of a run, or begin one.

        Args:
            folder: made where it is missing.
            identity: what the figures depend on, as JSON has it: name (for people) -> value.

        Raises:
            BoxPromptError: the state belongs to another run, another process works on it, it is damaged, or the folder
                cannot be written.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            stream = (path / ROWS_NAME).open("a+b")
        except OSError as error:
            raise BoxPromptError(f"{error.filename or path}: {os_reason(error)}") from error
        try:
            if not try_lock(stream):
                raise BoxPromptError(f"{path}: another evaluation is writing there; wait for it or choose another")
            state = cls(path, json.loads(json.dumps(identity)), stream)
            state._load()
        except BaseException:
            stream.close()
            raise
        return state

    def append(self, row: NDArray[np.float64]) -> None:
        """Add a row; it counts with the next `save`."""
        self._waiting.append(row)

    @property
    def due(self) -> bool:
        """Whether it is time for a `save`."""
        return time.monotonic() >= self._due

    def save(self, arrays: Arrays, seconds: float) -> None:
        """Write the rows that wait and a checkpoint over all rows.

        A process may die at any point. Nothing waits for the disk: should the machine die, the check sums tell.

        Args:
            arrays: the sums over all rows so far.
            seconds: time spent on them.
        """
        start = time.monotonic()
        data = b"".join(row.astype("<f8").tobytes() for row in self._waiting)
        with naming(self._folder / ROWS_NAME):
            self._stream.write(data)
            self._stream.flush()
        self._count += len(self._waiting)
        self._crc = zlib.crc32(data, self._crc)
        self._waiting.clear()
        meta = {"identity": self._identity, "rows": self._count, "crc": self._crc, "seconds": seconds}
        everything: dict[str, Any] = {_META: np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **arrays}
        with atomic_path(self._folder / CHECKPOINT_NAME, durable=False) as temporary, temporary.open("wb") as file:
            np.savez(file, **everything)
        end = time.monotonic()
        self._due = end + (end - start) * (1 - _SHARE) / _SHARE

    def close(self) -> None:
        """Leave the folder as it is."""
        with naming(self._folder / ROWS_NAME):
            self._stream.close()

    def discard(self) -> None:
        """Remove the state: the run is finished."""
        self.close()
        discard_state(self._folder)

    def _load(self) -> None:
        damaged = BoxPromptError(f"{self._folder}: damaged; remove the folder to start afresh")
        try:
            with np.load(self._folder / CHECKPOINT_NAME) as archive:
                arrays = {name: archive[name] for name in archive.files}
            meta = json.loads(arrays.pop(_META).tobytes())
            identity, count = meta["identity"], int(meta["rows"])
            differing = [name for name in self._identity if identity.get(name) != self._identity[name]]
        except FileNotFoundError:
            self._stream.truncate(0)  # rows alone are of no use
            return
        except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise damaged from error
        if differing:
            raise BoxPromptError(
                f"{self._folder}: holds an unfinished evaluation with another {', '.join(differing)}; "
                "finish that one, or remove the folder to start afresh"
            )
        size = count * ROW_WIDTH * 8
        self._stream.seek(0)
        data = self._stream.read(size)
        if len(data) != size or zlib.crc32(data) != meta["crc"]:
            raise damaged
        self._stream.truncate(size)
        self._count, self._crc = count, meta["crc"]
        self.rows = np.frombuffer(data, dtype="<f8").astype(np.float64).reshape(count, ROW_WIDTH)
        self.arrays, self.seconds = arrays, float(meta["seconds"])


def discard_state(folder: str | Path) -> None:
    """Remove the state of a run, if there is one; other files in the folder stay."""
    path = Path(folder)
    for file in (*path.glob(f".{Path(CHECKPOINT_NAME).stem}-*.npz"), path / CHECKPOINT_NAME, path / ROWS_NAME):
        file.unlink(missing_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
