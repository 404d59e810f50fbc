"""What a check needs to know of one image or mask file, measured once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import decode_image, decode_picture, read_image_file
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import progress_bar
from boxpromptiml.protocols.fingerprint import perceptual_hash, thumbnail

# Part of the cache's key: changes with the meaning of what is kept.
_VERSION = 2
_BATCH = 128


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image file.

    Attributes:
        width, height: upright, pixels.
        sha256: of the file.
        hash: see `perceptual_hash`.
        thumbnail: see `fingerprint.thumbnail`.
        error: why it cannot be read; then the rest is empty.
    """

    width: int = 0
    height: int = 0
    sha256: str = ""
    hash: int | None = None
    thumbnail: bytes = b""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """A mask file.

    Attributes:
        width, height: upright, pixels.
        coloured: any pixel is not grey; the rest is then of the brightest channel.
        between: share of pixels that are neither 0 nor 255.
        highest: largest value.
        tampered: share of pixels above 127.
        corners: how many of the four corners are above 127.
        error: why it cannot be read; then the rest is empty.
    """

    width: int = 0
    height: int = 0
    coloured: bool = False
    between: float = 0.0
    highest: int = 0
    tampered: float = 0.0
    corners: int = 0
    error: str | None = None


F = TypeVar("F", ImageFacts, MaskFacts)


def image_facts(path: Path) -> ImageFacts:
    """Read an image file entirely and describe it; a file that cannot be read is described by its error."""
    try:
        data = read_image_file(path)
        picture = decode_picture(data, path)
    except ImageError as error:
        return ImageFacts(error=error.reason)
    return ImageFacts(
        width=picture.width,
        height=picture.height,
        sha256=hashlib.sha256(data).hexdigest(),
        hash=perceptual_hash(picture),
        thumbnail=thumbnail(picture),
    )


def mask_facts(path: Path) -> MaskFacts:
    """Read a mask file entirely and describe it; a file that cannot be read is described by its error."""
    try:
        pixels = decode_image(read_image_file(path), path)
    except ImageError as error:
        return MaskFacts(error=error.reason)
    grey = pixels.max(axis=2)
    tampered = grey > 127
    return MaskFacts(
        width=grey.shape[1],
        height=grey.shape[0],
        coloured=bool((pixels != grey[..., None]).any()),
        between=float(np.mean((grey != 0) & (grey != 255))),
        highest=int(grey.max()),
        tampered=float(tampered.mean()),
        corners=int(tampered[[0, 0, -1, -1], [0, -1, 0, -1]].sum()),
    )


class FactsCache:
    """Facts of files, kept by path, size and time of change, so that a second check reads only what is new.

    Args:
        path: an SQLite file; made if missing. What is in it can be made again: it may be deleted at any time.

    Raises:
        DatasetError: it cannot be opened or is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DatasetError(f"{path}: cannot be used to keep hashes ({reason}); give another --cache") from error

    def images(self, paths: Iterable[Path], workers: int | None = None) -> dict[Path, ImageFacts]:
        """Facts of image files; those that are not known yet are read, in threads, and kept as they come, unless
        they cannot be read."""
        return self._facts("image", paths, image_facts, ImageFacts, workers)

    def masks(self, paths: Iterable[Path], workers: int | None = None) -> dict[Path, MaskFacts]:
        """Facts of mask files; as `images`."""
        return self._facts("mask", paths, mask_facts, MaskFacts, workers)

    def _facts(
        self, kind: str, paths: Iterable[Path], read: Callable[[Path], F], form: type[F], workers: int | None
    ) -> dict[Path, F]:
        unique = list(dict.fromkeys(paths))
        waiting = iter(unique)
        found: dict[Path, F] = {}
        with (
            closing(self._connect()) as connection,
            ThreadPoolExecutor(workers or usable_cores()) as pool,
            progress_bar() as bar,
        ):
            task = bar.add_task(f"read {kind}s", total=len(unique))
            # A batch is a transaction: a check that is killed loses no more than one.
            while batch := list(islice(waiting, _BATCH)):
                keys = {path: _key(kind, path) for path in batch}
                known = _fetch(connection, list(keys.values()))
                found |= {path: _parsed(form, known[key]) for path, key in keys.items() if key in known}
                todo = [path for path in batch if path not in found]
                fresh = dict(zip(todo, pool.map(read, todo), strict=True))
                found |= fresh
                # A file that could not be read may be readable the next time: a share comes back, a right is given.
                whole = {path: facts for path, facts in fresh.items() if facts.error is None}
                _store(connection, {keys[path]: _text(facts) for path, facts in whole.items() if keys[path]})
                bar.advance(task, len(batch))
        return found

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)


def _fetch(connection: sqlite3.Connection, keys: list[str]) -> dict[str, str]:
    marks = ",".join("?" * len(keys))
    return dict(connection.execute(f"SELECT key, value FROM facts WHERE key IN ({marks})", keys).fetchall())


def _store(connection: sqlite3.Connection, values: dict[str, str]) -> None:
    with connection:
        connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(values.items()))


def _text(facts: ImageFacts | MaskFacts) -> str:
    return json.dumps(asdict(facts), default=bytes.hex)


def _parsed(form: type[F], text: str) -> F:
    raw = json.loads(text)
    if "thumbnail" in raw:
        raw["thumbnail"] = bytes.fromhex(raw["thumbnail"])
    return form(**raw)


def default_cache() -> Path:
    """Where hashes are kept if nothing else is said: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "boxpromptiml" / "protocol-facts.db"


def _key(kind: str, path: Path) -> str:
    """Identity of a file's content without reading it; empty where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return ""
    # A digest, because a path need not be text that SQLite takes.
    place = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]
    return f"{_VERSION}:{kind}:{status.st_size}:{status.st_mtime_ns}:{place}"
