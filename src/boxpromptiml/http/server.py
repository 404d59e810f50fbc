"""Running an application: a port, an address, a clean end."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.settings import HttpSettings

FIRST_PORT = 8008
_PORTS_TRIED = 20


def listen(settings: HttpSettings) -> socket.socket:
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


def base_address(settings: HttpSettings, port: int, *, local: bool = False) -> str:
    """The address of a server, with a slash at its end.

    Args:
        settings: of the server.
        port: that was taken.
        local: as seen from this machine, for a server that listens on all addresses.
    """
    host = settings.host.strip("[]")
    if host in ("0.0.0.0", "::"):
        host = "localhost" if local else socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


class Server(uvicorn.Server):
    """A server that says when it answers, and ends well when it is told to.

    Args:
        config: of uvicorn.
        started: called once it answers.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer."""
        await super().startup(sockets)
        self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM for as long as it runs."""
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
