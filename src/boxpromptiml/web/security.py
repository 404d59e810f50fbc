"""Who may ask, from which page, and how much a request may carry; what browsers may do with the answers.

What attacks a server on one's own machine are other web pages, open in the same browser: by asking directly (cross-site
requests), or by pretending to be it (DNS rebinding: their own name, made to point at 127.0.0.1). Every request is
checked here, before any route sees it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import re
import socket
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boxpromptiml.web.errors import HttpError, error_response
from boxpromptiml.web.settings import WebSettings

# Bodies that are not files: a record with ten thousand boxes has half a megabyte.
JSON_BYTES = 8 * 2**20
_FILES = ("image/", "application/octet-stream", "multipart/form-data")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

_HEADERS = {
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

_log = logging.getLogger("boxpromptiml.web")


def secure(app: FastAPI, settings: WebSettings, *, json_bytes: int = JSON_BYTES) -> None:
    """Put a `Guard` around an app."""
    app.add_middleware(Guard, settings=settings, json_bytes=json_bytes)


class Guard:
    """Checks every request of an ASGI app and puts the security headers on every answer, errors included.

    In this order: the Host header (403), the token (401), where the request comes from (403), the size of its body
    (413, while it streams in). Nothing speaks WebSocket. What fails in the app is logged and answered with 500.

    Args:
        app: what is guarded.
        settings: of the server.
        json_bytes: of bodies that are not files.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings, *, json_bytes: int = JSON_BYTES) -> None:
        self._app = app
        self._settings = settings
        self._hosts = _host_names(settings)
        # Two servers on one machine share a browser's cookies, which do not know of ports.
        self._cookie = "boxpromptiml_" + hashlib.sha256((settings.token or "").encode()).hexdigest()[:8]
        self._small = RequestBodyLimitMiddleware(app, max_body_size=min(json_bytes, settings.max_upload_bytes))
        self._large = RequestBodyLimitMiddleware(app, max_body_size=settings.max_upload_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limited = self._large if headers.get("content-type", "").lower().startswith(_FILES) else self._small
        new_cookie, started = False, False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _complete(MutableHeaders(scope=message), scope, self._cookie_header(scope) if new_cookie else None)
            await send(message)

        try:
            self._check_host(headers)
            new_cookie = self._check_token(scope, headers)
            self._check_origin(scope, headers)
            _check_length(headers, limited.max_body_size)
            await limited(scope, receive, send_guarded)
        except HttpError as error:
            # What is left of the body is not read: the connection cannot be used again.
            closing = {"connection": "close"}
            if error.status == 401:
                closing["www-authenticate"] = "Bearer"
            await error_response(error.status, str(error), headers=closing)(scope, receive, send_guarded)
        except Exception:
            # The cause is for the log alone: it may name files that are nobody's business.
            _log.exception("%s %r failed", scope["method"], scope["path"])
            if started:
                raise
            await error_response(500, "the server failed; its own output says why")(scope, receive, send_guarded)

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not this server's: a page of another name would read its answers as its own.

        Not starlette's TrustedHostMiddleware: it knows names only, and a server that listens on all addresses is asked
        for by addresses that it does not know beforehand. An address cannot be rebound, so any is good there.
        """
        match = _HOST.fullmatch(headers.get("host", ""))
        if match is not None:
            if match["name"] is not None and match["name"].lower().rstrip(".") in self._hosts:
                return
            address = _address(match["v6"] or match["name"])
            if address is not None and (str(address) in self._hosts or self._hosts_are_open):
                return
        raise HttpError(403, "this server does not go by that name; --allow-host NAME adds one")

    @property
    def _hosts_are_open(self) -> bool:
        return _is_wildcard(self._settings.host)

    def _check_token(self, scope: Scope, headers: Headers) -> bool:
        """Refuse requests without the token. Returns whether it came with the address and shall become a cookie."""
        if self._settings.token is None:
            return False
        cookie = HTTPConnection(scope).cookies.get(self._cookie)
        if any(self._is_token(given) for given in (cookie, *_authorization(headers))):
            return False
        # In addresses only where a person opens one: they stay in histories and logs.
        if scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            given = QueryParams(scope["query_string"].decode("latin-1")).get("token")
            if self._is_token(given):
                return True
        raise HttpError(401, "the token is missing or wrong; open the address that the server printed when it started")

    def _is_token(self, given: str | None) -> bool:
        token = self._settings.token
        return given is not None and token is not None and hmac.compare_digest(given.encode(), token.encode())

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse what another site's page asks for: changes of any kind, and reading all but opening the page itself.

        Programs that are no browsers send neither header; nobody can make them ask against their will.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin in self._settings.origins:
            return
        if scope["method"] not in _SAFE_METHODS and origin is not None and not _same_origin(origin, headers["host"]):
            raise HttpError(403, "pages of another origin may not change anything here")
        if site in (None, "same-origin", "none"):
            return
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if not (opened and scope["method"] == "GET" and scope["path"] == "/"):
            raise HttpError(403, "pages of another site may not ask for anything here")

    def _cookie_header(self, scope: Scope) -> str:
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        return f"{self._cookie}={self._settings.token}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _complete(headers: MutableHeaders, scope: Scope, cookie: str | None) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    # Files of the page are asked for again, and mostly not sent again, so that an update shows.
    headers.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
    if cookie is not None:
        headers.append("set-cookie", cookie)


def _check_length(headers: Headers, limit: int) -> None:
    # Before anything is read. A body without a length, or with more than it says, is stopped by the middleware.
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise HttpError(413, f"more than {limit / 1e6:.3g} MB in one request")


def _host_names(settings: WebSettings) -> frozenset[str]:
    names = {*_LOOPBACK, *settings.allowed_hosts}
    if _is_wildcard(settings.host):
        names.add(socket.gethostname())
    else:
        names.add(settings.host.strip("[]"))
    return frozenset(name.lower().rstrip(".") for name in names)


def _is_wildcard(host: str) -> bool:
    address = _address(host.strip("[]"))
    return address is not None and address.is_unspecified


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _same_origin(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _authorization(headers: Headers) -> tuple[str, ...]:
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
