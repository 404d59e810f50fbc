"""Shards and the files in them, read in any order from a local disk, through a local copy, or by ranges of bytes."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from boxpromptiml import storage
from boxpromptiml.errors import ImageError
from boxpromptiml.shards.holding import ShardHolder

_OPEN_FILES = 64  # of each process


@dataclass(frozen=True, slots=True)
class Shard:
    """One archive.

    Attributes:
        location: path or URL.
        size: bytes.
        sha256: of them.
        holder: keeps local copies of archives that lie elsewhere; None: their images are asked for one by one.
    """

    location: str
    size: int
    sha256: str
    holder: ShardHolder | None = field(default=None, compare=False)

    @property
    def remote(self) -> bool:
        """Whether it lies behind a URL."""
        return storage.is_url(self.location)

    def read(self, start: int, size: int) -> bytes:
        """Some of its bytes; fewer where the archive is cut short.

        Raises:
            StorageError: it cannot be reached or read.
        """
        if self.remote:
            held = None if self.holder is None else self.holder.hold(self.location, self.size, self.sha256)
            if held is None:
                return storage.read_bytes(self.location, start, start + size)
            return os.pread(_FILES.handle(str(held)), size, start)
        path = str(storage.local_path(self.location))
        try:
            return os.pread(_FILES.handle(path), size, start)
        except OSError as error:
            raise storage.StorageError(f"{self.location}: cannot be read: {error.strerror}") from error


class _OpenFiles:
    """The files that were read last stay open."""

    def __init__(self) -> None:
        self._handles: OrderedDict[str, int] = OrderedDict()

    def handle(self, path: str) -> int:
        """Descriptor of an open file, for `os.pread`, which forked processes may share."""
        found = self._handles.get(path)
        if found is None:
            found = self._handles[path] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if len(self._handles) > _OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
        else:
            self._handles.move_to_end(path)
        return found


_FILES = _OpenFiles()


@dataclass(frozen=True, slots=True)
class Part:
    """One file in a shard.

    Attributes:
        shard: the archive.
        name: of the member.
        start, size: its bytes.
        crc32: of them.
    """

    shard: Shard
    name: str
    start: int
    size: int
    crc32: int

    def __str__(self) -> str:
        return f"{self.shard.location}#{self.name}"

    def read(self) -> bytes:
        """The file.

        Raises:
            ImageError: the archive cannot be read, or is not what its index says.
        """
        try:
            data = self.shard.read(self.start, self.size)
        except storage.StorageError as error:
            raise ImageError(str(self), str(error).removeprefix(f"{self.shard.location}: ")) from error
        if len(data) != self.size or zlib.crc32(data) != self.crc32:
            what = "cut short" if len(data) != self.size else "damaged (checksum)"
            raise ImageError(str(self), f"{what}; write the shard anew with  boxpromptiml shard")
        return data

    def singly(self) -> Part:
        """The same, without fetching the whole shard for it."""
        return replace(self, shard=replace(self.shard, holder=None))
