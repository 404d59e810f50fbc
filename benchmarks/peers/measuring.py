"""One run: both sides built, then all contestants in turn, round after round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.sides import Side
from boxpromptiml.bench import best_peak
from boxpromptiml.bench.cells import turns
from boxpromptiml.progress import progress_bar

STEPS = ("prepare", "network", "finish")


@dataclass(frozen=True)
class Entry:
    """A contestant of the table.

    Attributes:
        name: of the network.
        way: runtime or precision.
        ours: whether it is a student as the package runs it.
        job: what builds it.
        side: index of its environment.
    """

    name: str
    way: str
    ours: bool
    job: dict[str, Any]
    side: int

    @property
    def id(self) -> str:
        """Of its messages."""
        return f"{self.name}, {self.way}"


def measure(
    entries: Sequence[Entry],
    pythons: Sequence[Path | str],
    photos: Sequence[Path],
    *,
    threads: int,
    rounds: int,
    calls: int,
    seconds: float,
    clock: str = "wall",
) -> dict[str, Any]:
    """All figures, as JSON values: per entry facts, medians of the rounds by photo and step, and their spread.

    Args:
        entries: who takes part.
        pythons: the interpreter of each side.
        photos: what is looked at.
        threads: of everything.
        rounds: turns of every entry.
        calls: of a peer in a round, at least.
        seconds: of a student and photo in a round, at least.
        clock: wall or processor, see `benchmarks.peers.contestant.timed`.
    """
    with _sides(pythons, threads) as sides, progress_bar() as bar:
        order = turns(entries, rounds)
        line = bar.add_task("peers", total=len(entries) + len(order))
        facts: dict[str, Any] = {}
        for entry in entries:
            bar.update(line, description=f"building {entry.id}")
            facts[entry.id] = sides[entry.side].ask(do="build", id=entry.id, threads=threads, **entry.job)
            bar.advance(line)
        found: dict[str, list[dict[str, Any]]] = {entry.id: [] for entry in entries}
        peaks: dict[str, list[dict[str, float]]] = {"fp32": [], "bf16": []}
        begun = -1
        for number, entry in order:
            if number != begun:  # once a round
                begun = number
                for precision, rates in peaks.items():
                    said = sides[0].ask(do="peak", precision=precision, threads=threads, seconds=1.0)
                    rates.append(said.get("rates", {}))
            bar.update(line, description=entry.id)
            if "error" not in facts[entry.id]:
                peer = entry.side == 1
                said = sides[entry.side].ask(
                    do="time",
                    id=entry.id,
                    photos=[str(photo) for photo in photos],
                    calls=calls if peer else 3,
                    seconds=0.0 if peer else seconds,
                    network_once=peer,
                    # Seconds of a call; it was warm a round ago.
                    warm_up=not peer or number == 0,
                    clock=clock,
                )
                if "error" in said:
                    facts[entry.id] = said
                else:
                    found[entry.id].append(said["photos"])
            bar.advance(line)
    return {
        "threads": threads,
        "clock": clock,
        "rounds": rounds,
        "peaks": {name: best_peak(rates) for name, rates in peaks.items()},
        "entries": [_summary(entry, facts[entry.id], found[entry.id], photos) for entry in entries],
    }


def _summary(entry: Entry, facts: dict[str, Any], rounds: Sequence[dict[str, Any]], photos: Sequence[Path]) -> dict:
    row: dict[str, Any] = {"name": entry.name, "way": entry.way, "ours": entry.ours}
    if "error" in facts or not rounds:
        return row | {"error": facts.get("error", "not measured")}
    row |= facts["facts"] | {"photos": {}}
    for photo in photos:
        said = [answers[str(photo)] for answers in rounds]
        # A network whose input has one size was timed with the first photo.
        network = [a["network"] or answers[str(photos[0])]["network"] for a, answers in zip(said, rounds, strict=True)]
        each = {
            "prepare": [float(np.median(a["prepare"])) for a in said],
            "network": [float(np.median(calls)) for calls in network],
            "finish": [float(np.median(a["finish"])) for a in said],
        }
        steps = {step: float(np.median(values)) for step, values in each.items()}
        spread = (max(each["network"]) - min(each["network"])) / steps["network"]
        row["photos"][photo.name] = {
            **{f"{step}_ms": value for step, value in steps.items()},
            "whole_ms": sum(steps.values()),
            "spread": spread,
            "shape": said[0]["shape"],
            "tampered": said[0]["tampered"],
        }
    return row


@contextmanager
def _sides(pythons: Sequence[Path | str], threads: int) -> Iterator[list[Side]]:
    sides = [Side(python, threads) for python in pythons]
    try:
        yield sides
    finally:
        for side in sides:
            side.close()
