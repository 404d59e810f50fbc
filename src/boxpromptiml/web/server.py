"""Running a page: an address for people, a browser, a clean end."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser

import uvicorn
from starlette.types import ASGIApp

from boxpromptiml.http.server import Server, base_address, listen
from boxpromptiml.web.settings import WebSettings

# Requests that are under way when the server is told to stop get so long.
_GRACE_SECONDS = 5
# Longer than a person looks at an image: a change is not sent over a connection that is just being closed.
_IDLE_SECONDS = 120


def serve(
    app: ASGIApp, settings: WebSettings, *, open_browser: bool = False, listening: socket.socket | None = None
) -> None:
    """Serve an app until SIGINT or SIGTERM; print its address to standard output once it answers.

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

    def started() -> None:
        print(f"{address(settings, port)}  (Ctrl-C stops it)", flush=True)
        if open_browser and _has_browser():
            # Some browsers keep the call until they are closed.
            place = address(settings, port, local=True)
            threading.Thread(target=webbrowser.open, args=[place], daemon=True).start()

    with taken:
        Server(config, started).run(sockets=[taken])


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
