"""The local engine: one process a core, each with its own network, so that no core waits for another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from boxpromptiml.bulk.plan import Shard
from boxpromptiml.bulk.shards import Job, ShardWorker
from boxpromptiml.bulk.table import Counts
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import try_lock

# A new interpreter a worker: a copy of this one would have its threads' locks and none of its threads.
_CONTEXT = multiprocessing.get_context("spawn")
_DEATHS = 3  # deaths in a row that no image is to blame for, after which the run ends
_DIED = "the process that looked at it died, twice (a crash of a decoder, or not enough memory)"


class WorkerError(BoxPromptError):
    """Workers that keep dying."""


@dataclass
class _Task:
    """A shard on its way through the workers."""

    shard: Shard
    done: int = 0  # images, in the present attempt
    deaths: int = 0  # that no image is to blame for
    place: int | None = None  # of the image that a wary worker is at
    suspects: Counter[int] = field(default_factory=Counter)

    @property
    def skipped(self) -> dict[int, str]:
        """Images not to be touched again."""
        return {place: _DIED for place, deaths in self.suspects.items() if deaths > 1}


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: _Task | None = None


def run_in_processes(job: Job, shards: Sequence[Shard], cores: int) -> Iterator[tuple[int, Counts | None]]:
    """Localize shards on this machine.

    A worker that dies is replaced and its shard done again, image by image; an image at which another one dies becomes
    a row with that error.

    Args:
        job: the run's.
        shards: what to do.
        cores: to use; where there are fewer shards, each gets several.

    Yields:
        ``(images, None)`` whenever some are done, and ``(0, counts)`` for every part that was written.

    Raises:
        BoxPromptError: what ended the first worker that gave up.
        WorkerError: workers die whatever they do.
    """
    tasks = deque(_Task(shard) for shard in shards)
    number = min(cores, len(tasks))
    threads = [cores // number + (i < cores % number) for i in range(number)] if number else []
    workers: list[_Worker] = []
    handle, lock = tempfile.mkstemp(prefix="boxpromptiml-")
    os.close(handle)
    try:
        for count in threads:
            workers.append(_start(job, count, lock))
        for worker in workers:
            _give(worker, tasks)
        while busy := [worker for worker in workers if worker.task is not None]:
            for connection in wait([worker.connection for worker in busy]):
                at = next(i for i, worker in enumerate(workers) if worker.connection is connection)
                worker = workers[at]
                task = worker.task
                assert task is not None
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    yield -task.done, None
                    _blame(task)
                    tasks.appendleft(task)
                    worker.process.join()
                    workers[at] = worker = _start(job, threads[at], lock)
                    _give(worker, tasks)
                    continue
                if kind == "error":
                    raise value
                if kind == "at":
                    task.place = value
                elif kind == "images":
                    task.done += value
                    yield value, None
                else:
                    yield 0, value
                    worker.task = None
                    _give(worker, tasks)
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()
        Path(lock).unlink()


def _start(job: Job, threads: int, lock: str) -> _Worker:
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_work, args=(theirs, job, threads, lock), daemon=True)
    process.start()
    theirs.close()  # so that its end, however it comes, is the end of the connection
    return _Worker(process, ours)


def _give(worker: _Worker, tasks: deque[_Task]) -> None:
    if tasks:
        worker.task = tasks.popleft()
        worker.task.done, worker.task.place = 0, None
        with suppress(OSError):  # it is dead: waiting for its answer will tell
            worker.connection.send(
                (worker.task.shard, worker.task.deaths > 0 or bool(worker.task.suspects), worker.task.skipped)
            )


def _blame(task: _Task) -> None:
    if task.place is not None:
        task.suspects[task.place] += 1
        return
    task.deaths += 1
    if task.deaths > _DEATHS:
        raise WorkerError(
            f"worker processes died {task.deaths} times in a row (killed, or not enough memory): use fewer --threads; "
            "what is done is kept, run the same command again to go on"
        )


class _MachineLock:
    """A lock for all threads of all workers, given back by the system when its holder dies."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = threading.local()

    def __enter__(self) -> None:
        self._held.stream = open(self._path, "ab")
        try_lock(self._held.stream, wait=True)

    def __exit__(self, *_: object) -> None:
        self._held.stream.close()


def _work(connection: Connection, job: Job, threads: int, lock: str) -> None:
    """A worker's life: shards in, counts out, until there are none or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(kind: str, value: Any) -> None:
        connection.send((kind, value))

    try:
        worker = ShardWorker(job, threads=threads, large=_MachineLock(lock))
        while True:
            shard, wary, skipped = connection.recv()
            if wary:
                counts = worker.run_warily(
                    shard, skipped, lambda place: tell("at", place), lambda images: tell("images", images)
                )
            else:
                counts = worker.run(shard, lambda images: tell("images", images))
            tell("done", counts)
    except EOFError:
        pass
    except BoxPromptError as error:
        tell("error", error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
