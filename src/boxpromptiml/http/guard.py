"""Who may ask, from which page, and how much a request may carry; what browsers may do with the answers.

What attacks a server on one's own machine are other web pages, open in the same browser: by asking directly (cross-site
requests), or by pretending to be it (DNS rebinding: their own name, made to point at 127.0.0.1). Every request is
checked here, before any route sees it.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boxpromptiml.http.errors import HttpError, error_response
from boxpromptiml.http.headers import request_headers, set_headers
from boxpromptiml.http.settings import HttpSettings, address_of

# Bodies that are not files: a record with ten thousand boxes has half a megabyte.
JSON_BYTES = 8 * 2**20
_FILES = ("image/", "application/octet-stream", "multipart/form-data")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_FRESH = ((b"cache-control", b"no-cache"),)
_UNKEPT = ((b"cache-control", b"no-store"),)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_log = logging.getLogger("boxpromptiml.http")


class Guard:
    """Checks every request of an ASGI app and puts the security headers on every answer, errors included.

    In this order: the Host header (403), whether the client is known (401, see `admit`), where the request comes from
    (403), the size of its body (413, while it streams in). Nothing speaks WebSocket. What fails in the app is logged
    and answered with 500.

    Args:
        app: what is guarded.
        settings: of the server.
        json_bytes: of bodies that are not files.
        check_host: whether only the server's own names are answered; without that, `admit` has to keep strangers out.
    """

    headers: Mapping[str, str] = PAGE_HEADERS
    """Put on every answer."""

    def __init__(
        self, app: ASGIApp, settings: HttpSettings, *, json_bytes: int = JSON_BYTES, check_host: bool = True
    ) -> None:
        self._app = app
        self._settings = settings
        self._own = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        self._hosts = _host_names(settings) if check_host else None
        self._small = RequestBodyLimitMiddleware(app, max_body_size=min(json_bytes, settings.max_upload_bytes))
        self._large = RequestBodyLimitMiddleware(app, max_body_size=settings.max_upload_bytes)

    def admit(self, scope: Scope, headers: Headers) -> str | None:
        """Let a request pass; returns a Set-Cookie header for its answer, or None.

        Raises:
            HttpError: 401 for a client that is not known.
        """
        return None

    async def forward(self, limited: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request that may pass on to the app; `limited` is the app with a limit on the body."""
        await limited(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = request_headers(scope)
        limited = self._large if headers.get("content-type", "").lower().startswith(_FILES) else self._small
        cookie: str | None = None
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._complete(message, scope, cookie)
            await send(message)

        try:
            self._check_host(headers)
            cookie = self.admit(scope, headers)
            self._check_origin(scope, headers)
            _check_length(headers, limited.max_body_size)
            await self.forward(limited, scope, receive, send_guarded)
        except HttpError as error:
            # What is left of the body is not read: the connection cannot be used again.
            closing = {**error.headers, "connection": "close"}
            if error.status == 401:
                closing["www-authenticate"] = "Bearer"
            await error_response(error.status, str(error), headers=closing)(scope, receive, send_guarded)
        except Exception:
            # The cause is for the log alone: it may name files that are nobody's business.
            _log.exception("%s %r failed", scope["method"], scope["path"])
            if started:
                raise
            await error_response(500, "the server failed; its own output says why")(scope, receive, send_guarded)

    def _complete(self, message: Message, scope: Scope, cookie: str | None) -> None:
        # Files of the page are asked for again, and mostly not sent again, so that an update shows.
        set_headers(message, self._own, _FRESH if scope["path"].startswith("/static/") else _UNKEPT)
        if cookie is not None:
            message["headers"].append((b"set-cookie", cookie.encode("latin-1")))

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not this server's: a page of another name would read its answers as its own.

        Not starlette's TrustedHostMiddleware: it knows names only, and a server that listens on all addresses is asked
        for by addresses that it does not know beforehand. An address cannot be rebound, so any is good there.
        """
        if self._hosts is None:
            return
        match = _HOST.fullmatch(headers.get("host", ""))
        if match is not None:
            if match["name"] is not None and match["name"].lower().rstrip(".") in self._hosts:
                return
            address = address_of(match["v6"] or match["name"])
            if address is not None and (str(address) in self._hosts or self._hosts_are_open):
                return
        raise HttpError(403, "this server does not go by that name; --allow-host NAME adds one")

    @property
    def _hosts_are_open(self) -> bool:
        return _is_wildcard(self._settings.host)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse what another site's page asks for: changes of any kind, and reading all but opening the page itself.

        Programs that are no browsers send neither header; nobody can make them ask against their will.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin in self._settings.origins:
            return
        if (
            scope["method"] not in _SAFE_METHODS
            and origin is not None
            and not _same_origin(origin, headers.get("host", ""))
        ):
            raise HttpError(403, "pages of another origin may not change anything here")
        if site in (None, "same-origin", "none"):
            return
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if not (opened and scope["method"] == "GET" and scope["path"] == "/"):
            raise HttpError(403, "pages of another site may not ask for anything here")


def _check_length(headers: Headers, limit: int) -> None:
    # Before anything is read. A body without a length, or with more than it says, is stopped by the middleware.
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        kind = headers.get("content-type", "none")
        hint = (
            ""
            if kind.lower().startswith(_FILES)
            else f"; for a photo, say so (content type image/jpeg, not {kind[:80]})"
        )
        raise HttpError(413, f"more than {limit / 1e6:.3g} MB in one request{hint}")


def _host_names(settings: HttpSettings) -> frozenset[str]:
    names = {*_LOOPBACK, *settings.allowed_hosts}
    if _is_wildcard(settings.host):
        names.add(socket.gethostname())
    else:
        names.add(settings.host.strip("[]"))
    return frozenset(name.lower().rstrip(".") for name in names)


def _is_wildcard(host: str) -> bool:
    address = address_of(host)
    return address is not None and address.is_unspecified


def _same_origin(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def authorization(headers: Headers) -> tuple[str, ...]:
    """What an Authorization header carries: a bearer token, or the password of a program that knows passwords only."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return (value.strip(),)
    if scheme.lower() == "basic":
        try:
            return (base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2],)
        except (binascii.Error, UnicodeDecodeError):
            return ()
    return ()
