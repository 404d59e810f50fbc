"""Logs as JSON, one object a line, written by a thread of their own: a full pipe never holds up an answer."""

from __future__ import annotations

import json
import logging
import queue
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any

REQUESTS = logging.getLogger("boxpromptiml.serve.requests")

# Lines that may wait to be written; more are dropped, and counted.
_WAITING = 10_000


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
    handler = _Dropping(queue.Queue(_WAITING), lost)
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(JsonFormatter())
    listener = QueueListener(handler.queue, writer)
    root = logging.getLogger()
    before, root.handlers = root.handlers, [handler]
    old_level = root.level
    root.setLevel(level.upper())
    listener.start()
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(old_level)
        listener.stop()


class _Dropping(QueueHandler):
    def __init__(self, waiting: queue.Queue[logging.LogRecord], lost: Callable[[], None]) -> None:
        super().__init__(waiting)
        self._lost = lost

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Nothing leaves the process: the writer's formatter may have the record as it is, exception and all.
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost()
