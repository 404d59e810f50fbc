"""Pictures that were made for the page, kept: in memory as far as there is room, thumbnails on disk too."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.files import write_bytes

FOLDER = ".cache/thumbs"
# 100,000 thumbnails take about 1 GB.
DISK_BYTES = 4 * 2**30
# What a killed server left half written is removed when it is so old.
_ORPHAN_SECONDS = 3600

_log = logging.getLogger("boxpromptiml.web")


class Memory:
    """Bytes by key, the least recently used ones forgotten first. May be used from many threads at once.

    Args:
        limit: bytes that are kept at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """What was kept under a key, if it still is."""
        with self._lock:
            data = self._kept.get(key)
            if data is not None:
                self._kept.move_to_end(key)
            return data

    def put(self, key: str, data: bytes) -> None:
        """Keep something; what is larger than the limit is not kept."""
        if len(data) > self._limit:
            return
        with self._lock:
            self._size += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._size > self._limit:
                self._size -= len(self._kept.popitem(last=False)[1])


class Disk:
    """Thumbnails as files of a folder, which may be deleted at any time. May be used from many threads at once.

    When the files outgrow the limit, the oldest tenth goes. A folder that cannot be written, or that a symbolic link
    puts outside the dataset, is not used: pictures are then made anew.

    Args:
        root: the dataset folder.
        limit: bytes that are kept at most.
    """

    def __init__(self, root: Path, limit: int = DISK_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._size: int | None = None
        self._usable = (root / FOLDER).resolve() == root.resolve() / FOLDER
        self._folder = root / FOLDER
        if not self._usable:
            _log.warning("%s: a symbolic link leads out of the dataset, thumbnails are not kept", self._folder)

    def get(self, key: str) -> bytes | None:
        """What was kept under a key, if it still is."""
        if not self._usable:
            return None
        try:
            return self._path(key).read_bytes() or None
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep something, if it can be written."""
        if not self._usable:
            return
        try:
            write_bytes(self._path(key), data, durable=False)
        except OSError as error:
            self._usable = False
            _log.warning("%s: thumbnails cannot be kept (%s)", self._folder, error.strerror or error)
            return
        with self._lock:
            if self._size is None:
                self._size = sum(file.size for file in self._files())
            else:
                self._size += len(data)
            if self._size > self._limit:
                self._size = self._prune()

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:40]
        return self._folder / digest[:2] / f"{digest[2:]}.jpg"

    def _files(self) -> Iterator[_File]:
        for path in self._folder.glob("*/*"):
            try:
                status = path.lstat()
            except OSError:
                continue
            yield _File(status.st_mtime, status.st_size, path)

    def _prune(self) -> int:
        files = sorted(self._files(), key=lambda file: file.modified)
        left, now = sum(file.size for file in files), time.time()
        for file in files:
            orphan = file.path.name.startswith(".") and now - file.modified > _ORPHAN_SECONDS
            if left > 0.9 * self._limit or orphan:
                file.path.unlink(missing_ok=True)
                left -= file.size
        return left


@dataclass(frozen=True, slots=True)
class _File:
    modified: float
    size: int
    path: Path


class OneAtATime:
    """Keeps threads from making the same thing twice at once: the second waits and finds what the first has made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Hold a key for the length of the block."""
        with self._lock:
            own, users = self._running.get(key, (threading.Lock(), 0))
            self._running[key] = own, users + 1
        try:
            with own:
                yield
        finally:
            with self._lock:
                own, users = self._running.pop(key)
                if users > 1:
                    self._running[key] = own, users - 1


def kept(key: str, make: Callable[[], bytes], memory: Memory, disk: Disk | None, running: OneAtATime) -> bytes:
    """What is kept under a key; made, and kept, if it is not."""
    found = memory.get(key)
    if found is not None:
        return found
    with running.of(key):
        found = memory.get(key) or (disk.get(key) if disk is not None else None)
        if found is None:
            found = make()
            if disk is not None:
                disk.put(key, found)
        memory.put(key, found)
    return found
