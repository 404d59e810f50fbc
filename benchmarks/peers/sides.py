"""The two environments: a process in each that stays, and takes jobs in turn."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Side:
    """A worker of `benchmarks.peers.worker` under an interpreter."""

    def __init__(self, python: Path | str, threads: int) -> None:
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"HF_HUB_OFFLINE": "1"}
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.peers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        """Hand in a job and wait for its answer; ``error`` in it says why there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._complaints.seek(0)
            last = (self._complaints.read().strip().splitlines() or ["it said nothing"])[-1]
            return {"error": f"the process died: {last[:200]}"}
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()
