"""What this process may use of the machine, what it has used, and how work is shared out over the cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine has under ``taskset``, a cpuset or a batch system."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes."""
    # getrusage's figure starts at that of the parent, which Linux carries over; VmHWM is of this program alone.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        import resource  # there is none on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def in_threads(
    function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None, batch: int = 256
) -> Iterator[R]:
    """Yield what a function makes of each item, in their order; threads work on a batch of items at a time.

    All that is handed to a pool has to be worked off before Ctrl-C ends the process, and what is made ahead is held.

    Args:
        function: called in the threads; what it raises is raised where its result would be yielded.
        items: taken a batch at a time.
        threads: default one a usable core.
        batch: items, the most that are worked on or held at a time.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        while some := list(islice(remaining, batch)):
            yield from pool.map(function, some)
