"""A photograph, a labelling configuration, an HTTP server with images, and requests as Label Studio sends them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("fastapi")

WIDTH, HEIGHT = 120, 80

CONFIG = """
<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="mask" toName="image">
    <Label value="Tampered" predicted_values="tampered"/>
    <Label value="Copied"/>
  </BrushLabels>
  <RectangleLabels name="box" toName="image" smart="true">
    <Label value="Tampered" predicted_values="tampered"/>
    <Label value="Copied"/>
  </RectangleLabels>
  <KeyPointLabels name="click" toName="image" smart="true">
    <Label value="Tampered"/>
    <Label value="Copied"/>
  </KeyPointLabels>
</View>
"""


@pytest.fixture(scope="session")
def config() -> str:
    """A labelling configuration with an image, brush, boxes and clicks."""
    return CONFIG


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """Grey noise with a red ellipse: uint8 (80, 120, 3)."""
    rng = np.random.default_rng(7)
    pixels = rng.normal(120, 10, (HEIGHT, WIDTH, 3))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((x - 60) / 25) ** 2 + ((y - 40) / 18) ** 2 < 1
    pixels[inside] = rng.normal((225, 30, 25), 8, (inside.sum(), 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def png(photo: NDArray[np.uint8]) -> bytes:
    """The photograph as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    return stream.getvalue()


@dataclass
class Site:
    """A web server of a test. `pages` maps a path (without its query) to what answers it."""

    address: str
    port: int
    pages: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def give(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Answer a path with these bytes."""

        def page(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

        self.pages[path] = page

    def send_to(self, path: str, url: str, status: int = 302) -> None:
        """Answer a path with a redirect."""
        self.give(path, b"", status=status, Location=url)


@pytest.fixture
def open_site() -> Iterator[Callable[[], Site]]:
    """A function that starts a real HTTP server on the loopback address."""
    servers: list[ThreadingHTTPServer] = []

    def open_() -> Site:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                site.requests.append((self.path, dict(self.headers.items())))
                page = site.pages.get(path)
                if page is None:
                    self.send_error(404)
                else:
                    page(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        port = server.server_address[1]
        site = Site(f"http://127.0.0.1:{port}", port)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        servers.append(server)
        return site

    yield open_
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(open_site: Callable[[], Site]) -> Site:
    """One such server, which plays Label Studio."""
    return open_site()


def region(kind: str, control: str, label: str | None, **value: Any) -> dict[str, Any]:
    """A region as Label Studio's page sends it: the value in percent of the image's sides."""
    top = {key: value.pop(key) for key in ("is_positive", "image_rotation", "original_width", "id") if key in value}
    labels = {} if label is None else {kind: [label]}
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, **labels},
        "id": "kq1Z7",
        "from_name": control,
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        **top,
    }


@pytest.fixture(scope="session")
def drawn_box() -> dict[str, Any]:
    """The box [30, 16, 90, 64) as a region."""
    return region("rectanglelabels", "box", "Tampered", x=25.0, y=20.0, width=50.0, height=60.0, rotation=0)


@pytest.fixture(scope="session")
def make_region() -> Callable[..., dict[str, Any]]:
    """The function `region`."""
    return region


@pytest.fixture(scope="session")
def predict_request() -> Callable[..., dict[str, Any]]:
    """A function that builds /predict as Label Studio 1.23 sends it.

    ``label_studio/ml/api_connector.py``, `MLApi._prep_prediction_req`; tasks as `TaskSimpleSerializer` writes them.
    """

    def build(*images: str, drawn: list[dict[str, Any]] | None = None, config: str = CONFIG) -> dict[str, Any]:
        tasks = [
            {
                "id": number,
                "data": {"image": image},
                "meta": {},
                "created_at": "2026-11-21T06:52:44.584547Z",
                "updated_at": "2026-11-21T06:52:44.584547Z",
                "is_labeled": False,
                "overlap": 1,
                "inner_id": number,
                "project": 1,
                "annotations": [],
                "predictions": [],
            }
            for number, image in enumerate(images, start=1)
        ]
        return {
            "tasks": tasks,
            "project": "1.1790000000",
            "label_config": config,
            "params": {"login": None, "password": None, "context": None if drawn is None else {"result": drawn}},
        }

    return build


@pytest.fixture(scope="session")
def setup_request() -> dict[str, Any]:
    """/setup as Label Studio 1.23 sends it: ``label_studio/ml/api_connector.py``, `MLApi.setup`."""
    return {
        "project": "1.1790000000",
        "schema": CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": "0123456789abcdef0123456789abcdef01234567",
        "extra_params": None,
    }
