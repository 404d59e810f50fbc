"""One process of one turn: ``python -m`` this, with a job (a line of JSON) on standard input.

A fresh process has a clean peak of memory, the thread settings that its environment names, and nothing warm from the
task before. Before each thing that is timed it prints ``ready`` and waits for a line, so that several processes do the
same thing at the same time. At last it prints one line of JSON: a measurement, or ``{"error": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from boxpromptiml.bench.peak import measure_peak
from boxpromptiml.bench.runtimes import RUNTIMES
from boxpromptiml.bench.steps import STEPS, WHOLE, answer_photos
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import decode_photo, read_image_file
from boxpromptiml.machine import peak_memory
from boxpromptiml.model_config import ModelConfig

# Of calls in one measurement, whatever the time.
_LEAST, _MOST = 3, 1000

Wait = Callable[[], object]


def measure(job: dict[str, Any], wait: Wait = lambda: None) -> dict[str, Any]:
    """Do a job.

    Args:
        job: what `boxpromptiml.bench.cells.job_of` gives.
        wait: called before each thing that is timed.
    """
    kinds = {"cell": _network, "decoding": _decoding, "peak": _peak}
    return kinds[job["kind"]](job, wait)


def _network(job: dict[str, Any], wait: Wait) -> dict[str, Any]:
    """Measure a network.

    ``load_seconds`` until the runtime is open, ``first_ms``: its first call; ``network_ms`` and ``whole_ms``:
    milliseconds of each call, for the whole batch; ``steps_ms``: median milliseconds of each step of the latter;
    ``cores``: CPU seconds a second in the network's calls; memory of this process in MB before the runtime was opened
    (``baseline_mb``), at its peak with the network alone (``peak_mb``) and with all steps; ``device_mb``; ``input``:
    height and width of what the network was shown.
    """
    folder, photos = Path(job["model"]), [job["photo"]] * int(job["batch"])
    spec = ModelConfig.load(folder).preprocessing
    fed = spec.feed(decode_photo(read_image_file(job["photo"]), job["photo"], enough=spec.enough))
    pixels = np.stack([fed.pixels] * len(photos))
    baseline = peak_memory() / 1e6
    started = time.perf_counter()
    localizer = RUNTIMES[job["runtime"]].open(folder, int(job["threads"]), job["device"])
    loaded = time.perf_counter() - started
    localizer.probabilities(pixels)
    first = time.perf_counter() - started - loaded
    _calls(lambda: localizer.probabilities(pixels), float(job["warm_up"]))
    wait()
    cpu, clock = time.process_time(), time.perf_counter()
    network_ms = _calls(lambda: localizer.probabilities(pixels), float(job["seconds"]))
    cores = (time.process_time() - cpu) / (time.perf_counter() - clock)
    peak, device = peak_memory() / 1e6, localizer.session.device_memory()
    answer_photos(localizer, photos)
    wait()
    steps: list[dict[str, float]] = []
    _calls(lambda: steps.append(answer_photos(localizer, photos)[1]), float(job["seconds"]))
    return {
        "load_seconds": loaded,
        "first_ms": 1000 * first,
        "network_ms": network_ms,
        "whole_ms": [sum(spent[step] for step in WHOLE) for spent in steps],
        "steps_ms": {step: float(np.median([spent[step] for spent in steps])) for step in STEPS},
        "cores": cores,
        "baseline_mb": baseline,
        "peak_mb": peak,
        "whole_peak_mb": peak_memory() / 1e6,
        "device_mb": device,
        "input": list(fed.pixels.shape[1:]),
    }


def _decoding(job: dict[str, Any], wait: Wait) -> dict[str, Any]:
    """Milliseconds of reading and decoding a photo, each time anew."""
    spec = ModelConfig.load(job["model"]).preprocessing

    def decode() -> None:
        decode_photo(read_image_file(job["photo"]), job["photo"], enough=spec.enough)

    decode()
    wait()
    return {"decoding_ms": _calls(decode, float(job["seconds"]))}


def _peak(job: dict[str, Any], wait: Wait) -> dict[str, Any]:
    """Operations a second of a matrix product, by library."""
    wait()
    return {"rates": measure_peak(job["precision"], int(job["threads"]), job["device"], float(job["seconds"]))}


def _calls(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call, for so many seconds."""
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while len(spent) < _LEAST or (time.perf_counter() < end and len(spent) < _MOST):
        started = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - started))
    return spent


def main() -> None:
    """Do the job on standard input."""
    # What libraries print must not come between our lines.
    answers: IO[str] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(line: str) -> None:
        print(line, file=answers, flush=True)

    def wait() -> None:
        say("ready")
        if not sys.stdin.readline():
            sys.exit(1)  # whoever asked is gone

    try:
        answer = measure(json.loads(sys.stdin.readline()), wait)
    except BoxPromptError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "out of memory"}
    except RuntimeError as error:  # what torch raises on a full GPU, too
        answer = {"error": " ".join(str(error).split())[:200]}
    say(json.dumps(answer))


if __name__ == "__main__":
    main()
