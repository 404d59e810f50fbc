"""Logs as JSON, one object a line, written by a thread of their own: a full pipe never holds up an answer."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

REQUESTS = logging.getLogger("boxpromptiml.serve.requests")

# Lines that may wait to be written; more are dropped, and counted.
_WAITING = 10_000
_PAUSE_SECONDS = 0.1


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, event, and whatever was given as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


@contextmanager
def json_logs(level: str = "info", lost: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Write all logs to standard error as JSON for as long as the block runs.

    Args:
        level: the least that is written: debug, info, warning or error.
        lost: called for each line that is dropped because nobody reads them fast enough.
    """
    handler = _Writer(sys.stderr, lost)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    before, root.handlers = root.handlers, [handler]
    old_level = root.level
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(old_level)
        handler.close()


class _Writer(logging.Handler):
    """Writes many lines at a time: waking a thread for each, as `logging.handlers.QueueListener` does, costs more.

    Args:
        stream: where to.
        lost: called for each line that is dropped.
    """

    def __init__(self, stream: TextIO, lost: Callable[[], None]) -> None:
        super().__init__()
        self._stream = stream
        self._lost = lost
        self._lines: deque[str] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Leave a line to be written soon."""
        if len(self._lines) >= _WAITING:
            self._lost()
            return
        self._lines.append(self.format(record))

    def close(self) -> None:
        """Write what is left, for a second at most: a pipe that nobody reads shall not keep the process alive."""
        self._ended.set()
        self._thread.join(1.0)
        super().close()

    def _write(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(_PAUSE_SECONDS)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                try:
                    self._stream.write("\n".join(lines) + "\n")
                    self._stream.flush()
                except (OSError, ValueError):  # nobody reads them any more
                    return
