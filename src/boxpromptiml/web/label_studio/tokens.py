"""API keys of Label Studio: legacy tokens, and personal access tokens that are exchanged for short-lived ones."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from typing import Any, Protocol

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import HttpError

_REFRESH_PATH = "/api/token/refresh/"
# A token that ends this soon is not used any more: clocks differ, images take time.
_MARGIN_SECONDS = 30.0


class LabelStudioApi(Protocol):
    """What posts to Label Studio; see `Fetcher`."""

    def post_to_label_studio(self, path: str, body: dict[str, str]) -> Any:
        """The JSON that Label Studio answers."""
        ...


class Token:
    """What proves to Label Studio who asks. For many threads at once.

    A *personal access token* is a JSON web token of type ``refresh``: it is not sent with requests but exchanged for
    one that lives some minutes, as Label Studio's SDK does. A *legacy token* is sent as it is.

    Args:
        key: as Label Studio shows it to the user.

    Raises:
        BoxPromptError: a key with characters that no header can carry.
    """

    def __init__(self, key: str) -> None:
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise BoxPromptError("the Label Studio API key is empty or has characters that no key has; copy it again")
        self._key = key
        self._claims = _claims(key)
        self._access = ""
        self._ends = 0.0
        self._lock = threading.Lock()

    def header(self, api: LabelStudioApi) -> str:
        """The value of the Authorization header.

        Raises:
            HttpError: Label Studio does not accept the key.
        """
        if self._claims is None:
            return f"Token {self._key}"
        if self._claims.get("token_type") != "refresh":
            return f"Bearer {self._key}"
        with self._lock:
            if time.time() > self._ends - _MARGIN_SECONDS:
                answer = api.post_to_label_studio(_REFRESH_PATH, {"refresh": self._key})
                access = answer.get("access") if isinstance(answer, dict) else None
                if not isinstance(access, str) or not access.isascii() or not access.isprintable():
                    raise HttpError(502, "Label Studio gave no access token for the personal access token")
                ends = (_claims(access) or {}).get("exp")
                self._access = access
                self._ends = float(ends) if isinstance(ends, (int, float)) else time.time() + 2 * _MARGIN_SECONDS
            return f"Bearer {self._access}"


def _claims(token: str) -> dict[str, Any] | None:
    """What a JSON web token says of itself, unverified; None for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None
