"""Running a page: an address for people, a browser, a clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from boxpromptiml.http.server import Server, base_address, listen
from boxpromptiml.web.door import Door
from boxpromptiml.web.settings import WebSettings, WebState

# Requests that are under way when the server is told to stop get so long, and what is still computed as long again.
_GRACE_SECONDS = 5
# Longer than a person looks at an image: a change is not sent over a connection that is just being closed.
_IDLE_SECONDS = 120


def serve(
    app: FastAPI, settings: WebSettings, *, open_browser: bool = False, listening: socket.socket | None = None
) -> None:
    """Serve an app until SIGINT or SIGTERM; print its address to standard output once it answers.

    A second signal ends the process at once, and so does what is still computed ten seconds after the first one.

    Args:
        app: what to serve.
        settings: where.
        open_browser: open the address in the person's browser, if there is one to open.
        listening: what `listen` returned; None to take the port here.

    Raises:
        BoxPromptError: as `listen`.
    """
    taken = listening if listening is not None else listen(settings)
    config = uvicorn.Config(
        app,
        lifespan="off",
        # Not what happens to be installed: these two are everywhere, and h11 limits what a request's head may take.
        http="h11",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
    )
    port = taken.getsockname()[1]
    door = Door(address(settings, port, local=True), secret=settings.token is not None)

    def started() -> None:
        print(f"{address(settings, port)}  (Ctrl-C stops it)", flush=True)
        if open_browser and _has_browser():
            door.open()

    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    with taken:
        _PageServer(config, started, door.close, getattr(app.state, "web", None)).run(sockets=[taken])


class _PageServer(Server):
    """A server that ends soon, even where a network or a teacher is in the middle of something.

    Args:
        config: of uvicorn.
        started: called once it answers.
        ending: called once it is told to stop.
        state: of the app, if it computes anything.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        started: Callable[[], None],
        ending: Callable[[], None],
        state: WebState | None,
    ) -> None:
        super().__init__(config, started)
        self._ending = ending
        self._state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at the second signal end the process."""
        if self.should_exit:
            _leave()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way."""
        self._ending()
        if self._state is not None:
            self._state.stop()
        await super().shutdown(sockets)
        # The interpreter would wait for what is still computed, or abort where that comes back while it ends.
        end = time.monotonic() + _GRACE_SECONDS
        while self._state is not None and self._state.busy:
            if time.monotonic() > end:
                _leave()
            await asyncio.sleep(0.05)


def _leave() -> None:
    """End the process, whatever it is doing: all that was stored is durable, and the rest is nobody's any more."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody reads it any more, or it was being written when the signal came
            stream.flush()
    os._exit(0)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's log is about anything else than a request that the end of the server cut off."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


def address(settings: WebSettings, port: int, *, local: bool = False) -> str:
    """The address to open in a browser, with the token where one is required.

    Args:
        settings: of the server.
        port: that was taken.
        local: as seen from this machine, for a server that listens on all addresses.
    """
    token = f"?token={settings.token}" if settings.token is not None else ""
    return base_address(settings, port, local=local) + token


def _has_browser() -> bool:
    """Whether there is a browser with a window: one for the terminal would write over what the server prints."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
