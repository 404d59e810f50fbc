"""``results.jsonl``: one line per image, appended whole, so that a run that was killed can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from boxpromptiml.bulk.folders import LeftOut
from boxpromptiml.bulk.names import FOLDERS, PICTURES, RESULTS_NAME, RUN_NAME, is_result
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import atomic_path, os_reason, try_lock

_NAME_BYTES = 240  # of the 255 that a name may have: leaves room for the suffix


@dataclass
class Summary:
    """Counts of a run.

    Attributes:
        images: inputs of the run.
        tampered: images with the verdict tampered, earlier ones included.
        failed: inputs that got an error line.
        skipped: inputs whose earlier result still holds.
        seconds: wall time.
        left_out: what the folders of the inputs hold and was not looked at.
        shrunk: images that the network was shown smaller than they are, and nothing else; None where it is not counted.
    """

    images: int = 0
    tampered: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    left_out: LeftOut = field(default_factory=LeftOut)
    shrunk: int | None = None

    def add(self, line: dict[str, Any], *, skipped: bool) -> None:
        """Count one line of results."""
        self.images += 1
        self.skipped += skipped
        self.failed += "error" in line
        self.tampered += line.get("verdict") == "tampered"

    @property
    def images_per_second(self) -> float:
        """Newly localized images a second of wall time."""
        return (self.images - self.skipped) / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """All counts and the rate."""
        return {
            "images": self.images,
            "tampered": self.tampered,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 3),
            **self.left_out.to_json(),
            **({} if self.shrunk is None else {"shrunk": self.shrunk}),
        }


@dataclass
class _Entry:
    """Where an image's last line is, and what it is the answer to."""

    offset: int
    length: int
    fingerprint: bytes | None  # None for an error


@dataclass
class ResultsFile:
    """The results of an output folder, appended line by line.

    While a run goes on, new lines are appended, each in one write; the last line of an image counts. `finish` puts
    the lines into the order of the inputs. A half-written line, left by a machine that went down, is dropped.
    """

    path: Path
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)  # output name, case folded -> image
    _own: dict[str, str] = field(default_factory=dict)  # image -> output name
    _stream: IO[bytes] | None = None
    _end: int = 0
    _is_new: bool = False  # this run made it

    @classmethod
    def open(cls, folder: str | Path) -> ResultsFile:
        """Open the results of an output folder for appending; makes both where they are missing.

        Raises:
            BoxPromptError: the folder cannot be made or written to, or holds a table or pictures of something else.
        """
        results = cls(Path(folder) / RESULTS_NAME)
        if Path(folder, RUN_NAME).exists():
            raise BoxPromptError(f"{folder}: holds a table of --format parquet; choose another folder")
        with results._writing():
            # Ours are made after this file: without it, they are somebody's true masks, say.
            if not results.path.exists() and (stranger := _picture_in(Path(folder))):
                raise BoxPromptError(
                    f"{stranger}: is in the way, and no result of an earlier run; choose another folder or move it away"
                )
            results.path.parent.mkdir(parents=True, exist_ok=True)
            results._is_new = not results.path.exists()
            stream = results.path.open("a+b")
            try:
                if not try_lock(stream):
                    raise BoxPromptError(
                        f"{results.path}: another run is writing to this folder; wait for it or choose another"
                    )
                stream.seek(0)
                results._load(stream)
                stream.truncate(results._end)
            except BaseException:
                stream.close()
                raise
            results._stream = stream
        return results

    def _load(self, stream: IO[bytes]) -> None:
        for raw in stream:
            if not raw.endswith(b"\n"):
                break  # half a line: the end of a run that was cut short
            try:
                line = json.loads(raw)
                image = str(line["image"])
            except (ValueError, KeyError, TypeError) as error:
                raise BoxPromptError(
                    f"{self.path}: line at byte {self._end} is no result; move the file away or choose another folder"
                ) from error
            self._remember(image, line, self._end, len(raw))
            self._end += len(raw)

    def _remember(self, image: str, line: dict[str, Any], offset: int, length: int) -> None:
        self._entries[image] = _Entry(offset, length, None if "error" in line else fingerprint(line))
        # Whatever outputs there are, they share one name below their folders.
        for kind in PICTURES:
            if line.get(kind):
                name = os.path.splitext(str(line[kind]).split("/", 1)[-1])[0]
                self._names[name.casefold()] = image
                self._own[image] = name
                break

    def output_name(self, image: str, relative: str) -> str:
        """The name, without suffix, of an image's outputs: the one that it has, or `relative`, or, where another image
        has that, `relative` with a digest of the image's path. To be asked for in the order of the inputs."""
        if image in self._own:
            return self._own[image]
        name = relative
        too_long = len(os.fsencode(os.path.basename(relative))) > _NAME_BYTES
        if too_long or self._names.get(name.casefold(), image) != image:
            folder, stem = os.path.split(relative)
            stem = os.fsencode(stem)[: _NAME_BYTES - 9].decode("utf-8", "ignore")
            digest = hashlib.sha256(os.fsencode(image)).hexdigest()[:8]
            name = f"{folder}/{stem}-{digest}" if folder else f"{stem}-{digest}"
        self._names[name.casefold()] = image
        self._own[image] = name
        return name

    def finished(self, image: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """The earlier line of an image, if it is the answer to the same question and its files are there.

        Args:
            image: as in the line.
            wanted: ``sha256``, ``model``, ``threshold``, ``detail`` and ``tta`` (None where they are off) and the
                names of the outputs (None for those not wanted).
        """
        entry = self._entries.get(image)
        if entry is None or entry.fingerprint != fingerprint(wanted):
            return None
        names = [wanted[kind] for kind in PICTURES if wanted.get(kind)]
        if not all(_has_content(self.path.parent / name) for name in names):
            return None
        line: dict[str, Any] = json.loads(self._read(entry))
        return line

    def pictures(self, image: str) -> set[str]:
        """The files that an image's last line names, relative to the output folder."""
        entry = self._entries.get(image)
        if entry is None or entry.fingerprint is None:
            return set()
        line = json.loads(self._read(entry))
        names = {str(line[kind]) for kind in PICTURES if line.get(kind)}
        return {name for name in names if is_result(name) and ".." not in name.split("/")}

    def append(self, line: dict[str, Any]) -> None:
        """Write one line, whole."""
        assert self._stream is not None
        try:
            raw = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        except UnicodeEncodeError:  # a file name that is not UTF-8: its odd bytes as \\udcXX
            raw = json.dumps(line).encode() + b"\n"
        with self._writing():
            self._stream.write(raw)
            self._stream.flush()
        self._remember(str(line["image"]), line, self._end, len(raw))
        self._end += len(raw)

    def finish(self, images: Iterable[str]) -> None:
        """Close the file, its lines in order: results of other images first, then those of `images`, one each
        however often it is named."""
        assert self._stream is not None
        order = list(dict.fromkeys(image for image in images if image in self._entries))
        own = set(order)
        order = [image for image in self._entries if image not in own] + order
        offset = 0
        for image in order:
            if self._entries[image].offset != offset:
                break
            offset += self._entries[image].length
        with self._writing():
            if offset == self._end:
                os.fsync(self._stream.fileno())
            else:
                with atomic_path(self.path) as temporary, temporary.open("wb") as copy:
                    for image in order:
                        copy.write(self._read(self._entries[image]))
        self._is_new = False
        self.close()

    def close(self) -> None:
        """Close the file as it is; of a run that ended before it began nothing stays."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            with self._writing():
                if self._is_new and self._end == 0 and not _picture_in(self.path.parent):
                    self.path.unlink(missing_ok=True)
                stream.close()  # fails for what a full disk has not taken before, too

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BoxPromptError(f"{error.filename or self.path}: {os_reason(error)}") from error

    def _read(self, entry: _Entry) -> bytes:
        # A handle of its own: threads that look for finished images leave the writer's position alone.
        with self.path.open("rb") as stream:
            stream.seek(entry.offset)
            return stream.read(entry.length)


def _picture_in(folder: Path) -> Path | None:
    """A file where pictures are written to."""
    return next((file for name in FOLDERS for file in (folder / name).rglob("*") if not file.is_dir()), None)


def _has_content(path: Path) -> bool:
    # A machine that lost power may leave a file empty.
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def fingerprint(line: dict[str, Any]) -> bytes:
    """Digest of what a result depends on: bytes, weights, threshold, how it was looked at, and the files asked for."""
    keys = ("sha256", "model", "threshold", "detail", "tta", *PICTURES)
    return hashlib.sha256(json.dumps([line.get(key) for key in keys]).encode()).digest()[:16]
