"""Threads of their own for what takes long: nobody's changes wait behind it.

The framework has some forty threads for all routes. Pictures that are made, teachers and networks that are waited for
would take them all, and a box that was drawn could not be stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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

        def checked() -> T:
            self._check()
            return work(*args, **kwargs)

        future = self._pool.submit(checked)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return await asyncio.wrap_future(future)
