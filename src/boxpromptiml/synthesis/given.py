"""Photographs that are not files of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Given(NamedTuple):
    """A photograph of known size that lies in an archive.

    Attributes:
        id: unique in its pool.
        path: what it is called in errors.
        width, height: of the upright photograph, pixels.
        read: its encoded bytes; picklable.
    """

    id: str
    path: Path
    width: int
    height: int
    read: Callable[[], bytes]
