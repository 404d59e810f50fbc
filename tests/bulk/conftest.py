"""Photographs, a web server, and ways to kill what is at work."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.runtime import Localizer


@pytest.fixture(scope="module")
def localizer(red_model: Path) -> Localizer:
    return Localizer.load(red_model, threads=1)


def photo(i: int, *, kind: str = "PNG") -> bytes:
    """A small photograph, no two alike; every third one has a red patch, every sixth one two."""
    image = np.full((60, 80 + i % 7, 3), 80 + i % 100, np.uint8)
    image[0, 0] = (i % 256, i // 256, 0)
    if i % 3 == 0:
        image[10:40, 20:50] = (255, 0, 0)
    if i % 6 == 0:
        image[45:58, 5:70] = (255, 0, 0)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., bytes]:
    return photo


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with some (empty) files."""
    for name in ("a.jpg", "b.png", "x/a.jpg", "x/deep/c.TIF", "x/notes.md", "x/.hidden.png", "y/a.jpg", "empty/.keep"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 photographs and a broken one, the eighth by name."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02d}.png").write_bytes(photo(i))
    (folder / "06b.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


class WebServer(ThreadingHTTPServer):
    """Serves what `pages` holds by path; `hook` is told of each request and of its sender's port.

    Attributes:
        pages: path -> bytes, or a status.
        url: where it listens.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.pages: dict[str, bytes | int] = {}
        self.hook: Callable[[str, int], None] = lambda path, port: None
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Whoever asked is gone: that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self.headers.get("Range") != "bytes=0-0":  # how fsspec asks for a size
            self.server.hook(self.path, self.client_address[1])
        self._answer()

    def _answer(self) -> None:
        page = self.server.pages.get(self.path, 404)
        if isinstance(page, int):
            self.send_error(page)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def process_at(port: int) -> int:
    """The process that has a TCP connection from a local port of 127.0.0.1."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inode = next(row[9] for row in rows if row[1] == f"0100007F:{port:04X}")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) == f"socket:[{inode}]" for link in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
    raise LookupError(port)


@pytest.fixture(scope="session")
def find_process() -> Callable[[int], int]:
    """The process behind a port of this machine; such tests run on Linux alone."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc to find the process that sent a request")
    return process_at
