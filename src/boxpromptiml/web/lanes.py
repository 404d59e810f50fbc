"""Threads of their own for what takes long: nobody's changes wait behind it, and nothing is done for those who left.

The framework has some forty threads for all routes. Pictures that are made, teachers and networks that are waited for
would take them all, and a box that was drawn could not be stored.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from fastapi import Request

from boxpromptiml.http.errors import HttpError

P = ParamSpec("P")
T = TypeVar("T")


# What nginx calls it; nobody is there to read it.
_GONE = 499


class Visitor:
    """Who asks for something, and may go away before it is there.

    Args:
        request: whose body has been read; nobody else may receive anything from it any more.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._gone = threading.Event()

    def check(self) -> None:
        """End work that nobody waits for; for any thread.

        Raises:
            HttpError: 499, the client has gone.
        """
        if self._gone.is_set():
            raise HttpError(_GONE, "nobody waits for this any more")

    async def leaves(self) -> None:
        """Wait until the client goes away."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone.set()


class Lane:
    """So many things of one kind at once; what is more waits in the order in which it came.

    Args:
        name: of the threads.
        threads: how many.
        check: called before each thing is begun; what it raises is its answer.
    """

    def __init__(self, name: str, threads: int, check: Callable[[], object] = lambda: None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._check = check
        self._open: set[Future[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return any(future.running() for future in tuple(self._open))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have something done, and wait for it without keeping a thread that others need.

        Raises:
            Exception: what the work raises, or the check before it.
        """

        return await self._begun(work, *args, **kwargs)

    async def run_for(self, visitor: Visitor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for as long as somebody waits for it: what has not begun when they leave never will.

        Work that takes long ends itself by the visitor's `check`.

        Raises:
            HttpError: 499, they have left.
        """
        done, leaves = self._begun(work, *args, **kwargs), asyncio.ensure_future(visitor.leaves())
        try:
            await asyncio.wait((done, leaves), return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                visitor.check()
            return await done
        finally:
            done.cancel()
            leaves.cancel()

    def _begun(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        def checked() -> T:
            self._check()
            return work(*args, **kwargs)

        future = self._pool.submit(checked)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return asyncio.wrap_future(future)
