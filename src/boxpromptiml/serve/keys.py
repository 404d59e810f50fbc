"""API keys: where they come from, and how they are compared."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path

from boxpromptiml.errors import BoxPromptError

KEYS_VARIABLE = "BOXPROMPTIML_API_KEYS"
# Of a key's SHA-256: enough to tell keys apart in logs, and useless for anything else.
_NAME_DIGITS = 8
_KEY = re.compile(r"[!-~]{16,512}")
_BAD_KEY = "an API key must be 16 to 512 visible ASCII characters, without spaces"


class Keys:
    """The keys of a service; several, so that one can be replaced while both are good. Holds digests only.

    Args:
        keys: each 16 to 512 visible ASCII characters.

    Raises:
        BoxPromptError: no key, or one that is short or cannot stand in a header.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        listed = list(keys)
        if not listed:
            raise BoxPromptError("there is no API key to accept")
        if not all(map(_KEY.fullmatch, listed)):
            raise BoxPromptError(_BAD_KEY)
        self._digests = [hashlib.sha256(key.encode()).digest() for key in listed]

    def __len__(self) -> int:
        return len(self._digests)

    def name(self, given: str) -> str | None:
        """How a key is called in logs, 8 hexadecimal digits; None if it is none of these. Takes the same time always.

        Digests are compared, all of them: neither the length of a key nor how much of it is right shows.
        """
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:_NAME_DIGITS] if any(matches) else None


def read_keys(variable: str | None = None, file: Path | None = None) -> Keys | None:
    """Read keys from an environment variable (separated by commas or spaces) and a file (one a line, ``#`` comments).

    Args:
        variable: its name; None for ``BOXPROMPTIML_API_KEYS``, which need not be set.
        file: path of the file.

    Returns:
        The keys of both; None where neither was asked for and the usual variable is not set.

    Raises:
        BoxPromptError: the variable that was named is not set, the file cannot be read, or there is no good key.
    """
    listed = re.split(r"[,\s]+", os.environ.get(variable or KEYS_VARIABLE, "").strip(", \t\r\n"))
    # Beside each key where it stands, for who has to mend it.
    found = [(f"{variable or KEYS_VARIABLE} in the environment", key) for key in listed if key]
    if variable is not None and not found:
        raise BoxPromptError(f"--api-key-env {variable}: this environment variable is not set, or empty")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()  # editors of Windows begin with a mark
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise BoxPromptError(f"{file}: {reason}; --api-key-file names a file with one key a line") from error
        lines = [line.strip() for line in lines]
        keys = [(f"{file}, line {n}", line) for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
        if not keys:
            raise BoxPromptError(f"{file}: has no key in it; write one a line")
        found += keys
    for place, key in found:
        if not _KEY.fullmatch(key):
            raise BoxPromptError(f"{place}: {_BAD_KEY}")
    return Keys(key for _, key in found) if found else None
