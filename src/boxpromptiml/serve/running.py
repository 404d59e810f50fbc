"""Running the service in this process: until a signal, or until the model turns out to be unusable."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.server import Server
from boxpromptiml.runtime import Localizer
from boxpromptiml.serve.app import app_of
from boxpromptiml.serve.logs import json_logs
from boxpromptiml.serve.protocol import PatientProtocol
from boxpromptiml.serve.service import Service
from boxpromptiml.serve.settings import ServeSettings

# Beyond a request's own limit, for its answer to go.
_GRACE_SECONDS = 5


def run(
    settings: ServeSettings,
    load: Callable[[], Localizer],
    listening: socket.socket,
    *,
    started: Callable[[], None] = lambda: None,
    log_level: str = "info",
) -> None:
    """Serve until SIGTERM or SIGINT: what is under way is finished, then the process is free to end.

    Args:
        settings: see `ServeSettings`.
        load: loads the model.
        listening: the port.
        started: called once it answers.
        log_level: see `json_logs`.

    Raises:
        BoxPromptError: the model cannot be loaded.
    """
    service = Service(settings, load)
    with json_logs(log_level, service.metrics.lost_lines.inc):
        server: _ServiceServer

        def failed(_: BoxPromptError) -> None:
            server.should_exit = True

        server = _ServiceServer(_config(app_of(service, failed), settings), started, service)
        server.run(sockets=[listening])
    if service.engine.error is not None:
        raise service.engine.error


def _config(app: Any, settings: ServeSettings) -> uvicorn.Config:
    protocol = partial(
        PatientProtocol,
        max_connections=settings.max_connections,
        header_seconds=settings.header_seconds,
        stall_seconds=settings.timeout,
    )
    return uvicorn.Config(
        app,
        lifespan="on",
        loop="auto",  # uvloop where there is one: not on Windows
        http=protocol,  # type: ignore[arg-type]  # what makes a protocol will do
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]  # handed on to call_later
        timeout_graceful_shutdown=int(settings.timeout) + _GRACE_SECONDS,
        backlog=2048,
    )


class _ServiceServer(Server):
    """Tells the service when it is told to stop, and goes on for a while if it is to be drained."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], service: Service) -> None:
        super().__init__(config, started)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        told, drain = self._service.stopping, self._service.settings.drain
        self._service.stop()
        if told or not drain or self._loop is None:
            super().handle_exit(sig, frame)
        else:
            end = partial(super().handle_exit, sig, frame)
            self._loop.call_soon_threadsafe(self._loop.call_later, drain, end)
