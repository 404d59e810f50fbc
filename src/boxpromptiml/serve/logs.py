"""Logs as JSON, one object a line, written by a thread of their own: a full pipe never holds up an answer."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

_REQUESTS = logging.getLogger("boxpromptiml.serve.requests")

_Line = tuple[float, int, str, dict[str, Any]]  # time, level, event, fields

_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
# Lines that may wait to be written; more are dropped, and counted.
_WAITING = 10_000
_PAUSE_SECONDS = 0.1


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, event, and whatever was given as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        return _text((record.created, record.levelno, record.getMessage(), fields))


def _text(line: _Line) -> str:
    created, level, event, fields = line
    moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return _encode({"time": moment, "level": logging.getLevelName(level).lower(), "event": event, **fields})


def log_request(level: int, fields: dict[str, Any]) -> None:
    """Write the line of a request: within `json_logs` without `logging`'s detours, which cost more than the line."""
    if not _REQUESTS.isEnabledFor(level):
        return
    writer = next((handler for handler in _REQUESTS.root.handlers if isinstance(handler, _Writer)), None)
    if writer is not None:
        writer.add((time.time(), level, "request", fields))
    else:
        _REQUESTS.log(level, "request", extra={"fields": fields})


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
        self._lines: deque[_Line | str] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Leave a line to be written soon."""
        self.add(self.format(record))

    def add(self, line: _Line | str) -> None:
        """As `emit`; what is no text yet is made so by the other thread, many at a time."""
        if len(self._lines) >= _WAITING:
            self._lost()
            return
        self._lines.append(line)

    def close(self) -> None:
        """Write what is left, for a second at most: a pipe that nobody reads shall not keep the process alive."""
        self._ended.set()
        self._thread.join(1.0)
        super().close()

    def _write(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(_PAUSE_SECONDS)
            waiting = [self._lines.popleft() for _ in range(len(self._lines))]
            if waiting:
                lines = [line if isinstance(line, str) else _text(line) for line in waiting]
                try:
                    self._stream.write("\n".join(lines) + "\n")
                    self._stream.flush()
                except (OSError, ValueError):  # nobody reads them any more
                    return
