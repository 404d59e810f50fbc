"""HTTP/1.1 with patience that ends: clients that send or read too slowly, or not at all, are hung up on.

uvicorn limits the time between requests only. Within one, `Service.localize` limits the body's; here are the headers'
and the answer's. The parser is llhttp (httptools): the one in Python costs a twentieth of what a small network does.

Offers of another protocol (``Upgrade: h2c`` of Java's client, WebSocket) are not taken up: such a request is answered
as any other, over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES = 32 * 1024
"""Of the request line and all headers."""

_CLOSING_SECONDS = 5.0
_HEADER_OVERHEAD = 4  # ": " and the end of the line


class PatientProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        max_connections: at once; what comes beyond is told so, and closed.
        header_seconds: that the headers of a request may take.
        stall_seconds: for which a client may read nothing of an answer that waits for it.
        arguments: of uvicorn.
    """

    def __init__(
        self, *arguments: Any, max_connections: int, header_seconds: float, stall_seconds: float, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._max_connections = max_connections
        self._header_seconds = header_seconds
        self._stall_seconds = stall_seconds
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0  # of headers that are not complete
        self._in_headers = False
        self._in_body = False
        self._ended_here = False  # whether a request ended in what came last
        self._unanswered = 0
        self._refusal: bytes | None = None  # to be said once those before it are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; the first request may be waited for as long as the next ones."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._say(503, "Service Unavailable", "too many connections; try again later", "retry-after: 1\r\n")
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._unset_keepalive_if_required()
        self._set_header_timer(False)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and limit the time of headers that are not complete and of bodies that nobody wants."""
        if self._is_over():
            return
        self._unset_keepalive_if_required()
        self._ended_here = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if not self._is_over():  # or it has been answered already, from within the parser
                self.logger.warning("Invalid HTTP request received.")
                self._refuse()
        if self._is_over():
            return
        # How much is headers, of what also ends another request, is not known: the next piece will tell.
        if self._in_headers and not self._ended_here:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > HEADER_BYTES:
                self._refuse_headers()
                return
        unfinished = self._in_headers or self.cycle is None or self.cycle.response_complete
        # Whole requests leave the timer between requests behind, which has nothing to do with this one.
        self._set_header_timer(unfinished and self.timeout_keep_alive_task is None)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._set_header_timer(False)  # of the one before
        self._in_headers, self._waiting_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin with a request, unless its headers are too large, or do not say for whom it is."""
        if self._is_over():
            return
        tunnel = self.parser.get_method() == b"CONNECT"
        if self.parser.should_upgrade() and not tunnel:
            return  # to `_begin_again`
        self._in_headers = False
        size, hosts = len(self.url), 0
        for name, value in self.headers:
            size += len(name) + len(value) + _HEADER_OVERHEAD
            hosts += name == b"host"
        if size > HEADER_BYTES:
            self._refuse_headers()
        elif tunnel or (hosts != 1 and (hosts or self.parser.get_http_version() == "1.1")):
            self._refuse()
        else:
            super().on_headers_complete()
            self._in_body = True
            self._unanswered += 1

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request; of its headers, where it offers another protocol."""
        if not self._is_over() and not self.parser.should_upgrade():
            self._in_body, self._ended_here = False, True
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer."""
        self._unanswered -= 1
        super().on_response_complete()
        self._say_refusal()

    def pause_writing(self) -> None:
        """The client does not read: give it some time."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without requests, even if its client never reads what is left of an answer."""
        self._hang_up()

    def _is_over(self) -> bool:
        """Whether nothing of what still comes is read."""
        return self._refusal is not None or self.transport.is_closing()

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as end:  # of headers that offer another protocol
                if self._is_over():
                    return
                rest = rest[end.args[0] :]
                self._begin_again()

    def _begin_again(self) -> None:
        """Read headers once more, without what offers another protocol, as a proxy would hand them on.

        A server may ignore the offer (RFC 9110, 7.8), but then has a body to read, which llhttp leaves to the other
        protocol. What bounds the body is llhttp's to say, now as ever.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.parser.feed_data(b"\r\n".join([method + b" " + self.url + b" HTTP/" + version, *kept, b"", b""]))

    def _set_header_timer(self, wanted: bool) -> None:
        if wanted and self._header_timer is None:
            self._header_timer = self.loop.call_later(self._header_seconds, self._too_slow)
        elif not wanted and self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        if not self._in_body:
            self._say(408, "Request Timeout", f"the headers took longer than {self._header_seconds:g} s")
        else:
            self.transport.abort()

    def _refuse(self) -> None:
        """Answer what is no HTTP, in JSON as all other errors."""
        if self._in_body and not self._withdraw():
            self._hang_up()
        else:
            self._say(400, "Bad Request", "this is not an HTTP/1.1 request")

    def _withdraw(self) -> bool:
        """Take back the request whose body is broken; returns whether it is still without an answer."""
        if self.pipeline:  # others come before it
            self.pipeline.popleft()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                return False
        self._unanswered -= 1
        return True

    def _refuse_headers(self) -> None:
        limit = f"the request line and headers have more than {HEADER_BYTES // 1024} kB"
        self._say(431, "Request Header Fields Too Large", limit)

    def _say(self, status: int, reason: str, message: str, headers: str = "") -> None:
        """Refuse what is no request, or not yet one, and hang up."""
        body = json.dumps({"error": message}).encode()
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self._refusal = f"{head}connection: close\r\n{headers}\r\n".encode() + body
        self._set_header_timer(False)
        self._say_refusal()

    def _say_refusal(self) -> None:
        # A client takes answers in the order of its requests: this one is the last.
        if self._refusal is not None and not self._unanswered and not self.transport.is_closing():
            self.transport.write(self._refusal)
            self._hang_up()

    def _hang_up(self) -> None:
        self.transport.close()
        self.loop.call_later(_CLOSING_SECONDS, self.transport.abort)
