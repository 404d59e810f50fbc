"""Opens a page in the person's browser, and tells its token to nobody else on the machine."""

from __future__ import annotations

import contextlib
import html
import logging
import os
import stat
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

# A browser that is slower to start does without: the address has been printed.
_SECONDS = 60.0

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>BoxPromptIML</title>
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<p><a href="{address}">Open the page</a>
"""

_PREFIX, _SUFFIX = "boxpromptiml-", ".html"
# What a file of ours begins with, up to the address.
_HEAD = _PAGE.partition("{address}")[0].encode()

_log = logging.getLogger("boxpromptiml.web")


class Door:
    """Leads a browser to an address.

    What a program is started with can be read by every user of a machine. So a browser is not given an address with a
    token in it, but a file that only its owner may read, and that leads there. The file is there for a minute at most;
    where the program is killed within that minute, until a page is opened the next time.

    Args:
        address: where to.
        secret: whether the address is for nobody else.
    """

    def __init__(self, address: str, *, secret: bool) -> None:
        self._address = address
        self._secret = secret
        self._file: Path | None = None
        self._closing = threading.Timer(_SECONDS, self.close)
        self._closing.daemon = True

    def open(self) -> None:
        """Have the browser show the page; comes back at once."""
        for stale in _left_behind():
            with contextlib.suppress(OSError):
                stale.unlink()
        place = self._address
        if self._secret:
            try:
                self._file = _written(_PAGE.format(address=html.escape(self._address)))
            except OSError as error:
                _log.warning("the browser is not opened: no file can be written (%s)", error.strerror or error)
                return
            self._closing.start()
            place = self._file.as_uri()
        # Some browsers keep the call until they are closed.
        threading.Thread(target=webbrowser.open, args=[place], daemon=True).start()

    def close(self) -> None:
        """Remove the file."""
        self._closing.cancel()
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _written(content: str) -> Path:
    """A new file of this user's with that content.

    In the home folder where possible, and with a plain name: browsers that are confined (snap) see neither the
    temporary folder nor what begins with a dot.
    """
    try:
        number, name = tempfile.mkstemp(_SUFFIX, _PREFIX, Path.home())
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        number, name = tempfile.mkstemp(_SUFFIX, _PREFIX)
    path = Path(name)
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def _left_behind() -> Iterator[Path]:
    """Files of this user's from servers that were killed before they could remove them."""
    folders = {tempfile.gettempdir()}
    with contextlib.suppress(RuntimeError):  # no home
        folders.add(str(Path.home()))
    for folder in folders:
        with contextlib.suppress(OSError):
            yield from (path for path in sorted(Path(folder).glob(f"{_PREFIX}*{_SUFFIX}")) if _is_stale(path))


def _is_stale(path: Path) -> bool:
    """Whether it is a file that `_written` made, and one that nobody waits for any more."""
    try:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or time.time() - state.st_mtime <= _SECONDS:
            return False
        if hasattr(os, "getuid") and state.st_uid != os.getuid():
            return False
        with path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False
