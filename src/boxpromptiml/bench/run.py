"""Measure models: every task in fresh processes, all tasks in turn, round after round."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxpromptiml.bench.cells import Cell, Decoding, Effort, Peak, Task, turns
from boxpromptiml.bench.machine_facts import load_average, machine_facts
from boxpromptiml.bench.peers import load_peers
from boxpromptiml.bench.photo import photo_file, read_photo
from boxpromptiml.bench.result import CellResult, DecodingResult, ModelFacts, PeakResult, SpeedResult
from boxpromptiml.bench.runtimes import RUNTIMES, require_gpu
from boxpromptiml.bench.turn import run_turn
from boxpromptiml.bench.turn_store import TurnStore
from boxpromptiml.errors import BoxPromptError, ModelError
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import progress_bar


def measure_speed(
    models: Sequence[str | Path],
    *,
    runtimes: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    batches: Sequence[int] = (1,),
    processes: Sequence[int] = (1,),
    device: str = "cpu",
    effort: Effort | None = None,
    photo: str | Path | None = None,
    peak: bool = True,
    decoding: bool = False,
    peers: bool = False,
    state: str | Path | None = None,
) -> SpeedResult:
    """Measure how fast models are and what they cost, beside the machine's peak.

    Args:
        models: model folders.
        runtimes: names of `RUNTIMES`; None: all that can run these models on that device here.
        threads: thread counts of one process; None: one, and all usable cores.
        batches: images per call.
        processes: that do the same side by side.
        device: cpu or cuda.
        effort: how long; None: the default.
        photo: an image file to look at; None: a made JPEG.
        peak: whether to measure the machine's peak.
        decoding: whether to measure the bound that reading and decoding set as well.
        peers: whether to add published figures of other methods.
        state: file that keeps finished measurements, so that an interrupted run goes on; None: nothing is kept.

    Raises:
        ModelError: no model there, or without the file that a runtime needs.
        BoxPromptError: an unknown runtime or device, cuda without a GPU, a count below 1, a model given twice, a
            photo that cannot be read.
        MissingExtraError: a runtime's packages are missing.
    """
    effort = effort or Effort()
    folders = [str(model) for model in models]
    names = _runtimes(folders, runtimes, device)
    if device == "cuda":
        require_gpu()
    counts = list(dict.fromkeys(threads if threads is not None else (1, usable_cores())))
    sizes, several = list(dict.fromkeys(batches)), list(dict.fromkeys(processes))
    _check_numbers(folders, {"threads": counts, "batch": sizes, "processes": several})
    cells = [
        Cell(m, r, t, b, device, p) for m in folders for r in names for p in several for t in counts for b in sizes
    ]
    levels = dict.fromkeys(RUNTIMES[name].precision for name in names)
    peaks = [Peak(level, t, p, device) for level in levels for p in several for t in counts if peak]
    bounds = [Decoding(folder, p) for folder in folders for p in several] if decoding else []
    facts = [ModelFacts.of(folder, names) for folder in folders]
    data, described = read_photo(photo)
    versions = {package: v for name in names for package, v in RUNTIMES[name].versions().items()}
    machine = machine_facts(versions)
    tasks: list[Task] = [*peaks, *bounds, *cells]
    identity = {
        "models": {fact.model: fact.digests for fact in facts},
        "tasks": [str(task) for task in tasks],
        "effort": str(effort),
        "photo": hashlib.sha256(data).hexdigest(),
        "machine": machine,
    }
    store = TurnStore(Path(state) if state is not None else None, identity)
    before, started = load_average(), time.monotonic()
    with photo_file(data, str(described["name"])) as path:
        answers = _measure(tasks, effort, path, store)
    return SpeedResult(
        facts,
        [CellResult.of(cell, answers[cell]) for cell in cells],
        [PeakResult.of(peak, answers[peak]) for peak in peaks],
        [DecodingResult.of(bound, answers[bound]) for bound in bounds],
        effort,
        described,
        machine | {"load": [before, load_average()]},
        load_peers() if peers else None,
        time.monotonic() - started,
    )


def _measure(tasks: Sequence[Task], effort: Effort, photo: Path, store: TurnStore) -> dict[Task, list[dict[str, Any]]]:
    answers: dict[Task, list[dict[str, Any]]] = {task: [] for task in tasks}
    order = turns(tasks, effort.rounds)
    with progress_bar() as bar:
        line = bar.add_task("bench", total=len(order))
        for number, task in order:
            key = f"{number}: {task}"
            bar.update(line, description=str(task))
            answer = store.get(key)
            # What failed once would fail again.
            if answer is None and any("error" in earlier for earlier in answers[task]):
                answer = answers[task][-1]
            if answer is None:
                answer = run_turn(task, effort, str(photo))
                store.put(key, answer)
            answers[task].append(answer)
            bar.advance(line)
    return answers


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


def _check_numbers(folders: Sequence[str], given: dict[str, list[int]]) -> None:
    if not folders:
        raise ModelError("no model given")
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise BoxPromptError(f"{twice}: given twice; give each model once")
    for name, numbers in given.items():
        if not numbers or min(numbers) < 1:
            raise BoxPromptError(f"{name} must be numbers of at least 1, got {', '.join(map(str, numbers)) or 'none'}")
