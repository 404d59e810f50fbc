"""A real server, as the command line starts it: its address, its end, the page in a browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from boxpromptiml.dataset import Dataset, ImageRecord

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

Photos = Callable[..., list[Path]]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(sign: int, tmp_path: Path, make_photos: Photos, live_server: Any, fetch: Any) -> None:
    make_photos(tmp_path)
    server = live_server(tmp_path, teacher="none")
    assert json.loads(fetch(server + "/api/session")[1])["images"] == 3
    assert server.stop(sign) == 0
    assert server.log[0] == "3 new images"
    assert "Traceback" not in "\n".join(server.log)


# A server whose teacher takes an hour, and the seconds that it gives to what is under way.
_SLOW = """
import sys, time
from boxpromptiml.dataset import Dataset
from boxpromptiml.teachers import load_teacher
from boxpromptiml.web import WebSettings, WebState, create_app, listen, serve, server
from boxpromptiml.web.teacher_pool import TeacherPool

class Slow:
    def __init__(self): self.wrapped = load_teacher("grabcut")
    def __getattr__(self, name): return getattr(self.wrapped, name)
    def encode(self, image):
        print("begun", flush=True)
        time.sleep(3600)

server._GRACE_SECONDS = float(sys.argv[2])
settings = WebSettings(port=int(sys.argv[3]))
with Dataset.open(sys.argv[1]) as dataset, listen(settings) as listening:
    pool = TeacherPool(["grabcut"], lambda _: Slow())
    serve(create_app(WebState(dataset=dataset, settings=settings, teachers=pool)), settings, listening=listening)
"""


@pytest.mark.parametrize(("grace", "signals"), [(1, 1), (300, 2)])
@pytest.mark.parametrize("path", ["preview", "relabel"])
def test_what_is_computed_does_not_keep_it(
    tmp_path: Path, make_photos: Photos, fetch: Any, own_port: Callable[[], int], grace: float, signals: int, path: str
) -> None:
    pytest.importorskip("cv2")
    make_photos(tmp_path, 1)
    with Dataset.create(tmp_path) as dataset:
        dataset.put(ImageRecord("photo-000.jpg", 640, 480))
    port = own_port()
    command = [sys.executable, "-c", _SLOW, str(tmp_path), str(grace), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    body: dict[str, Any] = {"image": "photo-000.jpg", "boxes": [[10, 10, 200, 200]]}
    body |= {"version": 1} if path == "relabel" else {}
    answers: list[Any] = []
    address, data = f"http://127.0.0.1:{port}/api/{path}", json.dumps(body).encode()
    asking = threading.Thread(target=lambda: answers.append(fetch(address, data=data, content_type="application/json")))
    try:
        assert process.stdout.readline().startswith("http")
        asking.start()
        assert process.stdout.readline() == "begun\n"
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    asking.join(30)
    assert answers[0][0] == (503 if path == "relabel" else 200), answers


def test_new_images_are_found_when_it_is_started_again_on_the_same_port(
    tmp_path: Path, make_photos: Photos, live_server: Any, fetch: Any
) -> None:
    make_photos(tmp_path, 2)
    server = live_server(tmp_path, teacher="none")
    server.stop(signal.SIGKILL)
    make_photos(tmp_path, 4)
    server.restart()
    assert json.loads(fetch(server + "/api/session")[1])["images"] == 4


def test_what_was_saved_outlives_a_kill(tmp_path: Path, make_photos: Photos, live_server: Any, fetch: Any) -> None:
    make_photos(tmp_path, 1)
    server = live_server(tmp_path, teacher="none")
    body = {"version": 1, "boxes": [[10, 20, 110, 90]], "label": None, "add_seconds": 6.5}
    status, _ = fetch(
        server + "/api/record?image=photo-000.jpg",
        data=json.dumps(body).encode(),
        method="PUT",
        content_type="application/json",
    )
    assert status == 200
    server.stop(signal.SIGKILL)
    with Dataset.open(tmp_path) as dataset:
        record = dataset.get("photo-000.jpg")
    assert [list(box) for box in record.boxes] == [[10, 20, 110, 90]]
    assert (record.label, record.seconds) == ("tampered", 6.5)


def test_another_host_gets_a_token_and_the_page_works_with_it(
    tmp_path: Path, make_photos: Photos, live_server: Any, fetch: Any, page: Page
) -> None:
    make_photos(tmp_path, 1)
    server = live_server(tmp_path, host="0.0.0.0", teacher="none")
    port = server.rsplit(":", 1)[1]
    token = server.printed.split("?token=")[1]
    assert len(token) >= 32
    local = f"http://127.0.0.1:{port}"
    assert fetch(local + "/api/session")[0] == 401
    assert fetch(local + "/api/session", authorization=f"Bearer {token}")[0] == 200
    page.goto(f"{local}/?token={token}")
    assert page.evaluate("fetch('/api/session').then(answer => answer.status)") == 200
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["value"]) == (True, "Strict", token)
    page.goto(local)  # the cookie is enough from now on
    assert page.evaluate("fetch('/api/session').then(answer => answer.status)") == 200


def test_a_page_of_another_origin_gets_nothing(
    tmp_path: Path, make_photos: Photos, live_server: Any, page: Page, other_site: str
) -> None:
    make_photos(tmp_path, 1)
    server = live_server(tmp_path, teacher="none")
    page.goto(other_site)
    tries = {
        "read": "fetch(u + '/api/stats')",
        "blind": "new Promise((yes, no) => { const s = document.createElement('script'); s.onload = yes; "
        "s.onerror = no; s.src = u + '/static/js/main.js'; document.head.append(s) })",
        "write": "fetch(u + '/api/record?image=photo-000.jpg', {method: 'PUT', body: '{}', "
        "headers: {'content-type': 'application/json'}})",
        "picture": "new Promise((yes, no) => { const i = new Image(); i.onload = yes; i.onerror = no; "
        "i.src = u + '/api/picture?image=photo-000.jpg&size=thumb' })",
    }
    got = {
        name: page.evaluate(f"u => Promise.resolve().then(() => {code}).then(() => true, () => false)", str(server))
        for name, code in tries.items()
    }
    assert got == dict.fromkeys(tries, False)
    with page.expect_event("framenavigated", lambda frame: frame.url == "chrome-error://chromewebdata/"):
        page.evaluate(
            "u => { const f = document.createElement('iframe'); f.src = u + '/'; document.body.append(f) }", str(server)
        )
    with Dataset.open(tmp_path) as dataset:
        assert dataset.get("photo-000.jpg").version == 1


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>other</title>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other_site() -> Iterator[str]:
    """The address of another program's page on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
