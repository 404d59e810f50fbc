"""Headers of a request, looked up many times, and those of an answer, set by several layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Scope

Pair = tuple[bytes, bytes]

_KEY = "boxpromptiml.headers"


class RequestHeaders(Headers):
    """Headers that are looked up by a dictionary: the first of a name counts, as it does in starlette's own."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a header by its name in lower case."""
        return self._first.get(key, default)


def request_headers(scope: Scope) -> RequestHeaders:
    """The headers of a request; taken apart once, whoever asks."""
    headers = scope.get(_KEY)
    if headers is None:
        headers = scope[_KEY] = RequestHeaders(scope)
    assert isinstance(headers, RequestHeaders)
    return headers


def set_headers(message: Message, pairs: Iterable[Pair], defaults: Iterable[Pair] = ()) -> None:
    """Set headers, names in lower case, of the start of an answer; `defaults` where it has none of that name."""
    given = dict(pairs)
    headers = [pair for pair in message.get("headers", ()) if pair[0] not in given]
    present = {name for name, _ in headers}
    headers += [pair for pair in defaults if pair[0] not in present]
    message["headers"] = headers + list(given.items())
