"""Writing files so that a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_DEVICES = (Path("/dev"), Path("/dev/fd"))  # where names such as stdout lead to whatever they are redirected to


def os_reason(error: OSError) -> str:
    """What the system says of a file, and what to do about it, in a few words."""
    # Libraries put a sentence of their own there, around the system's words.
    own = error.errno is not None and (not error.strerror or "errno" in error.strerror)
    said = os.strerror(error.errno) if own and error.errno else error.strerror or str(error)
    advice = {
        errno.ENOSPC: "make room and run the same command again",
        errno.EDQUOT: "make room and run the same command again",
        errno.EACCES: "choose a path that can be written to",
        errno.EPERM: "choose a path that can be written to",
        errno.EROFS: "choose a path that can be written to",
        errno.EEXIST: "a file is in the way; choose another path",
        errno.ENOTDIR: "a file is in the way; choose another path",
        errno.EISDIR: "choose a path that is no folder",
    }
    return f"{said}; {advice[error.errno]}" if error.errno in advice else said


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Make an OSError within the block name `path` where it names no file, as those of writing to an open one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it over `path`, on failure remove it.

    The temporary name starts with a dot and keeps the suffix of `path`, for libraries that choose a format by suffix.
    Missing parent folders are made. Without `durable` the file survives the end of the process in any way, but a
    machine that loses power may leave it empty: for files that can be made again, where waiting for the disk costs
    more than making them.

    Raises:
        OSError: it cannot be written; names `path`. Devices and pipes are refused: a file would take their place.
    """
    target = Path(path)
    if target.absolute().parent in _DEVICES or (target.exists() and not target.is_file() and not target.is_dir()):
        raise OSError(errno.EINVAL, "is not a regular file; choose another path", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    # 40 characters are at most 160 bytes, of the 255 that a name may have.
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(8)}{target.suffix}")
    # Not mkstemp: its files are private, and asking for the umask to mend that would change it for all threads.
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        if durable:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(target), None
        raise
    if durable:
        _sync_folder(target.parent)


def write_bytes(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` atomically; see `atomic_path`."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def try_lock(stream: IO[Any], *, wait: bool = False) -> bool:
    """Take the lock of an open file, which keeps other processes out for as long as it is open.

    The system gives it back when the process ends in any way. Returns False if another process holds it, unless told
    to `wait` for that to end; always True on Windows, which goes without.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256_of(source: str | Path | IO[bytes]) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    if isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            _feed(stream, digest.update)
    else:
        _feed(source, digest.update)
    return digest.hexdigest()


def _feed(stream: IO[bytes], update: Callable[[bytes], None]) -> None:
    while block := stream.read(1 << 20):
        update(block)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Folders cannot be synced on every system (Windows): there the rename itself must do."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
