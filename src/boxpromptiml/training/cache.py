"""Decoded and resized training images on disk, shared by all processes of a run."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Left free on the disk, for the states and whatever else runs there.
_RESERVE = 512 * 2**20


class ResizedCache:
    """A memory-mapped file of rows: image uint8 (height, width, 3) and target uint8 (height, width).

    Rows are filled when an image is first loaded, by whichever process loads it. Each row has a checksum, so that a
    row half written by a killed process, or by two at once, is decoded again instead of being believed. The pages
    belong to the system's cache: it drops them when memory runs short.
    """

    def __init__(self, path: Path, rows: int, height: int, width: int) -> None:
        self.path = path
        self.rows = rows
        self._shape = (height, width)
        self._row = height * width * 4
        self._pixels: NDArray[np.uint8] = np.memmap(path, np.uint8, "r+", 0, (rows, self._row))
        self._sums: NDArray[np.uint32] = np.memmap(path, np.uint32, "r+", rows * self._row, (rows,))

    @classmethod
    def create(cls, path: Path, images: int, height: int, width: int, limit: int) -> None:
        """Make (or keep) the file for so many of `images` as fit into `limit` bytes and on the disk; maybe none."""
        size = height * width * 4 + 4
        rows = min(images, limit // size)
        if path.exists() and path.stat().st_size == rows * size:
            return
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = min(rows, max(0, shutil.disk_usage(path.parent).free - _RESERVE) // size)
        if rows == 0:
            return
        try:
            with path.open("wb") as stream:
                # Reserved at once: writing to a mapped hole on a full disk would kill the process (SIGBUS).
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(stream.fileno(), 0, rows * size)
                else:
                    stream.truncate(rows * size)
        except OSError:
            path.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: Path, height: int, width: int) -> ResizedCache | None:
        """The cache that `create` made, or None if it made none."""
        if not path.exists():
            return None
        return cls(path, path.stat().st_size // (height * width * 4 + 4), height, width)

    def get(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Copies of a row's image and target, or None if it is not there."""
        if index >= self.rows or self._sums[index] == 0:
            return None
        row = np.array(self._pixels[index])
        if _checksum(row) != self._sums[index]:
            return None
        cut = self._row // 4 * 3
        return row[:cut].reshape(*self._shape, 3), row[cut:].reshape(self._shape)

    def put(self, index: int, image: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Keep a row; does nothing beyond the last one."""
        if index < self.rows:
            row = np.concatenate([image.ravel(), target.ravel()])
            self._pixels[index] = row
            self._sums[index] = _checksum(row)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as a mapping, not as a copy of its content (processes that are spawned, not forked).
        return type(self), (self.path, self.rows, *self._shape)


def _checksum(row: NDArray[np.uint8]) -> int:
    """CRC-32, never 0, which marks an empty row."""
    return zlib.crc32(row.data) or 1
