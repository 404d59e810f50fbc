"""Running an application: a port, an address for people, a clean end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.web.settings import WebSettings

FIRST_PORT = 8008
_PORTS_TRIED = 20
# Requests that are under way when the server is told to stop get so long.
_GRACE_SECONDS = 5
# Longer than a person looks at an image: a change is not sent over a connection that is just being closed.
_IDLE_SECONDS = 120


def listen(settings: WebSettings) -> socket.socket:
    """Take the port, so that whoever starts a server knows at once whether it can be had.

    Port 0 takes the first free one from 8008 on, for the same address as the last time where possible.

    Raises:
        BoxPromptError: the port is in use or not for this user, the host is not of this machine.
    """
    if settings.port:
        return _listening(settings.host, settings.port)
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED):
        try:
            return _listening(settings.host, port)
        except _PortInUseError:
            continue
    return _listening(settings.host, 0)


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
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
    )
    with taken:
        _Server(config, taken.getsockname()[1], settings, open_browser).run(sockets=[taken])


def address(settings: WebSettings, port: int, *, local: bool = False) -> str:
    """The address to open in a browser, with the token where one is required.

    Args:
        settings: of the server.
        port: that was taken.
        local: as seen from this machine, for a server that listens on all addresses.
    """
    host = settings.host.strip("[]")
    if host in ("0.0.0.0", "::"):
        host = "localhost" if local else socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    token = f"?token={settings.token}" if settings.token is not None else ""
    return f"http://{name}:{port}/{token}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, port: int, settings: WebSettings, open_browser: bool) -> None:
        super().__init__(config)
        self._port = port
        self._settings = settings
        self._open_browser = open_browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"{address(self._settings, self._port)}  (Ctrl-C stops it)", flush=True)
        if self._open_browser and _has_browser():
            # Some browsers keep the call until they are closed.
            place = address(self._settings, self._port, local=True)
            threading.Thread(target=webbrowser.open, args=[place], daemon=True).start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again at the end; being told to stop is how a server ends well.
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _PortInUseError(BoxPromptError):
    pass


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise BoxPromptError(f"host {host}: no such name or address") from error
    taken = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let two servers have one port
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(place)
        taken.listen(2048)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise _PortInUseError(
                f"port {port} of {host} is in use; leave --port out and a free one is taken"
            ) from error
        raise BoxPromptError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return taken


def _has_browser() -> bool:
    """Whether there is a browser with a window: one for the terminal would write over what the server prints."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
