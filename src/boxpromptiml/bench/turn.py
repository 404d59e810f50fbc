"""One turn of one task: its processes started, kept in step, and their answers put together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import IO, Any

from boxpromptiml.bench.cells import Effort, Task, job_of

# What libraries that compute ask for their number of threads.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_COMMAND = ("-m", "boxpromptiml.bench.worker")


def run_turn(task: Task, effort: Effort, photo: str) -> dict[str, Any]:
    """Measure a task once, in as many new processes as it wants.

    Returns:
        ``answers``: what `boxpromptiml.bench.worker` says, one a process; or ``error``.
    """
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(task.threads))
    job = json.dumps(job_of(task, effort, photo))
    with tempfile.TemporaryFile("w+") as complaints:
        workers = [_started(environment, complaints) for _ in range(task.processes)]
        try:
            for worker in workers:
                _send(worker, job)
            while True:
                lines = [_line(worker) for worker in workers]
                if any(line != "ready" for line in lines):
                    return _answer(workers, lines, complaints)
                for worker in workers:
                    _send(worker, "go")
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()


def _started(environment: dict[str, str], complaints: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *_COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        env=environment,
    )


def _send(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None
    try:
        worker.stdin.write(f"{line}\n")
        worker.stdin.flush()
    except BrokenPipeError:
        pass  # it has died, which its missing answer will tell


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def _answer(workers: list[subprocess.Popen[str]], lines: list[str], complaints: IO[str]) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []
    for worker, line in zip(workers, lines, strict=True):
        if line == "ready":  # beside one that has failed already
            continue
        try:
            answers.append(json.loads(line))
        except ValueError:
            code = worker.wait()
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or [""])[-1][:200]
            reason = f"signal {-code}, perhaps for want of memory" if code < 0 else last
            return {"error": f"the measuring process died ({reason})"}
    error = next((answer["error"] for answer in answers if "error" in answer), None)
    return {"answers": answers} if error is None else {"error": error}
