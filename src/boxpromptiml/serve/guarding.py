"""Who may ask the service."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from boxpromptiml.http.errors import HttpError
from boxpromptiml.http.guard import Guard, authorization
from boxpromptiml.serve.observing import FIELDS, is_localize
from boxpromptiml.serve.settings import ServeSettings

# Asked by machines that look after this one, which have no keys and learn nothing.
_OPEN = ("/healthz", "/readyz")


class KeyGuard(Guard):
    """Answers those who have a key, where the settings have any.

    With keys any Host header will do: a page that pretends to be this server has none of them, and no browser sends
    one by itself.

    Args:
        app: what is guarded.
        settings: of the server.
    """

    headers: Mapping[str, str] = {"x-content-type-options": "nosniff"}

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        super().__init__(
            app,
            settings,
            json_bytes=settings.max_upload_bytes,
            check_host=settings.keys is None and not settings.public,
        )
        self._keys = settings.keys

    async def forward(self, limited: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; `read_upload` counts the body of photos itself."""
        await (self._app if is_localize(scope) else limited)(scope, receive, send)

    def admit(self, scope: Scope, headers: Headers) -> str | None:
        """Refuse requests without a key; the log is told by which one it came."""
        if self._keys is None or scope["path"] in _OPEN:
            return None
        for given in (*headers.getlist("x-api-key"), *authorization(headers)):
            name = self._keys.name(given)
            if name is not None:
                scope[FIELDS]["key"] = name
                return None
        raise HttpError(
            401, "the API key is missing or wrong; send it as  Authorization: Bearer KEY  or  X-API-Key: KEY"
        )
