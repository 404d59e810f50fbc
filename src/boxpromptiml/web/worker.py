"""Threads that do what is asked of one teacher: what a person waits for first, the rest when nobody does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

_log = logging.getLogger("boxpromptiml.web")


class Urgency(IntEnum):
    """How soon something is done."""

    NOW = 0
    SOON = 1
    LATER = 2


class SupersededError(Exception):
    """Nobody wants the answer any more: something newer was asked for."""


@dataclass(eq=False)
class Task:
    """Something to do.

    Attributes:
        work: does it; looks at `obsolete` where it can stop halfway.
        urgency: see `Worker`.
        key: a newer task of the same key makes it pointless; None for a task that always counts.
        done: the result.
        obsolete: whether something newer was asked for.
    """

    work: Callable[[Task], Any]
    urgency: Urgency
    key: Hashable | None
    done: Future[Any] = field(default_factory=Future)
    obsolete: bool = False
    _ending: threading.Lock = field(default_factory=threading.Lock)

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Hand out the result, unless somebody has ended the waiting for it before."""
        with self._ending:
            if self.done.done():
                return
            if error is not None:
                self.done.set_exception(error)
            else:
                self.done.set_result(result)

    def check(self) -> None:
        """Raise SupersededError if nobody wants the result any more."""
        if self.obsolete:
            raise SupersededError


class Worker:
    """Does tasks by urgency: of equal ones the newest first where a person waits, the oldest first otherwise.

    Args:
        name: of the threads.
        threads: with more than one, the first does nothing but what is wanted `NOW`: nothing long ever blocks it.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._waiting: list[Task] = []
        self._running: list[Task] = []
        self._changed = threading.Condition()
        self._closed = False
        for number in range(threads):
            reach = Urgency.NOW if number == 0 and threads > 1 else Urgency.LATER
            threading.Thread(target=self._run, args=(reach,), name=f"{name}-{number}", daemon=True).start()

    def ask(
        self, work: Callable[[Task], Any], urgency: Urgency, key: Hashable | None = None, *, beside: bool = False
    ) -> Future[Any]:
        """Have something done; older tasks of the same key are dropped (unless `beside`), or told to stop."""
        task = Task(work, urgency, key)
        with self._changed:
            if self._closed:
                task.done.set_exception(SupersededError())
                return task.done
            if key is not None and not beside:
                self._supersede(key)
            self._waiting.append(task)
            self._changed.notify_all()
        return task.done

    def drop(self, key: Hashable) -> None:
        """Drop what waits under a key, and tell what runs under it that it is obsolete."""
        with self._changed:
            self._supersede(key)

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        with self._changed:
            return bool(self._running)

    def close(self) -> None:
        """Drop what waits. What runs comes to its end in the background; nobody waits for it any more."""
        with self._changed:
            self._closed = True
            for task in (*self._waiting, *self._running):
                task.obsolete = True
                task.end(error=SupersededError())
            self._waiting.clear()
            self._changed.notify_all()

    def _supersede(self, key: Hashable) -> None:
        for task in self._running:
            task.obsolete = task.obsolete or task.key == key
        for task in [task for task in self._waiting if task.key == key]:
            self._waiting.remove(task)
            task.done.set_exception(SupersededError())

    def _run(self, reach: Urgency) -> None:
        while True:
            with self._changed:
                while (task := self._next(reach)) is None:
                    if self._closed:
                        return
                    self._changed.wait()
                self._waiting.remove(task)
                self._running.append(task)
            try:
                task.end(task.work(task))
            except SupersededError as error:
                task.end(error=error)
            except BaseException as error:
                # Whatever one task breaks, the next one gets its thread.
                _log.debug("a task failed", exc_info=error)
                task.end(error=error)
            finally:
                with self._changed:
                    self._running.remove(task)

    def _next(self, reach: Urgency) -> Task | None:
        possible = [task for task in self._waiting if task.urgency <= reach]
        if not possible:
            return None
        urgency = min(task.urgency for task in possible)
        same = [task for task in possible if task.urgency == urgency]
        return same[-1] if urgency == Urgency.NOW else same[0]
