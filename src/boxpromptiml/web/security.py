"""The token of a page's server: in an Authorization header, in a cookie, once in the address that a person opens.

Everything else that is checked is in `boxpromptiml.http.guard`.
"""

from __future__ import annotations

import hashlib
import hmac

from fastapi import FastAPI
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Scope

from boxpromptiml.http.errors import HttpError
from boxpromptiml.http.guard import JSON_BYTES, Guard, authorization
from boxpromptiml.web.settings import WebSettings


def secure(app: FastAPI, settings: WebSettings, *, json_bytes: int = JSON_BYTES) -> None:
    """Put a `TokenGuard` around an app."""
    app.add_middleware(TokenGuard, settings=settings, json_bytes=json_bytes)


class TokenGuard(Guard):
    """Answers those who have the token, where the settings have one.

    Args:
        app: what is guarded.
        settings: of the server.
        json_bytes: of bodies that are not files.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings, *, json_bytes: int = JSON_BYTES) -> None:
        super().__init__(app, settings, json_bytes=json_bytes)
        self._token = settings.token
        # Two servers on one machine share a browser's cookies, which do not know of ports.
        self._cookie = "boxpromptiml_" + hashlib.sha256((settings.token or "").encode()).hexdigest()[:8]

    def admit(self, scope: Scope, headers: Headers) -> str | None:
        """Refuse requests without the token. Returns a cookie with it where it came with the address."""
        if self._token is None:
            return None
        cookie = HTTPConnection(scope).cookies.get(self._cookie)
        if any(self._is_token(given) for given in (cookie, *authorization(headers))):
            return None
        # In addresses only where a person opens one: they stay in histories and logs.
        if scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            given = QueryParams(scope["query_string"].decode("latin-1")).get("token")
            if self._is_token(given):
                return self._cookie_header(scope)
        raise HttpError(401, "the token is missing or wrong; open the address that the server printed when it started")

    def _is_token(self, given: str | None) -> bool:
        return (
            given is not None and self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())
        )

    def _cookie_header(self, scope: Scope) -> str:
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        return f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
