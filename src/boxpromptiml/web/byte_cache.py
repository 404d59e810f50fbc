"""Things by key, kept for as long as their bytes fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteCache(Generic[T]):
    """The least recently used things are forgotten first. May be used from many threads at once.

    Args:
        limit: bytes that are kept at most; what is larger on its own is never kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return self._bytes

    def get(self, key: Hashable) -> T | None:
        """What was kept under a key, if it still is."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, thing: T, nbytes: int) -> None:
        """Keep a thing of that many bytes."""
        if nbytes > self._limit:
            return
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]
            self._kept[key] = thing, nbytes
            self._bytes += nbytes
            while self._bytes > self._limit:
                self._bytes -= self._kept.popitem(last=False)[1][1]
