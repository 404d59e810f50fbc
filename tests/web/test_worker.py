"""The order in which a teacher's thread does things; and the cache that forgets by bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from boxpromptiml.web.byte_cache import ByteCache
from boxpromptiml.web.worker import SupersededError, Task, Urgency, Worker

NOW, SOON, LATER = Urgency


class Busy:
    """A worker whose one thread is held until `go`."""

    def __init__(self, threads: int = 1) -> None:
        self.worker = Worker("test", threads)
        self.order: list[str] = []
        self._gate = threading.Event()
        started = threading.Event()

        def hold(_: Task) -> None:
            started.set()
            self._gate.wait(10)

        self.held = self.worker.ask(hold, LATER, "held")
        assert started.wait(10)

    def ask(self, name: str, urgency: Urgency, **options: Any) -> Future[Any]:
        return self.worker.ask(lambda _: self.order.append(name), urgency, **options)

    def go(self) -> None:
        self._gate.set()


@pytest.fixture
def busy() -> Iterator[Busy]:
    found = Busy()
    yield found
    found.go()
    found.worker.close()


def test_persons_first_and_the_newest_of_them(busy: Busy) -> None:
    asked = [("ahead 1", LATER), ("old", NOW), ("exact 1", SOON), ("ahead 2", LATER), ("new", NOW), ("exact 2", SOON)]
    futures = [busy.ask(*one) for one in asked]
    busy.go()
    for future in futures:
        future.result(10)
    assert busy.order == ["new", "old", "exact 1", "exact 2", "ahead 1", "ahead 2"]


def test_a_newer_task_makes_an_older_one_of_its_key_pointless(busy: Busy) -> None:
    old, other = busy.ask("old", NOW, key="a"), busy.ask("other", NOW, key="b")
    new = busy.ask("new", SOON, key="a")
    with pytest.raises(SupersededError):
        old.result(10)
    busy.go()
    new.result(10)
    other.result(10)
    assert busy.order == ["other", "new"]


def test_tasks_of_a_batch_stand_beside_each_other_and_go_together(busy: Busy) -> None:
    batch = [busy.ask(str(i), LATER, key="batch", beside=True) for i in range(3)]
    busy.worker.drop("batch")
    for future in batch:
        with pytest.raises(SupersededError):
            future.result(10)
    assert not busy.order


def test_a_running_task_is_told_that_nobody_wants_it() -> None:
    worker = Worker("test", 2)
    begun, told = threading.Event(), threading.Event()

    def long(task: Task) -> None:
        begun.set()
        assert told.wait(10)
        task.check()

    running = worker.ask(long, SOON, "a")
    assert begun.wait(10)
    assert worker.ask(lambda _: "quick", NOW, "a").result(10) == "quick"
    told.set()
    with pytest.raises(SupersededError):
        running.result(10)
    worker.close()


def test_with_two_threads_nothing_long_blocks_a_person() -> None:
    busy = Busy(threads=2)
    busy.ask("person", NOW).result(10)
    assert not busy.held.done()
    busy.go()
    busy.worker.close()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_no_failure_ends_the_thread(busy: Busy, error: BaseException) -> None:
    def fail(_: Task) -> None:
        raise error

    failed = busy.worker.ask(fail, NOW)
    busy.go()
    with pytest.raises(type(error)):
        failed.result(10)
    assert busy.ask("next", NOW).result(10) is None
    assert busy.order == ["next"]


def test_what_waits_when_the_worker_is_closed_is_dropped(busy: Busy) -> None:
    waiting = busy.ask("waiting", LATER)
    busy.worker.close()
    with pytest.raises(SupersededError):
        waiting.result(10)
    with pytest.raises(SupersededError):
        busy.ask("late", NOW).result(10)


def test_nobody_waits_for_what_runs_when_the_worker_is_closed(busy: Busy, wait_until: Callable[..., Any]) -> None:
    assert busy.worker.busy
    busy.worker.close()
    with pytest.raises(SupersededError):
        busy.held.result(0)
    busy.go()  # it comes to its end by itself
    wait_until(lambda: not busy.worker.busy)
    busy.worker.close()


@pytest.mark.parametrize(
    ("use", "kept"),
    [
        (lambda _: None, "bc"),
        (lambda cache: cache.get("a"), "ac"),  # used last
        (lambda cache: cache.put("a", "A", 1), "abc"),  # smaller than it was
    ],
)
def test_the_least_recently_used_goes_first(use: Callable[[ByteCache[str]], Any], kept: str) -> None:
    cache: ByteCache[str] = ByteCache(10)
    cache.put("a", "A", 5)
    cache.put("b", "B", 4)
    use(cache)
    cache.put("c", "C", 4)
    assert "".join(key for key in "abc" if cache.get(key)) == kept
    assert cache.nbytes <= 10


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache: ByteCache[str] = ByteCache(10)
    cache.put("small", "s", 10)
    cache.put("large", "l", 11)
    assert (cache.get("small"), cache.get("large"), cache.nbytes) == ("s", None, 10)
