"""What a synthesised dataset folder remembers beside its records: the settings, and every image's history."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from boxpromptiml.errors import DatasetError
from boxpromptiml.files import try_lock, write_json, write_text
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.synthesis.pools import ObjectPool, PhotoPool
from boxpromptiml.synthesis.postprocessing import Size

SETTINGS_NAME = "synthesis.json"
HISTORY_NAME = "history.jsonl"
_FOLDERS = ("Tp", "Gt", "Au")
_LOCK_NAME = ".synthesis.lock"
_LEFTOVER = re.compile(r"\.\d{6}-[^/]*\.(jpg|png)")


def settings_of(
    photos: PhotoPool,
    objects: ObjectPool | None,
    config: SynthesisConfig,
    *,
    seed: int,
    size: Size | None,
    fractions: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Everything that decides what image i looks like, as JSON values."""
    return {
        "format_version": 1,
        "seed": seed,
        "size": None if size is None else {"height": size[0], "width": size[1]},
        "split_by_source": dict(fractions or {}),
        "photos": photos.facts(),
        "objects": None if objects is None else objects.facts(),
        "config": config.model_dump(mode="json"),
    }


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a store knows of an image: paths relative to the folder, split, kind."""

    image: str
    mask: str | None
    split: str | None
    kind: str


class Records(Protocol):
    """The part of a store that a journal reads."""

    @property
    def root(self) -> Path:
        """The folder."""
        ...

    def recorded(self) -> Iterable[Recorded]:
        """All recorded images."""
        ...


class Journal:
    """The settings (``synthesis.json``) and histories (``history.jsonl``) of a dataset that is being synthesised.

    Open it with `open`, use it as a context manager: only one process at a time works on a folder. When it is closed,
    also by an error, the histories are in the order of the images, one line each.
    """

    def __init__(self, records: Records, lock: IO[bytes]) -> None:
        self._records = records
        self._lock = lock
        self._path = records.root / HISTORY_NAME
        self._stream: IO[bytes] | None = None

    @classmethod
    def open(cls, records: Records, settings: dict[str, Any]) -> Journal:
        """Take the folder over.

        Raises:
            DatasetError: another process works on it, it was made with other settings, or it holds other images.
        """
        root = records.root
        lock = (root / _LOCK_NAME).open("ab")
        try:
            if not try_lock(lock):
                raise DatasetError(
                    f"{root}: another process synthesises into this folder; wait for it or choose another"
                )
            _check(records, settings)
            # What a killed run was writing when it was killed.
            for folder in _FOLDERS:
                for path in (root / folder).glob(".*"):
                    if _LEFTOVER.fullmatch(path.name):
                        path.unlink(missing_ok=True)
            journal = cls(records, lock)
            journal._tidy()
            journal._stream = journal._path.open("ab")
        except BaseException:
            lock.close()
            raise
        return journal

    def finished(self) -> set[str]:
        """Names (``Tp/000012``) of the images that are recorded and whose files are there."""
        done = set()
        for known in self._records.recorded():
            files = [known.image] if known.mask is None else [known.image, known.mask]
            if all((self._records.root / file).is_file() for file in files):
                done.add(known.image.rpartition(".")[0])
        return done

    def append(self, histories: Iterable[dict[str, Any]]) -> None:
        """Add one line an image, durably."""
        assert self._stream is not None
        self._stream.write("".join(_line(history) for history in histories).encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Bring the histories into order and give the folder free."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self._tidy()
        self._lock.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tidy(self) -> None:
        """Keep the last whole line of each image that is recorded, in order."""
        if not self._path.is_file():
            return
        recorded = {known.image for known in self._records.recorded()}
        lines: dict[str, str] = {}
        # Not at every character that Unicode calls the end of a line: names of photographs may hold them.
        for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                history = json.loads(line)
            except ValueError:
                continue  # torn by a kill; its image is not recorded and will be made again
            if history["image"] in recorded:
                lines[history["image"]] = line + "\n"
        write_text(self._path, "".join(lines[image] for image in sorted(lines)))


def _check(records: Records, settings: dict[str, Any]) -> None:
    path = records.root / SETTINGS_NAME
    if not path.is_file():
        if any(True for _ in records.recorded()):
            raise DatasetError(f"{records.root}: holds images that were not synthesised; choose another folder")
        for folder in _FOLDERS:
            # Somebody's own files may have the very names that ours would get.
            if any((records.root / folder).glob("*")):
                raise DatasetError(f"{records.root / folder}: holds files that are not ours; choose another folder")
        write_json(path, settings)
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DatasetError(f"{path}: not JSON; choose another folder") from None
    for key, value in settings.items():
        if not isinstance(old, dict) or old.get(key) != value:
            was = old.get(key) if isinstance(old, dict) else None
            short = f" (was {was}, is {value})" if not isinstance(value, dict) and not isinstance(was, dict) else ""
            raise DatasetError(
                f"{records.root}: was synthesised with another {key}{short}; "
                "give the same settings to go on, or choose another folder"
            )


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
