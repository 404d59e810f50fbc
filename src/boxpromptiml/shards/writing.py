"""From a dataset to shards: whole archives or none, the same bytes again from the same data, resumable."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.manifest import record_to_json
from boxpromptiml.errors import DatasetError
from boxpromptiml.files import sha256_of
from boxpromptiml.images import encoded_size, read_image_file
from boxpromptiml.progress import progress_bar
from boxpromptiml.shards.layout import (
    INDEX_NAME,
    SHARD_FILE,
    VERSION,
    Index,
    Listed,
    Place,
    ShardEntry,
    list_of,
    read_index,
)
from boxpromptiml.storage import OutputFolder, StorageError

DEFAULT_SHARD_BYTES = 256 * 2**20
_BLOCK = tarfile.BLOCKSIZE
_ORDER = {"train": 0, "val": 1, None: 2, "test": 3}


@dataclass(frozen=True)
class ShardReport:
    """What `write_shards` did.

    Attributes:
        images: in all shards.
        shards: in all.
        written: of these; the others were there already.
        bytes: of all archives.
    """

    images: int
    shards: int
    written: int
    bytes: int


@dataclass(frozen=True)
class _Item:
    """An image of a shard and its files: (kind, path, size, time of change)."""

    record: ImageRecord
    files: tuple[tuple[str, Path, int, int], ...]

    @property
    def bytes(self) -> int:
        return sum(size for _, _, size, _ in self.files)


@dataclass(frozen=True)
class _Plan:
    name: str
    items: tuple[_Item, ...]
    source: str


def write_shards(
    dataset: Dataset,
    out: str,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    splits: Collection[str | None] | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> ShardReport:
    """Write a dataset as shards into a folder or below a URL, and an index at the end.

    Each split has shards of its own. Within it images are mixed, by a hash of their names, so that any few shards are a
    fair sample. Files are taken as they are; nothing is encoded again. Shards that are there and were made from the
    same records and files are kept, others are written anew; a run that was killed goes on where it stopped. While
    there is no index, readers refuse the folder.

    Args:
        dataset: what to write.
        out: path or URL; new, empty, or holding shards.
        shard_bytes: a shard ends with the image that makes it as large as this.
        splits: only these, None among them for images in no split; None: all.
        workers: shards that are written at the same time.
        overwrite: also in place of shards of another data set or of further splits.

    Raises:
        DatasetError: nothing to write, a file that is not what the dataset says, or a folder that holds other things.
        ImageError: an image or mask cannot be read.
        StorageError: `out` cannot be written.
    """
    folder = OutputFolder(out)
    plans = _plans(dataset, shard_bytes, splits)
    _check_free(folder, out)
    with folder.held():
        found = folder.files()
        entries = {plan.name: _kept(folder, plan, found) for plan in plans}
        missing = [plan for plan in plans if entries[plan.name] is None]
        if not overwrite:
            kept = {list_of(name) for name, entry in entries.items() if entry is not None}
            _check_own(folder, sorted({name for name in found if name.endswith(".jsonl")} - kept), plans, splits)
        stale = {name for name in found if SHARD_FILE.match(name)} - {
            name for plan in plans for name in (plan.name, list_of(plan.name))
        }
        complete = INDEX_NAME in found and not missing and not stale and _is_index_of(folder, plans)
        if INDEX_NAME in found and not complete:
            folder.remove(INDEX_NAME)
        if not complete:
            for plan, entry in zip(missing, _written(folder, missing, workers), strict=True):
                entries[plan.name] = entry
        shards = [entry for entry in entries.values() if entry is not None]
        if not complete:
            lists = [hashlib.sha256(folder.read(shard.list_name)).hexdigest() for shard in shards]
            images = sum(shard.images for shard in shards)
            index = Index(images=images, shards=shards, lists=lists)
            folder.write(INDEX_NAME, (index.model_dump_json(indent=1) + "\n").encode())
            for name in stale:
                folder.remove(name)
    total = sum(shard.bytes for shard in shards)
    return ShardReport(sum(shard.images for shard in shards), len(shards), len(missing), total)


def _check_free(folder: OutputFolder, out: str) -> None:
    others = [name for name in folder.files() if not SHARD_FILE.match(name) and name not in (INDEX_NAME, "_lock")]
    foreign = sorted(name for name in others if not name.startswith("."))
    if foreign:
        raise DatasetError(f"{out}: holds other things than shards ({foreign[0]}); choose another folder")


def _check_own(
    folder: OutputFolder, lists: Sequence[str], plans: Sequence[_Plan], splits: Collection[str | None] | None
) -> None:
    """Refuse to replace or remove shards that this data set and these splits cannot have been written as before."""
    remedy = "choose another folder, or replace them with --overwrite"
    named = False
    for name in lists:
        with suppress(StorageError, ValueError):  # a damaged list is written anew
            head, *lines = folder.read(name).splitlines()
            split = ShardEntry.model_validate_json(head).split
            if splits is not None and split not in splits:
                raise DatasetError(f"{folder.name}: holds shards of the split {split or 'none'} too; {remedy}")
            if not named:  # images are mixed: those of one shard tell of all
                before = {str(Listed.model_validate_json(line).record["image"]) for line in lines}
                if before.isdisjoint(item.record.image for plan in plans for item in plan.items):
                    raise DatasetError(f"{folder.name}: holds shards of other images ({min(before)}); {remedy}")
                named = True
        if named and splits is None:
            return


def _plans(dataset: Dataset, shard_bytes: int, splits: Collection[str | None] | None) -> list[_Plan]:
    items = [_item(dataset, record) for record in dataset.records() if splits is None or record.split in splits]
    if not items:
        which = "" if splits is None else f" in {', '.join(split or 'no split' for split in splits)}"
        raise DatasetError(f"{dataset.root}: no images{which} to write")
    items.sort(key=lambda item: (_ORDER[item.record.split], _mixed(item.record.image)))
    plans: list[_Plan] = []
    start = size = 0
    for i, item in enumerate(items):
        size += item.bytes
        last = i + 1 == len(items) or items[i + 1].record.split != item.record.split
        if size >= shard_bytes or last:
            chosen = tuple(items[start : i + 1])
            plans.append(_Plan(f"shard-{len(plans):06d}.tar", chosen, _digest(chosen)))
            start, size = i + 1, 0
    if len(plans) > 1_000_000:
        raise DatasetError(f"{dataset.root}: would make {len(plans)} shards; make them larger")
    return plans


def _item(dataset: Dataset, record: ImageRecord) -> _Item:
    paths = [("", record.image), ("mask", record.mask), ("pseudo", record.pseudo and record.pseudo.path)]
    files = []
    for kind, name in paths:
        if not name:
            continue
        path = dataset.path(name)
        try:
            state = path.stat()
        except OSError as error:
            raise DatasetError(
                f"{path}: {error.strerror}; find such files with  boxpromptiml validate {dataset.root}"
            ) from error
        files.append((kind, path, state.st_size, state.st_mtime_ns))
    return _Item(record, tuple(files))


def _mixed(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _digest(items: Sequence[_Item]) -> str:
    total = hashlib.sha256(f"{VERSION}\n".encode())
    for item in items:
        line = [record_to_json(item.record), [[kind, size, time] for kind, _, size, time in item.files]]
        total.update(json.dumps(line, sort_keys=True).encode() + b"\n")
    return total.hexdigest()


def _kept(folder: OutputFolder, plan: _Plan, found: Collection[str]) -> ShardEntry | None:
    """The entry of a shard that is there and was made from the same."""
    if plan.name not in found:
        return None
    with suppress(StorageError, ValueError, IndexError):
        head = folder.read(list_of(plan.name)).split(b"\n", 1)[0]
        entry = ShardEntry.model_validate_json(head)
        if entry.source == plan.source and entry.name == plan.name and folder.size(plan.name) == entry.bytes:
            return entry
    return None


def _is_index_of(folder: OutputFolder, plans: Sequence[_Plan]) -> bool:
    with suppress(StorageError, DatasetError):
        index = read_index(folder.read(INDEX_NAME), INDEX_NAME)
        return [shard.source for shard in index.shards] == [plan.source for plan in plans]
    return False


def _written(folder: OutputFolder, plans: Sequence[_Plan], workers: int) -> Iterator[ShardEntry]:
    total = sum(len(plan.items) for plan in plans)
    stop = threading.Event()
    with progress_bar() as bar, ThreadPoolExecutor(max(1, workers)) as pool:
        task = bar.add_task("shards", total=total)

        def advance() -> None:
            if stop.is_set():
                raise DatasetError("stopped")  # another shard has failed, or Ctrl-C: nobody will see this
            bar.advance(task)

        try:
            yield from pool.map(lambda plan: _write(folder, plan, advance), plans)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _write(folder: OutputFolder, plan: _Plan, advance: Callable[[], None]) -> ShardEntry:
    lines: list[str] = []
    with folder.writing(plan.name) as path:
        with path.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for number, item in enumerate(plan.items):
                lines.append(_add(archive, stream, f"{number:08d}", item).model_dump_json(exclude_none=True))
                advance()
        size, digest = path.stat().st_size, sha256_of(path)
    entry = ShardEntry(
        name=plan.name,
        bytes=size,
        sha256=digest,
        images=len(plan.items),
        split=plan.items[0].record.split,
        source=plan.source,
    )
    # The list comes after its archive: one that is there tells of an archive that is whole.
    folder.write(entry.list_name, "\n".join([entry.model_dump_json(), *lines, ""]).encode())
    return entry


def _add(archive: tarfile.TarFile, stream: IO[bytes], key: str, item: _Item) -> Listed:
    record, places = item.record, {}
    for kind, path, _, _ in item.files:
        data = read_image_file(path)
        size = encoded_size(data, path)
        if size != (record.width, record.height):
            raise DatasetError(
                f"{path}: {size[0]} x {size[1]} pixels, the dataset says {record.width} x {record.height}; "
                "import it again, or find such files with  boxpromptiml validate"
            )
        suffix = ".".join(part for part in (kind, path.suffix.lower().lstrip(".")) if part)
        places[kind or "image"] = _member(archive, stream, f"{key}.{suffix}", data)
    line = record_to_json(record)
    _member(archive, stream, f"{key}.json", json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogateescape"))
    return Listed(record=json.loads(json.dumps(line)), **places)


def _member(archive: tarfile.TarFile, stream: IO[bytes], name: str, data: bytes) -> Place:
    info = tarfile.TarInfo(name)  # no times and no owners: the same data make the same bytes
    info.size = len(data)
    start = stream.tell() + _BLOCK
    archive.addfile(info, io.BytesIO(data))
    return Place(name=name, start=start, size=len(data), crc32=zlib.crc32(data))
