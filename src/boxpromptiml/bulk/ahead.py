"""Letting a thread read on while the others are at work on what it has read."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], count: int) -> Generator[Item, None, None]:
    """Yield from `items`, which a thread of its own advances, at most `count` items ahead.

    What `items` raises is raised here, in its place. Closing this ends the thread after the item that it is at.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(maxsize=count)
    closed = threading.Event()

    def put(item: Item | _End) -> None:
        while not closed.is_set():
            with suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return

    def advance() -> None:
        try:
            for item in items:
                put(item)
                if closed.is_set():
                    return
            put(_End(None))
        except BaseException as error:  # whatever it is belongs to the thread that asked
            put(_End(error))

    threading.Thread(target=advance, name="read ahead", daemon=True).start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error
