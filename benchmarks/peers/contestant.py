"""What takes part: programs that turn a photo on disk into a mask and a score, in three steps timed apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Facts:
    """What is counted of a network.

    Attributes:
        params: parameters.
        multiply_adds: of one image at height x width.
        height, width: that multiply_adds are counted for.
        precision: of its arithmetic.
    """

    params: int
    multiply_adds: int
    height: int
    width: int
    precision: str = "fp32"


@dataclass
class Prepared:
    """A photo that a network can be shown.

    Attributes:
        network_input: as the contestant's network takes it.
        width, height: of the photo, pixels.
        shape: rows and columns of what the network is shown.
        extra: what the last step needs beside that.
    """

    network_input: Any
    width: int
    height: int
    shape: tuple[int, int]
    extra: dict[str, Any] = field(default_factory=dict)


class Contestant(Protocol):
    """A network with what belongs before and after it."""

    def facts(self) -> Facts:
        """What is counted."""
        ...

    def prepare(self, photo: Path) -> Prepared:
        """Read, decode, resize."""
        ...

    def network(self, prepared: Prepared) -> Any:
        """The network alone; waits for the answer."""
        ...

    def finish(self, prepared: Prepared, answer: Any) -> tuple[float, NDArray[np.bool_]]:
        """Score in [0, 1] and mask at the photo's size, bool (height, width)."""
        ...


STEPS = ("prepare", "network", "finish")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def timed(
    contestant: Contestant,
    photos: Sequence[Path],
    calls: int,
    seconds: float,
    *,
    network_once: bool,
    warm_up: bool = True,
    clock: str = "wall",
) -> dict[str, dict[str, Any]]:
    """Milliseconds of each call by photo and step.

    Args:
        contestant: who runs.
        photos: what is looked at.
        calls: so many at least.
        seconds: and for so long.
        network_once: the network's input has one size whatever the photo: it is timed with the first one only.
        warm_up: begin with a call of everything that does not count.
        clock: ``wall``, or ``processor``: the processor time of this process, all threads together.
    """
    now = CLOCKS[clock]
    figures: dict[str, dict[str, Any]] = {}
    answer: Any = None
    for number, photo in enumerate(photos):
        runs = number == 0 or not network_once
        spent: dict[str, list[float]] = {step: [] for step in STEPS}
        left_out = 1 if warm_up else 0
        end = time.perf_counter() + seconds
        while len(spent["finish"]) < calls + left_out or time.perf_counter() < end:
            times = [now()]
            prepared = contestant.prepare(photo)
            times.append(now())
            if runs:
                answer = contestant.network(prepared)
            times.append(now())
            score, mask = contestant.finish(prepared, answer)
            times.append(now())
            for step, took in zip(STEPS, np.diff(times), strict=True):
                spent[step].append(1000 * float(took))
        spent = {step: took[left_out:] for step, took in spent.items()}
        if not runs:
            spent["network"] = []
        figures[str(photo)] = {**spent, "shape": list(prepared.shape), "score": score, "tampered": float(mask.mean())}
    return figures
