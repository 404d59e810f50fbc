"""The service, in this process and as the command line starts it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from boxpromptiml.runtime import Localizer
from boxpromptiml.serve import ServeSettings, create_app

_START_SECONDS = 120
READY = b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


@pytest.fixture(scope="session")
def localizer(red_model: Path) -> Localizer:
    """Finds what is red."""
    return Localizer.load(red_model, threads=1)


def encode(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """An array as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """96 x 64, grey, with a red rectangle of 24 x 16 at (32, 16)."""
    pixels = np.full((64, 96, 3), 120, np.uint8)
    pixels[16:32, 32:56] = (255, 0, 0)
    return encode(pixels)


@pytest.fixture(scope="session")
def grey() -> bytes:
    """96 x 64, nothing to find."""
    return encode(np.full((64, 96, 3), 120, np.uint8))


@pytest.fixture
def start(localizer: Localizer) -> Iterator[Callable[..., TestClient]]:
    """A function that starts the application with some settings, and waits until it is ready.

    ``start(load=..., wait=False, max_queue=2)``
    """
    with ExitStack() as running:

        def started(load: Callable[[], Localizer] | None = None, *, wait: bool = True, **settings: Any) -> TestClient:
            app = create_app(ServeSettings(**settings), load or (lambda: localizer))
            client = running.enter_context(TestClient(app, base_url="http://127.0.0.1:8008"))
            end = time.monotonic() + _START_SECONDS
            while wait and client.get("/readyz").status_code != 200:
                assert time.monotonic() < end, "it does not become ready"
                time.sleep(0.01)
            return client

        yield started


class LiveService(str):
    """The address of a running service, and the process behind it.

    Attributes:
        process: of the command line.
        log: what it wrote to standard error, parsed where it is JSON.
    """

    process: subprocess.Popen[str]
    log: list[Any]

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.removeprefix("http://").partition(":")
        return host, int(port)

    def raw(self, data: bytes, *, seconds: float = 20.0, end: bool = False) -> bytes:
        """Send bytes as they are, and return all that comes until the service hangs up."""
        with socket.create_connection(self.place, timeout=seconds) as stream:
            stream.sendall(data)
            if end:
                stream.shutdown(socket.SHUT_WR)
            received = bytearray()
            try:
                while piece := stream.recv(65536):
                    received += piece
            except ConnectionResetError:
                pass
            return bytes(received)

    def stop(self, sign: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(sign)
        return self.process.wait(timeout=60)


@pytest.fixture
def live_service(red_model: Path, own_port: Callable[[], int]) -> Iterator[Callable[..., LiveService]]:
    """A function that starts ``boxpromptiml serve`` in a process of its own and returns its address.

    ``live_service(max_queue=2, public=True, environment={"KEYS": "..."})``: keywords are options of the command. With
    ``wait=False`` the model may still be on its way.
    """
    services: list[LiveService] = []

    def started(
        *, model: Path = red_model, wait: bool = True, environment: dict[str, str] | None = None, **options: Any
    ) -> LiveService:
        words = ["--model", str(model), "--port", str(own_port())]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        process = subprocess.Popen(
            [sys.executable, "-m", "boxpromptiml.cli.main", "serve", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http"), process.communicate()
        service = LiveService(line.split("/v1/")[0])
        service.process, service.log = process, []
        services.append(service)
        threading.Thread(target=_read, args=(process, service.log), daemon=True).start()
        end = time.monotonic() + _START_SECONDS
        while wait and b"200 OK" not in service.raw(
            b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
        ):
            assert time.monotonic() < end, service.log
            time.sleep(0.05)
        return service

    yield started
    for service in services:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait(timeout=30)


def _read(process: subprocess.Popen[str], log: list[Any]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        try:
            log.append(json.loads(line))
        except ValueError:
            log.append(line.rstrip())
