"""Several processes behind one port: for machines with more cores than one interpreter can keep busy.

Each has the model and all limits for itself; the system hands connections to whichever is free. One that dies is
replaced. Not uvicorn's own supervisor: it cannot say why a worker could not start, and would start it again for ever.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from prometheus_client.multiprocess import mark_process_dead

from boxpromptiml.errors import BoxPromptError, ModelError
from boxpromptiml.runtime import Localizer
from boxpromptiml.serve.logs import json_logs
from boxpromptiml.serve.metrics import SHARED_VARIABLE
from boxpromptiml.serve.settings import ServeSettings

_log = logging.getLogger("boxpromptiml.serve")
_spawn = multiprocessing.get_context("spawn")

_GRACE_SECONDS = 15.0
# Whatever kills workers as soon as they start shall not keep the machine busy.
_RESTART_SECONDS = 1.0


@dataclass(frozen=True)
class Task:
    """What a worker is to do; it is sent to another process."""

    settings: ServeSettings
    load: Callable[[], Localizer]
    listening: socket.socket
    log_level: str


@dataclass
class _Worker:
    process: SpawnProcess
    said: Connection
    begun: float = field(default_factory=time.monotonic)


def run_workers(task: Task, count: int, *, started: Callable[[], None] = lambda: None) -> None:
    """Serve with `count` processes until SIGTERM or SIGINT.

    Args:
        task: what each of them does.
        count: of processes.
        started: called once they are on their way; connections wait until one of them is there.

    Raises:
        BoxPromptError: the model cannot be loaded.
    """
    told = threading.Event()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)

    workers: list[_Worker] = []

    def stop(*_: object) -> None:
        if told.is_set():  # a second signal: they need not drain
            _terminate(workers)
        told.set()
        os.write(woken, b"x")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as folder, json_logs(task.log_level):
            os.environ[SHARED_VARIABLE] = folder
            workers += [_start(task) for _ in range(count)]
            started()
            while not told.is_set():
                wait([wake, *(worker.process.sentinel for worker in workers)])
                for place, worker in enumerate(workers):
                    if not told.is_set() and worker.process.exitcode is not None:
                        workers[place] = _replaced(worker, task, told)
            _end(workers, task.settings.timeout + task.settings.drain + _GRACE_SECONDS)
    finally:
        for worker in workers:
            worker.process.kill()
        os.environ.pop(SHARED_VARIABLE, None)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(woken)


def _start(task: Task) -> _Worker:
    said, says = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=_work, args=(task, says), daemon=True)
    process.start()
    says.close()
    return _Worker(process, said)


def _replaced(worker: _Worker, task: Task, told: threading.Event) -> _Worker:
    """A new worker for one that has ended.

    Raises:
        BoxPromptError: it said why it could not do its work; another one could not either.
    """
    pid, code = worker.process.pid, worker.process.exitcode
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
    if worker.said.poll():
        try:
            raise ModelError(worker.said.recv())
        except EOFError:
            pass
    worker.said.close()
    _log.error("a worker ended", extra={"fields": {"pid": pid, "exit_code": code}})
    if time.monotonic() - worker.begun < _RESTART_SECONDS:
        told.wait(_RESTART_SECONDS)
    return _start(task)


def _end(workers: list[_Worker], seconds: float) -> None:
    """Have all workers finish what they do, for so long at most."""
    _terminate(workers)
    end = time.monotonic() + seconds
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))


def _terminate(workers: list[_Worker]) -> None:
    for worker in workers:
        if worker.process.exitcode is None:
            worker.process.terminate()


def _work(task: Task, says: Connection) -> None:
    """What a worker process does."""
    from boxpromptiml.serve.running import run

    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C of a terminal goes to its whole group: twice told to stop, a worker would not drain
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run(task.settings, task.load, task.listening, log_level=task.log_level)
    except BoxPromptError as error:
        says.send(str(error))
        sys.exit(2)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
