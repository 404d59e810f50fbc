"""What is measured, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from boxpromptiml.errors import BoxPromptError


@dataclass(frozen=True, slots=True)
class Cell:
    """A network with its settings; measured in processes of its own.

    Attributes:
        model: its folder.
        runtime: a name of `RUNTIMES`.
        threads: of the network's computation, in each process.
        batch: images per call of the network.
        device: cpu or cuda.
        processes: that do the same side by side.
    """

    model: str
    runtime: str
    threads: int
    batch: int
    device: str = "cpu"
    processes: int = 1

    def __str__(self) -> str:
        several = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.model}, {self.runtime}, {self.threads} threads, batch {self.batch}, {self.device}{several}"


@dataclass(frozen=True, slots=True)
class Decoding:
    """Reading and decoding photos as a model's preprocessing says, and nothing else: what bounds every throughput.

    Attributes:
        model: whose preprocessing.
        processes: that do the same side by side.
    """

    model: str
    processes: int
    threads: int = 1

    def __str__(self) -> str:
        return f"decoding for {self.model}, {self.processes} processes"


@dataclass(frozen=True, slots=True)
class Peak:
    """A large matrix product: the arithmetic that the machine can do at all.

    Attributes:
        precision: of the factors: fp32, fp16, bf16 or int8.
        threads: of the product, in each process.
        processes: that do the same side by side.
        device: cpu or cuda.
    """

    precision: str
    threads: int
    processes: int = 1
    device: str = "cpu"

    def __str__(self) -> str:
        return f"peak, {self.precision}, {self.threads} threads, {self.processes} processes, {self.device}"


Task = Cell | Decoding | Peak
_AnyTask = TypeVar("_AnyTask")


def job_of(task: Task, effort: Effort, photo: str) -> dict[str, Any]:
    """The task as `boxpromptiml.bench.worker` takes it."""
    kind = type(task).__name__.lower()
    return {"kind": kind, **asdict(task), "seconds": effort.seconds, "warm_up": effort.warm_up, "photo": photo}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: times that every task has its turn; all tasks once, then all once more: a machine that slows down or
            is busy for a while hits all of them alike.
        seconds: of each of the two measurements (network, whole) in a round; at least three calls are made.
        warm_up: seconds of calls before the first measurement that do not count.
    """

    rounds: int = 3
    seconds: float = 2.0
    warm_up: float = 0.5

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.seconds <= 0 or self.warm_up < 0:
            raise BoxPromptError(
                f"rounds must be at least 1 and seconds above 0, got {self.rounds} rounds, {self.seconds:g} seconds"
            )


def turns(tasks: Sequence[_AnyTask], rounds: int) -> list[tuple[int, _AnyTask]]:
    """(round, task) in the order of measurement; every other round backwards, so that a steady drift cancels."""
    return [(n, task) for n in range(rounds) for task in (tasks if n % 2 == 0 else list(reversed(tasks)))]
