"""`web.lanes`: what takes long waits for its own kind only, and for nothing once the server stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from boxpromptiml.http.errors import HttpError
from boxpromptiml.web.settings import WebState


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread of its own: a browser that other tests share keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_things_of_one_kind_wait_for_each_other_and_nothing_is_begun_after_the_end(
    wait_until: Callable[..., Any],
) -> None:
    state, gate, done = WebState(), threading.Event(), []
    lane, other = state.lane("one", 1), state.lane("other", 1)

    def held(name: str) -> str:
        assert gate.wait(20)
        done.append(name)
        return name

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(lane.run(held, name)) for name in ("first", "second")]
        assert await other.run(lambda: "beside") == "beside"
        assert state.busy
        state.stop()
        gate.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second = run(ask())
    assert (first, done) == ("first", ["first"])
    assert isinstance(second, HttpError)
    assert second.status == 503
    wait_until(lambda: not state.busy)


def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        run(WebState().lane("one", 1).run(fail))
