"""HTTP/1.1 on real sockets: what is a request, where it ends, and in which order the answers go."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from boxpromptiml.serve.protocol import HEADER_BYTES, PatientProtocol

# What Java's client sends with every request that has no TLS, and curl with --http2.
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
WEBSOCKET = (
    b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HIDDEN = b"GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked; below ``/slow`` after a while, below ``/unread`` without reading the body."""
    body, more = b"", not scope["path"].startswith("/unread")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    if scope["path"].startswith("/slow"):
        await asyncio.sleep(0.3)
    said = json.dumps({"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1")}).encode()
    length = (b"content-length", str(len(said)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    said: Any


class Client:
    """One connection to the server."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place
        self._socket = socket.create_connection(place, timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader: BinaryIO = self._socket.makefile("rb")

    def send(self, *pieces: bytes) -> Client:
        """Send bytes; each piece comes by itself."""
        for place, piece in enumerate(pieces):
            if place:
                time.sleep(0.05)
            self._socket.sendall(piece)
        return self

    def line(self) -> bytes:
        return self._reader.readline()

    def answer(self) -> Answer:
        """The next answer."""
        status = int(self.line().split()[1])
        headers = http.client.parse_headers(self._reader)
        return Answer(status, headers, json.loads(self._reader.read(int(headers["content-length"]))))

    def nothing_more(self) -> bool:
        """Whether the server has hung up without another word."""
        try:
            return self._reader.read() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


Connect = Callable[[], Client]


@contextmanager
def serving(**limits: Any) -> Iterator[Connect]:
    """A server in a thread; yields a function that connects to it."""
    protocol = partial(
        PatientProtocol, **{"max_connections": 100, "header_seconds": 20.0, "stall_seconds": 20.0} | limits
    )
    config = uvicorn.Config(
        echo, host="127.0.0.1", port=0, lifespan="off", http=protocol, ws="none", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    clients: list[Client] = []

    def connect() -> Client:
        clients.append(Client(listening.getsockname()))
        return clients[-1]

    try:
        yield connect
    finally:
        for client in clients:
            client.close()
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def connect() -> Iterator[Connect]:
    with serving() as connected:
        yield connected


def post(body: bytes, extra: bytes = b"", path: bytes = b"/") -> bytes:
    return b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%s\r\n%s" % (path, len(body), extra, body)


def chunked(body: bytes, extra: bytes = b"") -> bytes:
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n%s\r\n%s" % (extra, framed)


# --- offers of another protocol: answered over HTTP/1.1, body and all ------------------------------------------------


@pytest.mark.parametrize(
    "offer", [H2C, WEBSOCKET, H2C.title(), b"Upgrade: a, b\r\nupgrade: c\r\nConnection: upgrade\r\n"]
)
@pytest.mark.parametrize("request_of", [post, chunked])
def test_a_request_that_offers_another_protocol(
    connect: Connect, request_of: Callable[[bytes, bytes], bytes], offer: bytes
) -> None:
    whole = request_of(b"all of it", offer)
    head, body = whole.split(b"\r\n\r\n", 1)
    everywhere = [whole[:50], whole[50:100], whole[100:]]
    for pieces in ([whole], [head + b"\r\n\r\n", body], [head + b"\r\n\r\n" + body[:3], body[3:]], everywhere):
        client = connect().send(*pieces)
        assert client.answer().said == {"method": "POST", "path": "/", "body": "all of it"}
        # The connection goes on as any other.
        assert client.send(post(b"next")).answer().said["body"] == "next"


def test_without_a_body(connect: Connect) -> None:
    client = connect().send(b"GET /a HTTP/1.1\r\nhost: a\r\n" + H2C + b"\r\n")
    assert client.answer().said == {"method": "GET", "path": "/a", "body": ""}
    client.send(b"GET /b HTTP/1.1\r\nhost: a\r\n" + WEBSOCKET + b"\r\n")
    assert client.answer().said["path"] == "/b"


def test_many_in_one_piece(connect: Connect) -> None:
    client = connect().send(post(b"1", H2C) + post(b"2") + chunked(b"3", H2C) + post(b"4", H2C) + chunked(b"5"))
    assert [client.answer().said["body"] for _ in range(5)] == ["1", "2", "3", "4", "5"]


def test_a_large_body(connect: Connect) -> None:
    body = b"0123456789" * 300_000
    assert connect().send(post(body, H2C)).answer().said["body"] == body.decode()


def test_a_body_that_waits_to_be_asked_for(connect: Connect) -> None:
    head, body = post(b"all of it", H2C + b"expect: 100-continue\r\n").split(b"\r\n\r\n")
    client = connect().send(head + b"\r\n\r\n")
    assert (client.line(), client.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
    assert client.send(body).answer().said["body"] == "all of it"


def test_a_body_is_no_request(connect: Connect) -> None:
    client = connect().send(post(HIDDEN, H2C), post(HIDDEN, WEBSOCKET + b"connection: close\r\n") + HIDDEN)
    assert [client.answer().said["body"] for _ in range(2)] == [HIDDEN.decode()] * 2
    assert client.nothing_more()


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: 3\r\ncontent-length: 3\r\n",
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: identity\r\n",
        b"content-length: +3\r\n",
        b"content-length : 3\r\n",
        b"x: y\r\n content-length: 3\r\n",
    ],
)
@pytest.mark.parametrize("offer", [b"", H2C])
def test_lengths_that_contradict_each_other_are_refused(connect: Connect, lengths: bytes, offer: bytes) -> None:
    client = connect().send(b"POST / HTTP/1.1\r\nhost: a\r\n" + offer + lengths + b"\r\n" + HIDDEN)
    assert client.answer().status == 400
    assert client.nothing_more()


@pytest.mark.parametrize("place", [b"a:80", b"http://a/"])
def test_nothing_is_tunnelled(connect: Connect, place: bytes) -> None:
    client = connect().send(b"CONNECT " + place + b" HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n" + HIDDEN)
    assert client.answer().status == 400
    assert client.nothing_more()


def test_headers_stay_limited(connect: Connect) -> None:
    client = connect().send(post(b"", H2C + b"x: " + b"y" * HEADER_BYTES + b"\r\n"))
    assert client.answer().status == 431
    assert client.nothing_more()


def test_curl_with_http2(connect: Connect, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None or b"HTTP2" not in subprocess.run([curl, "--version"], capture_output=True).stdout:
        pytest.skip("no curl that speaks HTTP/2")
    (tmp_path / "body").write_bytes(b"0123456789" * 10_000)
    host, port = connect().place
    url = f"http://{host}:{port}/"
    command = [curl, "--silent", "--noproxy", "*", "--http2", "--data-binary", f"@{tmp_path / 'body'}", url, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("0123456789") == 20_000


# --- where headers begin, and whose answer is whose -----------------------------------------------------------------


def test_a_body_does_not_count_as_the_next_headers(connect: Connect) -> None:
    large = b"x" * 43_000
    client = connect().send(post(large) + b"POST / HTTP/1.1\r\nho", b"st: a\r\ncontent-length: 4\r\n\r\nnext")
    assert [len(client.answer().said["body"]) for _ in range(2)] == [43_000, 4]


def test_headers_without_end_after_a_body(connect: Connect) -> None:
    client = connect().send(post(b"x" * 10_000) + b"GET / HTTP/1.1\r\nx: ", b"y" * HEADER_BYTES, b"y")
    assert client.answer().status == 200
    assert client.answer().status == 431
    assert client.nothing_more()


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET /no-host HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * HEADER_BYTES + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n" + H2C + b"\r\nno length\r\n", 400),
    ],
)
def test_a_refusal_waits_for_its_turn(connect: Connect, broken: bytes, status: int) -> None:
    for pieces in ([post(b"1", path=b"/slow") + post(b"2") + broken + HIDDEN], [post(b"1", path=b"/slow"), broken]):
        client = connect().send(*pieces)
        before = [client.answer() for _ in range(b"".join(pieces).count(b"content-length: 1\r\n"))]
        assert [answer.said["body"] for answer in before] == ["1", "2"][: len(before)]
        refusal = client.answer()
        assert (refusal.status, refusal.headers["connection"]) == (status, "close")
        assert client.nothing_more()


def test_headers_that_never_end_wait_for_their_turn() -> None:
    with serving(header_seconds=0.1) as connect:
        client = connect().send(post(b"1", path=b"/slow") + b"GET / HTTP/1.1\r\nx: y\r\n")
        assert [client.answer().status for _ in range(2)] == [200, 408]
        assert client.nothing_more()


def test_each_request_has_its_own_time_for_headers() -> None:
    half, rest = b"GET / HTTP/1.1\r\nho", b"st: a\r\n\r\n"
    with serving(header_seconds=1.0) as connect:
        client = connect().send(half, *[rest + half] * 30, rest)
        assert [client.answer().status for _ in range(31)] == [200] * 31


def test_a_body_that_breaks_is_answered_once(connect: Connect) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    client = connect().send(head % b"/", b"no length\r\n")
    assert client.answer().status == 400
    assert client.nothing_more()
    client = connect().send(head % b"/unread", b"no length\r\n")
    assert client.answer().status == 200  # it has had its answer
    assert client.nothing_more()
