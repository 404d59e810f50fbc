"""The number of cores follows what the process is allowed to use, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from boxpromptiml.machine import in_threads, usable_cores


def _print_in_a_process_of_its_own(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_there_is_at_least_one() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_a_process_bound_to_one_core_has_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from boxpromptiml.machine import usable_cores; print(usable_cores())"
    )
    assert _print_in_a_process_of_its_own(code) == "1"


def test_the_peak_of_memory_stays_when_memory_is_given_back() -> None:
    code = (
        "from boxpromptiml.machine import peak_memory; before = peak_memory(); "
        "held = bytearray(b'x') * 2**27; del held; print(before, peak_memory())"
    )
    before, after = map(int, _print_in_a_process_of_its_own(code).split())
    assert 2**20 < before < 2**30
    assert after - before == pytest.approx(2**27, rel=0.2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system tells of the program alone")
def test_the_peak_of_memory_is_not_that_of_the_parent() -> None:
    held = bytearray(b"x") * 2**28
    code = "from boxpromptiml.machine import peak_memory; print(peak_memory())"
    assert int(_print_in_a_process_of_its_own(code)) < len(held)


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_results_come_in_the_order_of_the_items_and_not_all_are_taken_at_once(batch: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(7):
            taken.append(number)
            yield number

    results = in_threads(
        lambda number: (time.sleep(0.01 * (number % 2 == 0)), number)[1], items(), threads=3, batch=batch
    )
    assert taken == []
    assert next(results) == 0
    assert len(taken) == min(batch, 7)
    assert list(results) == list(range(1, 7))


def test_what_a_thread_raises_comes_where_its_result_would() -> None:
    results = in_threads(lambda number: 1 // number, [2, 1, 0, 1], threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
