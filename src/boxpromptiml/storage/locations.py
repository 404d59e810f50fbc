"""Where bytes lie: local paths, and URLs of whatever fsspec has a driver for (s3, gs, hf, http, memory ...)."""

from __future__ import annotations

import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from boxpromptiml.errors import BoxPromptError, ImageError
from boxpromptiml.images import read_image_file
from boxpromptiml.images.finding import Entry, folder_entries
from boxpromptiml.storage.drivers import driver_of, scheme_of
from boxpromptiml.storage.errors import StorageError, one_line

# Two letters at the least: C:\ is a drive. A chain (simplecache::s3://...) ends in a URL: scan::1.png is a file's name.
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")
_FILE = "file://"
_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds; doubled from one try to the next


def is_url(name: str) -> bool:
    """Whether a name is a URL rather than a path of this machine. ``file://`` is a path written as a URL."""
    return bool(_URL.match(name)) and not name.startswith(_FILE)


def local_path(name: str, base: str | Path = "") -> Path:
    """The path behind a name that is no URL; relative ones are relative to `base`.

    What ``file://`` leads to is decoded (``%20`` is a blank), unless only the name as it is spelled is there.
    """
    if not name.startswith(_FILE):
        return Path(base, name)
    spelled = name.removeprefix(_FILE)
    decoded = os.fsdecode(urllib.parse.unquote_to_bytes(os.fsencode(spelled)))
    path, raw = Path(base, decoded), Path(base, spelled)
    return raw if path != raw and ("\0" in decoded or (os.path.lexists(raw) and not os.path.lexists(path))) else path


def suffix_of(name: str) -> str:
    """Suffix of a name's last part, lower case, without what a web address may ask behind ``?``; ``.tar.gz`` is one."""
    if is_url(name):
        name = name.partition("?")[0].partition("#")[0]
    stem, suffix = os.path.splitext(name.lower())
    return ".tar.gz" if suffix == ".gz" and stem.endswith(".tar") else suffix


def folder_of(name: str) -> str:
    """The folder that a file lies in; empty for a bare name."""
    return name.rpartition("/")[0] if is_url(name) else os.path.dirname(_spelled(name))


def _spelled(name: str) -> str:
    # What is no URL stays as it was written.
    return str(local_path(name)) if name.startswith(_FILE) else name


def joined(folder: str, name: str) -> str:
    """A name as seen from a folder: URLs and absolute paths stand for themselves."""
    if is_url(name) or not folder:
        return name
    return f"{folder}/{name}" if is_url(folder) else os.path.join(folder, name)


@cache
def _filesystem_of(scheme: str, process: int) -> Any:
    # One a process: drivers with threads of their own do not survive a fork.
    try:
        # Nothing is remembered between listings: a million names would stay in memory.
        return driver_of(scheme)(use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{scheme}://: {one_line(error)}") from error


def filesystem(url: str) -> Any:
    """fsspec's file system for a URL, settings taken from fsspec's configuration and the environment.

    Raises:
        MissingExtraError: fsspec is not installed.
        StorageError: no driver for the scheme, or the package that it needs is not installed.
    """
    return _filesystem_of(scheme_of(url), os.getpid())


def read_image_bytes(name: str, base: str | Path = "") -> bytes:
    """The bytes of one image, by path or URL, whatever its suffix. What a network refuses is tried again, for a few
    seconds.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    if not is_url(name):
        try:
            return read_image_file(local_path(name, base), any_suffix=True)
        except ImageError as error:
            raise ImageError(name, error.reason) from error
    try:
        return bytes(retried(lambda: filesystem(name).cat_file(name)))
    except FileNotFoundError as error:
        raise ImageError(name, "no such file") from error
    except BoxPromptError as error:
        raise ImageError(name, str(error)) from error
    except Exception as error:  # drivers share no base class
        raise ImageError(name, f"cannot be read: {one_line(error)}") from error


def retried(action: Callable[[], Any]) -> Any:
    """Do something that a network may refuse, a few times; what trying again cannot mend is raised at once."""
    pause = _FIRST_PAUSE
    for left in reversed(range(_TRIES)):
        try:
            return _told_apart(action)
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, BoxPromptError):
            raise
        except Exception:
            if not left:
                raise
        time.sleep(pause)
        pause *= 2
    raise AssertionError


def _told_apart(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except FileNotFoundError as error:
        # fsspec says so of a web server that does not answer, too.
        cause = error.__cause__
        if cause is None or isinstance(cause, FileNotFoundError):
            raise
        raise cause from None


def open_stream(name: str, base: str | Path = "") -> IO[bytes]:
    """Open a container (an archive, a table, a list) for reading, by path or URL; it can seek.

    Raises:
        StorageError: it cannot be opened.
    """
    with _said_of(name, "cannot be opened"):
        if is_url(name):
            stream: IO[bytes] = retried(lambda: filesystem(name).open(name, "rb", cache_type="readahead"))
            return stream
        return local_path(name, base).open("rb")


def read_bytes(name: str, start: int = 0, end: int | None = None) -> bytes:
    """Bytes `start` to `end` (exclusive) of a file, by path or URL; fewer where it is shorter.

    Raises:
        StorageError: no such file, or it cannot be read.
    """
    with _said_of(name, "cannot be read"):
        if is_url(name):
            return bytes(retried(lambda: filesystem(name).cat_file(name, start, end)))
        with local_path(name).open("rb") as stream:
            stream.seek(start)
            return stream.read() if end is None else stream.read(end - start)


def size_of(name: str, base: str | Path = "") -> int | None:
    """Bytes of a file; None where a server does not tell.

    Raises:
        StorageError: no such file, or the store cannot be reached.
    """
    with _said_of(name, "its size cannot be told"):
        if is_url(name):
            size = retried(lambda: filesystem(name).info(name)).get("size")
            return None if size is None else int(size)
        return local_path(name, base).stat().st_size


def is_folder(name: str) -> bool:
    """Whether there is a folder (or a prefix of an object store) of that name."""
    if not is_url(name):
        return local_path(name).is_dir()
    return bool(_listed(name, lambda: filesystem(name).isdir(name)))


def is_file(name: str) -> bool:
    """Whether there is something of that name that is no folder."""
    if not is_url(name):
        path = local_path(name)
        return path.exists() and not path.is_dir()
    return bool(_listed(name, lambda: filesystem(name).isfile(name)))


def entries(folder: str, on_unreadable: Callable[[str], None] = lambda folder: None) -> list[Entry]:
    """What lies right in a folder, sorted by name, hidden names left out.

    A local folder that is not there is empty; so is one that cannot be read, see `folder_entries`.

    Raises:
        StorageError: a URL that cannot be listed.
    """
    if not is_url(folder):
        return folder_entries(local_path(folder), on_unreadable)
    names: dict[str, bool] = {}
    for entry in _listed(folder, lambda: filesystem(folder).ls(f"{folder.rstrip('/')}/", detail=True)):
        name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
        if name and not name.startswith("."):
            names[name] = entry["type"] == "directory"
    return [Entry(name, is_folder) for name, is_folder in sorted(names.items())]


def matches(pattern: str) -> list[str]:
    """Names of the files that a glob of URLs leads to, sorted. Raises StorageError where it cannot be listed."""
    fs = filesystem(pattern)
    found = _listed(pattern, lambda: fs.glob(pattern))
    names = sorted(fs.unstrip_protocol(name) for name in found)
    return [name for name in names if suffix_of(name) or is_file(name)]


def _listed(name: str, action: Callable[[], Any]) -> Any:
    with _said_of(name, "cannot be listed", missing="no such file or folder"):
        return retried(action)


@contextmanager
def _said_of(name: str, failure: str, missing: str = "no such file") -> Iterator[None]:
    """Whatever goes wrong inside, said as a StorageError of one line that names the file."""
    try:
        yield
    except BoxPromptError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"{name}: {missing}") from error
    except Exception as error:  # drivers share no base class
        local = None if is_url(name) else getattr(error, "strerror", None)
        raise StorageError(f"{name}: {failure}: {local or one_line(error)}") from error
