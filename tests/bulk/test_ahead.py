"""A thread reads on, within limits, and ends when nobody listens any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from boxpromptiml.bulk.ahead import read_ahead


def test_everything_in_order() -> None:
    assert list(read_ahead(range(100), 3)) == list(range(100))
    assert list(read_ahead([], 3)) == []


def test_reads_on_but_not_too_far(wait_until: Callable[..., Any]) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            read.append(i)
            yield i

    stream = read_ahead(items(), 3)
    assert next(stream) == 0
    wait_until(lambda: len(read) == 5)  # one taken, three waiting, one in hand
    time.sleep(0.05)
    assert len(read) == 5
    stream.close()
    wait_until(lambda: not any(thread.name == "read ahead" for thread in threading.enumerate()))


def test_errors_come_in_their_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    stream = read_ahead(items(), 3)
    assert next(stream) == 1
    with pytest.raises(OSError, match="gone"):
        next(stream)
