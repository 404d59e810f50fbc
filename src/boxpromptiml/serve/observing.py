"""Around everything: an id, a line in the log and the figures of each request, whatever becomes of it."""

from __future__ import annotations

import random
import re
import time

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boxpromptiml.http.headers import request_headers, set_headers
from boxpromptiml.serve.admission import Admission
from boxpromptiml.serve.logs import log_request
from boxpromptiml.serve.metrics import Metrics

_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# Asked for every few seconds by machines: counted, but not worth a line where all is well.
_QUIET = ("/healthz", "/readyz", "/metrics")
LOCALIZE = "/v1/localize"
_ROUTES = (LOCALIZE, "/v1/model", "/openapi.json", *_QUIET)

FIELDS = "boxpromptiml.fields"
"""Key of a request's scope: what its line in the log says beside the usual."""
VISIT = "boxpromptiml.visit"
"""Key of a request's scope: what it holds of the service's room, until its answer has gone."""


def is_localize(scope: Scope) -> bool:
    """Whether a request brings photos."""
    return bool(scope["path"] == LOCALIZE and scope["method"] == "POST")


class Observer:
    """Gives every request an id, counts and times it, and writes its line once the answer has gone.

    The id is the client's ``X-Request-ID`` where that is sound, and goes back in the answer. Lines never hold content
    of images or keys.

    Args:
        app: what is observed.
        metrics: where it is counted.
        admission: the room that requests share.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics
        self._counters: dict[tuple[str, int], Counter] = {}
        self._seconds = {route: metrics.seconds.labels(route) for route in (*_ROUTES, "other")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        given = request_headers(scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        fields = scope[FIELDS] = {"request_id": request_id}
        status, received, sent = 0, 0, 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                set_headers(message, ((b"x-request-id", request_id.encode("ascii")),))
            elif scope["method"] != "HEAD":
                sent += len(message.get("body", b""))
            await send(message)

        self._metrics.in_flight.inc()
        try:
            with self._admission.visit() as scope[VISIT]:
                await self._app(scope, receive_counted, send_counted)
        finally:
            seconds = time.perf_counter() - start
            path = scope["path"]
            route = path if path in _ROUTES else "other"
            self._metrics.in_flight.dec()
            self._count(route, status).inc()
            self._seconds[route].observe(seconds)
            level = 40 if status >= 500 and status not in (503, 504) else 30 if status >= 429 or status == 0 else 20
            if route not in _QUIET:
                client = scope.get("client")
                line = {
                    "method": scope["method"],
                    "path": path,
                    "status": status,
                    "seconds": round(seconds, 4),
                    "bytes_in": received,
                    "bytes_out": sent,
                    "client": client[0] if client else None,
                    **fields,
                }
                log_request(level, line)

    def _count(self, route: str, status: int) -> Counter:
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._metrics.requests.labels(route, str(status))
        return counter
