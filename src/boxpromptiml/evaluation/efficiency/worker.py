"""One turn of one cell, in a process of its own: ``python -m`` this, with a job (JSON) on standard input.

A fresh process has a clean peak of memory, the thread settings that its environment names, and nothing warm from the
cell before. Prints one line of JSON: a measurement, or ``{"error": ...}``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.evaluation.efficiency.runtimes import RUNTIMES
from boxpromptiml.images import decode_photo
from boxpromptiml.machine import peak_memory
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.preprocessing import resize_map

# Of calls in one measurement, whatever the time.
_LEAST, _MOST = 3, 1000


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measure a cell once.

    Args:
        job: ``model``, ``runtime``, ``threads``, ``batch``, ``device``, ``seconds``, ``warm_up``, and ``image``: the
            path of an image file, decoded anew for every image of every batch.

    Returns:
        ``load_seconds``; ``network_ms`` and ``end_to_end_ms``: milliseconds of each call, for the whole batch;
        ``cores``: CPU seconds a second in the network's calls; memory of this process in MB before the runtime was
        opened (``baseline_mb``), at its peak with the network alone (``peak_mb``) and end to end; ``device_mb``.
    """
    folder, batch = Path(job["model"]), int(job["batch"])
    spec = ModelConfig.load(folder).preprocessing
    data = Path(job["image"]).read_bytes()
    baseline = peak_memory() / 1e6
    started = time.perf_counter()
    network = RUNTIMES[job["runtime"]].open(folder, int(job["threads"]), job["device"])
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, spec.height, spec.width), dtype=np.uint8)
    network(pixels)
    loaded = time.perf_counter() - started
    _calls(lambda: network(pixels), float(job["warm_up"]))
    cpu, clock = time.process_time(), time.perf_counter()
    network_ms = _calls(lambda: network(pixels), float(job["seconds"]))
    cores = (time.process_time() - cpu) / (time.perf_counter() - clock)
    peak, device = peak_memory() / 1e6, network.device_memory()

    def end_to_end() -> None:
        photos = [decode_photo(data, job["image"], enough=spec.enough) for _ in range(batch)]
        for photo, values in zip(photos, network(spec.batch(photos)), strict=True):
            resize_map(values, photo.height, photo.width)

    end_to_end()
    return {
        "load_seconds": loaded,
        "network_ms": network_ms,
        "end_to_end_ms": _calls(end_to_end, float(job["seconds"])),
        "cores": cores,
        "baseline_mb": baseline,
        "peak_mb": peak,
        "end_to_end_peak_mb": peak_memory() / 1e6,
        "device_mb": device,
    }


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
    try:
        answer = measure(json.load(sys.stdin))
    except BoxPromptError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "out of memory"}
    except RuntimeError as error:  # what torch raises on a full GPU, too
        answer = {"error": " ".join(str(error).split())[:200]}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
