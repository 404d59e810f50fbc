"""Local copies of shards that lie behind URLs: each fetched once a machine, the oldest given up for new ones."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from boxpromptiml import storage
from boxpromptiml.files import atomic_path, try_lock

_RESERVE = 512 * 2**20  # left free on the disk
_BLOCK = 1 << 22


class ShardHolder:
    """Keeps local copies of shards in a folder that all processes of a machine share. Picklable.

    A copy is made whole or not at all, under a lock, so that a shard is fetched once however many processes want it;
    its checksum is compared as it comes in. Reading a file that another process gives up goes on: it is open.

    Args:
        folder: where the copies go; made when the first one is.
        limit: bytes of all of them.
    """

    def __init__(self, folder: str | Path, limit: int) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self._held: dict[str, Path] = {}
        self._wanted: queue.SimpleQueue[tuple[str, int, str]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self.limit)

    def hold(self, location: str, size: int, sha256: str) -> Path | None:
        """The local copy of a shard, fetched if it is not there; None where there is no room for it.

        Args:
            location: URL.
            size: bytes.
            sha256: of them.

        Raises:
            StorageError: it cannot be fetched, or is not what its index says.
        """
        known = self._held.get(location)
        if known is not None and known.exists():
            return known
        if size > self.limit:
            return None
        path = self.folder / f"{hashlib.blake2b(location.encode(), digest_size=8).hexdigest()}-{sha256[:16]}.tar"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("ab") as lock:
                try_lock(lock, wait=True)
                if not (path.exists() and path.stat().st_size == size) and not self._fetch(
                    location, size, sha256, path
                ):
                    return None
                os.utime(path)  # those used last are given up last
        except OSError:
            return None  # no room, or a folder that cannot be written: the images are asked for one by one
        self._held[location] = path
        return path

    def ahead(self, shards: Sequence[tuple[str, int, str]]) -> None:
        """Fetch shards in the background, in this order, because they will soon be wanted; returns at once."""
        if self._wanted is None:
            self._wanted = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self._wanted,), name="shards", daemon=True).start()
        for shard in shards:
            self._wanted.put(shard)

    def _work(self, wanted: queue.SimpleQueue[tuple[str, int, str]]) -> None:
        while True:
            shard = wanted.get()
            with suppress(storage.StorageError):  # whoever reads it will be told
                self.hold(*shard)

    def _fetch(self, location: str, size: int, sha256: str, path: Path) -> bool:
        if not self._make_room(size, path):
            return False
        digest = hashlib.sha256()
        with atomic_path(path, durable=False) as temporary:
            with storage.open_stream(location) as source, temporary.open("wb") as target:
                while block := _next(source, location):
                    digest.update(block)
                    target.write(block)
            if digest.hexdigest() != sha256:
                raise storage.StorageError(
                    f"{location}: is not the shard that its index lists (checksum); write it anew with  "
                    "boxpromptiml shard"
                )
        return True

    def _make_room(self, size: int, path: Path) -> bool:
        copies = sorted((p for p in self.folder.glob("*.tar") if p != path), key=_age)
        used = sum(_size(copy) for copy in copies)
        while copies and (used + size > self.limit or shutil.disk_usage(self.folder).free < size + _RESERVE):
            oldest = copies.pop(0)
            used -= _size(oldest)
            oldest.unlink(missing_ok=True)
        return shutil.disk_usage(self.folder).free >= size + _RESERVE


def _next(source: Any, location: str) -> bytes:
    try:
        return bytes(storage.retried(lambda: source.read(_BLOCK)))
    except Exception as error:  # drivers share no base class
        raise storage.StorageError(f"{location}: cannot be read: {storage.one_line(error)}") from error


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
