"""Measure models: every cell in fresh processes, all cells in turn, round after round."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from boxpromptiml.errors import BoxPromptError, ModelError
from boxpromptiml.evaluation.efficiency.cells import Cell, Effort, turns
from boxpromptiml.evaluation.efficiency.machine_facts import load_average, machine_facts
from boxpromptiml.evaluation.efficiency.peers import load_peers
from boxpromptiml.evaluation.efficiency.result import CellResult, EfficiencyResult, ModelFacts
from boxpromptiml.evaluation.efficiency.runtimes import RUNTIMES, require_gpu
from boxpromptiml.evaluation.efficiency.turn_store import TurnStore
from boxpromptiml.images import decode_picture, read_image_file
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import progress_bar

# What libraries that compute ask for their number of threads.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_MADE_SIZE = (1600, 1200)


def measure_efficiency(
    models: Sequence[str | Path],
    *,
    runtimes: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    batches: Sequence[int] = (1, 8),
    device: str = "cpu",
    effort: Effort | None = None,
    image: str | Path | None = None,
    peers: bool = True,
    state: str | Path | None = None,
) -> EfficiencyResult:
    """Measure what models cost.

    Args:
        models: model folders.
        runtimes: names of `RUNTIMES`; None: all that can run these models on that device here.
        threads: thread counts; None: one, and all usable cores.
        batches: images per call.
        device: cpu or cuda.
        effort: how long; None: the default.
        image: the file that is decoded end to end; None: a made JPEG of 1600 x 1200 pixels.
        peers: whether published figures of other methods are added.
        state: file that keeps finished measurements, so that an interrupted run goes on; None: nothing is kept.

    Raises:
        ModelError: no model there, or without the file that a runtime needs.
        BoxPromptError: an unknown runtime or device, cuda without a GPU, a count below 1, a model given twice, an
            image that cannot be read.
        MissingExtraError: a runtime's packages are missing.
    """
    effort = effort or Effort()
    folders = [str(model) for model in models]
    names = _runtimes(folders, runtimes, device)
    if device == "cuda":
        require_gpu()
    counts = list(dict.fromkeys(threads if threads is not None else (1, usable_cores())))
    sizes = list(dict.fromkeys(batches))
    _check_numbers(folders, counts, sizes)
    cells = [Cell(m, r, t, b, device) for m in folders for r in names for t in counts for b in sizes]
    facts = [ModelFacts.of(folder, names) for folder in folders]
    data, described = _image(image)
    versions = {package: v for name in names for package, v in RUNTIMES[name].versions().items()}
    machine = machine_facts(versions)
    identity = {
        "models": {fact.model: fact.digests for fact in facts},
        "cells": [str(cell) for cell in cells],
        "effort": str(effort),
        "image": hashlib.sha256(data).hexdigest(),
        "machine": machine,
    }
    store = TurnStore(Path(state) if state is not None else None, identity)
    before, started = load_average(), time.monotonic()
    answers = _measure(cells, effort, data, Path(str(described["name"])).suffix, store)
    return EfficiencyResult(
        facts,
        [CellResult.of(cell, answers[cell]) for cell in cells],
        effort,
        described,
        machine | {"load": [before, load_average()]},
        load_peers() if peers else None,
        time.monotonic() - started,
    )


def _measure(
    cells: Sequence[Cell], effort: Effort, data: bytes, suffix: str, store: TurnStore
) -> dict[Cell, list[dict[str, Any]]]:
    answers: dict[Cell, list[dict[str, Any]]] = {cell: [] for cell in cells}
    order = turns(cells, effort.rounds)
    with progress_bar() as bar, _image_file(data, suffix) as path:
        task = bar.add_task("efficiency", total=len(order))
        for number, cell in order:
            key = f"{number}: {cell}"
            bar.update(task, description=f"{cell.runtime}, {cell.threads} threads, batch {cell.batch}")
            answer = store.get(key)
            # A cell that failed once would fail again.
            if answer is None and any("error" in earlier for earlier in answers[cell]):
                answer = answers[cell][-1]
            if answer is None:
                answer = _turn(cell, effort, path)
                store.put(key, answer)
            answers[cell].append(answer)
            bar.advance(task)
    return answers


def _turn(cell: Cell, effort: Effort, image: Path) -> dict[str, Any]:
    """Measure a cell once, in a process of its own."""
    job = {
        "model": cell.model,
        "runtime": cell.runtime,
        "threads": cell.threads,
        "batch": cell.batch,
        "device": cell.device,
        "seconds": effort.seconds,
        "warm_up": effort.warm_up,
        "image": str(image),
    }
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(cell.threads))
    done = subprocess.run(
        [sys.executable, "-m", "boxpromptiml.evaluation.efficiency.worker"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=environment,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [""])[-1][:200]
        reason = f"signal {-done.returncode}, perhaps for want of memory" if done.returncode < 0 else last
        return {"error": f"the measuring process died ({reason})"}
    return answer


def _runtimes(folders: Sequence[str], wanted: Sequence[str] | None, device: str) -> list[str]:
    unknown = [name for name in wanted or () if name not in RUNTIMES]
    if unknown or (wanted is not None and not wanted):
        raise BoxPromptError(f"unknown runtime {', '.join(unknown) or '(none)'}; there are {', '.join(RUNTIMES)}")
    if not any(device in runtime.devices for runtime in RUNTIMES.values()):
        known = dict.fromkeys(name for runtime in RUNTIMES.values() for name in runtime.devices)
        raise BoxPromptError(f"unknown device {device}; there are {', '.join(known)}")
    usable: list[str] = []
    refusal: BoxPromptError | None = None
    for name in dict.fromkeys(wanted if wanted is not None else [n for n, r in RUNTIMES.items() if not r.asked]):
        try:
            for folder in folders:
                RUNTIMES[name].check(Path(folder), device)
        except BoxPromptError as error:
            if wanted is not None:
                raise
            refusal = refusal or error
        else:
            usable.append(name)
    if not usable:
        raise refusal or ModelError("no model given")
    return usable


def _check_numbers(folders: Sequence[str], threads: Sequence[int], batches: Sequence[int]) -> None:
    if not folders:
        raise ModelError("no model given")
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise BoxPromptError(f"{twice}: given twice; give each model once")
    for name, numbers in (("threads", threads), ("batch", batches)):
        if not numbers or min(numbers) < 1:
            raise BoxPromptError(f"{name} must be numbers of at least 1, got {', '.join(map(str, numbers)) or 'none'}")


def _image(path: str | Path | None) -> tuple[bytes, dict[str, Any]]:
    data = read_image_file(path) if path is not None else _made_jpeg()
    picture = decode_picture(data, path or "<made>")
    name = str(path) if path is not None else "made.jpg"
    return data, {"name": name, "width": picture.width, "height": picture.height, "bytes": len(data)}


def _made_jpeg() -> bytes:
    """A JPEG with smooth parts, edges and noise, of about the bytes a pixel that photographs have; always the same."""
    rng = np.random.default_rng(0)
    width, height = _MADE_SIZE
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    blocks = rng.integers(-40, 41, (height // 20, width // 20, 1)).repeat(20, 0).repeat(20, 1)
    pixels = (smooth + blocks + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@contextmanager
def _image_file(data: bytes, suffix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"image{suffix}")
        path.write_bytes(data)
        yield path
