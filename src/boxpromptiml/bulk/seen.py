"""Telling any number of names apart without holding them in memory."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from typing import Self


class Seen:
    """Which names have been met, in a database that SQLite keeps in a temporary file once it has grown."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def is_new(self, name: str) -> bool:
        """Whether a name is met for the first time."""
        digest = hashlib.blake2b(os.fsencode(name), digest_size=16).digest()
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1

    def close(self) -> None:
        """Forget all of them."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
