"""A real service, as the command line starts it: signals, slow clients, a full house, workers that die."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.cli.main import main

pytestmark = pytest.mark.slow

Live = Callable[..., Any]
GET = b"GET %s HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


def post(service: Any, body: bytes, path: str = "/v1/localize", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*service.place, timeout=60)
    try:
        named = {"content-type": "image/jpeg"} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, named)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def head(size: int, path: str = "/v1/localize") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/jpeg\r\ncontent-length: {size}\r\n\r\n"
    ).encode()


def large_photo(side: int = 3000) -> bytes:
    """Takes a while to decode."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def slow_photo(side: int = 6000) -> bytes:
    """Small to send, and takes a while to decode."""
    rows = np.arange(side).astype(np.uint8)[:, None]
    stream = io.BytesIO()
    Image.fromarray(np.broadcast_to(rows, (side, side))).convert("RGB").save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def inside_images(service: Any) -> int:
    """Images that wait, are at work, or on their way out."""
    (value,) = re.findall(rb"^boxpromptiml_inside_images (\S+)$", service.raw(GET % b"/metrics"), re.MULTILINE)
    return int(float(value))


def requests_in(log: list[Any]) -> list[Any]:
    return [line for line in log if isinstance(line, dict) and line["event"] == "request"]


# --- logs and signals ----------------------------------------------------------------------------------------------


def test_one_json_line_a_request(live_service: Live, photo: bytes, wait_until: Callable[..., Any]) -> None:
    key = "a-key-of-16-or-more"
    service = live_service(api_key_env="MY_KEYS", environment={"MY_KEYS": key})
    assert post(service, photo, x_request_id="mine-1", authorization=f"Bearer {key}")[0] == 200
    assert post(service, photo, x_request_id="mine-2")[0] == 401
    first, second = wait_until(lambda: len(requests_in(service.log)) >= 2 and requests_in(service.log))
    assert first["request_id"] == "mine-1"
    assert (first["level"], first["method"], first["path"], first["status"]) == ("info", "POST", "/v1/localize", 200)
    assert (first["images"], first["bytes_in"], len(first["key"])) == (1, len(photo), 8)
    assert first["seconds"] > 0
    assert (second["request_id"], second["status"], second["level"]) == ("mine-2", 401, "info")
    assert "key" not in second
    assert service.stop() == 0
    assert key not in json.dumps(service.log)
    assert all(isinstance(line, dict) for line in service.log), service.log


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_finished(
    sign: int, live_service: Live, photo: bytes, wait_until: Callable[..., Any]
) -> None:
    service = live_service(threads=1)
    data = slow_photo()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(post(service, data))) for _ in range(3)]
    for thread in threads:
        thread.start()

    def all_are_there() -> bool:
        # In this order one that is answered meanwhile is missed, never counted twice.
        answered, inside = len(answers), inside_images(service)
        return inside > 0 and answered + inside == len(threads)

    wait_until(all_are_there)
    assert service.stop(sign) == 0
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in answers] == [200] * 3
    with pytest.raises(ConnectionRefusedError):
        post(service, photo)


def test_while_it_drains_it_works_but_is_not_ready(live_service: Live, photo: bytes) -> None:
    service = live_service(drain=1.5)
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert b'"stopping"' in service.raw(GET % b"/readyz")
    assert b"alive" in service.raw(GET % b"/healthz")
    assert post(service, photo)[0] == 200
    assert service.process.wait(30) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_cuts_draining_short(live_service: Live, workers: int) -> None:
    service = live_service(drain=600, workers=workers)
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    start = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - start < 20


# --- clients that ask in other ways ----------------------------------------------------------------------------------


def test_a_monitor_asks_with_head(live_service: Live, wait_until: Callable[..., Any]) -> None:
    service = live_service()
    for path in (b"/healthz", b"/readyz", b"/v1/model"):
        answer = service.raw((GET % path).replace(b"GET", b"HEAD"))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n")
    (line,) = wait_until(lambda: requests_in(service.log))
    assert (line["method"], line["path"], line["bytes_out"]) == ("HEAD", "/v1/model", 0)


def test_a_client_that_offers_http_2(live_service: Live, photo: bytes) -> None:
    """Java's does with every request; it is answered over HTTP/1.1."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    status, _, body = post(live_service(), photo, **offer)
    assert (status, json.loads(body)["verdict"]) == (200, "tampered")


# --- clients that behave badly ---------------------------------------------------------------------------------------


def test_what_is_no_request_is_said_and_the_next_one_answered(live_service: Live, photo: bytes) -> None:
    service = live_service()
    for data, status, words in (
        (b"hello\r\n\r\n", b"400", b"not an HTTP/1.1 request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50) + b"\r\n\r\n", b"400", b"not an HTTP/1.1 request"),
        (b"GET /" + b"a" * 200_000, b"431", b"headers have more than"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 50_000, b"431", b"headers have more than"),
        (b"POST /v1/localize HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n", b"400", b"not an HTTP/1.1 request"),
        (head(10**15) + b"x", b"413", b"more than 64 MB"),
        (b"GET /readyz HTTP/1.1\r\n\r\n", b"400", b"not an HTTP/1.1 request"),  # no Host header
        (b"GET /v1/model HTTP/1.1\r\nhost: evil.example\r\n\r\n", b"403", b"does not go by that name"),
    ):
        answer = service.raw(data)
        assert answer.startswith(b"HTTP/1.1 " + status), (data[:60], answer[:200])
        assert words in answer
        assert post(service, photo)[0] == 200


def test_headers_that_never_end(live_service: Live, monkeypatch: pytest.MonkeyPatch, photo: bytes) -> None:
    service = live_service()
    start = time.monotonic()
    answer = service.raw(b"GET /readyz HTTP/1.1\r\nx: y\r\n", seconds=40)
    assert b"408" in answer.split(b"\r\n")[0]
    assert b"the headers took longer than 10 s" in answer
    assert time.monotonic() - start < 30


def test_a_body_that_never_ends(live_service: Live) -> None:
    service = live_service(timeout=1)
    answer = service.raw(head(1000) + b"half", seconds=30)
    assert b"408" in answer.split(b"\r\n")[0]
    assert b"the body took longer than 1 s" in answer


def test_clients_that_go_away_leave_nothing_behind(
    live_service: Live, wait_until: Callable[..., Any], photo: bytes
) -> None:
    service = live_service(threads=1)
    data = large_photo()
    for _ in range(6):
        with socket.create_connection(service.place) as stream:
            stream.sendall(head(len(data)) + data)
            # Hang up as hard as one can, at once.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(service.place) as stream:
        stream.sendall(head(len(data)) + data[:1000])
    wait_until(lambda: inside_images(service) == 0, 60)
    wait_until(lambda: any(line["status"] == 499 for line in requests_in(service.log)))
    assert post(service, photo)[0] == 200
    assert service.stop() == 0
    assert not any(line.get("exception") for line in service.log if isinstance(line, dict)), service.log


def test_a_client_that_does_not_read_is_hung_up_on(live_service: Live, wait_until: Callable[..., Any]) -> None:
    service = live_service(timeout=3)
    data = large_photo(1500)
    with socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.connect(service.place)
        stream.sendall(head(len(data), "/v1/localize?output=overlay") + data)
        wait_until(lambda: inside_images(service) == 1)
        wait_until(lambda: inside_images(service) == 0, 30)


def test_a_storm_is_refused_and_survived(live_service: Live, photo: bytes) -> None:
    service = live_service(max_queue=4, threads=1)
    data = large_photo(1000)
    statuses: list[int] = []
    advice: list[str | None] = []

    def ask() -> None:
        for _ in range(3):
            status, headers, _ = post(service, data)
            statuses.append(status)
            advice.append(headers.get("retry-after"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}
    assert all((status == 429) == (given is not None) for status, given in zip(statuses, advice, strict=True))
    assert post(service, photo)[0] == 200


def test_headers_alone_take_no_place(live_service: Live, photo: bytes) -> None:
    service = live_service(max_queue=2)
    streams = [socket.create_connection(service.place) for _ in range(3)]
    try:
        for stream in streams:
            stream.sendall(head(len(photo)))
        time.sleep(0.3)
        assert post(service, photo)[0] == 200
    finally:
        for stream in streams:
            stream.close()


def test_too_many_connections_are_told_so(live_service: Live, photo: bytes, wait_until: Callable[..., Any]) -> None:
    service = live_service(max_connections=5)
    streams = [socket.create_connection(service.place) for _ in range(5)]
    try:
        answer = wait_until(lambda: service.raw(GET % b"/healthz"))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer
        assert b"too many connections" in answer
    finally:
        for stream in streams:
            stream.close()
    wait_until(lambda: b"200 OK" in service.raw(GET % b"/healthz"))


# --- workers -------------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced(live_service: Live, photo: bytes, wait_until: Callable[..., Any]) -> None:
    service = live_service(workers=2, threads=1)
    pids = wait_until(lambda: len(children(service.process.pid)) == 2 and children(service.process.pid), 60)
    wait_until(lambda: b"boxpromptiml_ready_workers 2.0" in service.raw(GET % b"/metrics"), 60)
    for _ in range(20):
        assert post(service, photo)[0] == 200
    text = service.raw(GET % b"/metrics")
    assert b'requests_total{route="/v1/localize",status="200"} 20.0' in text  # of both together
    os.kill(pids[0], signal.SIGKILL)
    new = wait_until(lambda: pids[0] not in (now := children(service.process.pid)) and len(now) == 2 and now, 60)
    assert pids[1] in new
    wait_until(lambda: b"boxpromptiml_ready_workers 2.0" in service.raw(GET % b"/metrics"), 60)
    for _ in range(10):
        assert post(service, photo)[0] == 200
    ended = [line for line in service.log if isinstance(line, dict) and line["event"] == "a worker ended"]
    assert [(line["pid"], line["exit_code"]) for line in ended] == [(pids[0], -9)]
    assert service.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in new)


def test_workers_are_told_to_stop_once(live_service: Live, wait_until: Callable[..., Any]) -> None:
    """Ctrl-C goes to a terminal's whole group, and then the parent tells them: twice told, none would drain."""
    service = live_service(workers=2, threads=1)
    pids = wait_until(lambda: len(children(service.process.pid)) == 2 and children(service.process.pid), 60)
    groups = wait_until(lambda: len(found := {os.getpgid(pid) for pid in pids} - {os.getpgid(0)}) == 2 and found, 60)

    assert os.getpgid(service.process.pid) not in groups


def test_workers_end_with_their_parent(live_service: Live, wait_until: Callable[..., Any]) -> None:
    service = live_service(workers=2, threads=1)
    pids = wait_until(lambda: len(children(service.process.pid)) == 2 and children(service.process.pid), 60)
    service.stop(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 60)


def children(pid: int) -> list[int]:
    """Workers of a process, not what watches over their shared resources."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


# --- starting ------------------------------------------------------------------------------------------------------


def broken(folder: Path, red_model: Path) -> Path:
    """A model whose network is damaged: what only loading finds out."""
    copy = folder / "broken"
    copy.mkdir()
    for file in red_model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "model.onnx").write_bytes(b"no network")
    return copy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere"], "nowhere: no such model folder"),
        (["--model", "RED", "--host", "0.0.0.0"], "host 0.0.0.0 can be reached by others"),
        (["--model", "RED", "--host", "no.such.host.invalid", "--public"], "no such name or address"),
        (["--model", "RED", "--api-key-env", "NOT_SET"], "--api-key-env NOT_SET"),
        (["--model", "RED", "--api-key-file", "nowhere"], "nowhere: No such file"),
        (["--model", "RED", "--threads", "2", "--inference-threads", "3"], "cannot have 3 threads of 2"),
        (["--model", "RED", "--body-memory-mb", "1"], "must hold the largest one"),
        (["--model", "RED", "--max-batch", "0"], "--max-batch"),
        (["--model", "RED", "--timeout", "inf"], "--timeout"),
        (
            ["--model", "RED", "--allow-host", "https://a.example"],
            "--allow-host https://a.example: give the name alone",
        ),
        (["--model", "RED", "--allow-host", "a.example:8000"], "--allow-host a.example:8000: give the name alone"),
        (["--model", "RED", "--allow-origin", "a.example"], "--allow-origin a.example: give scheme and name"),
    ],
)
def test_what_makes_no_sense_is_refused(
    red_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    named = [str(red_model) if word == "RED" else word for word in arguments]
    monkeypatch.setattr(sys, "argv", ["boxpromptiml", "serve", *named])
    with pytest.raises(SystemExit) as end:
        main()
    says_why(end.value.code, capsys.readouterr().err, words)


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("broken", [], "model.onnx: cannot be loaded"),
        ("broken", ["--workers", "2"], "model.onnx: cannot be loaded"),
        ("red", ["--runtime", "tensorrt"], "unknown runtime 'tensorrt'"),
    ],
)
def test_what_cannot_start_says_why(
    tmp_path: Path, red_model: Path, model: str, arguments: list[str], words: str
) -> None:
    # Found out by the server that is starting, which needs an event loop: a process of its own.
    folder = broken(tmp_path, red_model) if model == "broken" else red_model
    done = run_serve("--model", str(folder), *arguments)
    says_why(done.returncode, done.stderr, words)


def run_serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the service in a process of its own, and wait for its end."""
    command = [sys.executable, "-m", "boxpromptiml.cli.main", "serve", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def says_why(code: object, said: str, words: str) -> None:
    assert code == 2, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert "Traceback" not in said


def test_a_port_that_is_taken(live_service: Live, red_model: Path) -> None:
    service = live_service()
    done = run_serve("--model", str(red_model), "--port", str(service.place[1]))
    assert done.returncode == 2
    assert "is in use" in done.stderr
