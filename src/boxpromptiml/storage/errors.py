"""What goes wrong with places that are no local files, in one line each."""

from __future__ import annotations

from boxpromptiml.errors import BoxPromptError


class StorageError(BoxPromptError):
    """A URL that cannot be listed, read or written."""


class MissingDriverError(StorageError):
    """A kind of URL that needs a package which is not installed."""


def one_line(error: BaseException) -> str:
    """What an exception says, as one line of bounded length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
