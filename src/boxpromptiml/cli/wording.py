"""Counts in words."""

from __future__ import annotations


def images(count: int) -> str:
    """``1 image``, ``1,200 images``."""
    return some(count, "image")


def some(count: int, one: str, many: str | None = None) -> str:
    """``1 box``, ``1,200 boxes``; `many` where it is not `one` with an s."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {many or one + 's'}"
