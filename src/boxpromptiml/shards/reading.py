"""The records of a sharded data set, and where in its shards the files are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from boxpromptiml import storage
from boxpromptiml.dataset import ImageRecord
from boxpromptiml.dataset.manifest import record_from_json
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.files import sha256_of
from boxpromptiml.progress import track
from boxpromptiml.shards.holding import ShardHolder
from boxpromptiml.shards.layout import INDEX_NAME, SHARD_FILE, Index, Listed, Place, ShardEntry, read_index
from boxpromptiml.shards.parts import Part, Shard

_LISTS_AT_ONCE = 16


class ShardImage(NamedTuple):
    """An image of a sharded data set.

    Attributes:
        record: what the dataset knew of it; its paths are names, the files are in the shard.
        image, mask, pseudo: the files; None where there is none.
    """

    record: ImageRecord
    image: Part
    mask: Part | None
    pseudo: Part | None


@dataclass(frozen=True)
class ShardedDataset:
    """Shards and their index.

    Attributes:
        location: folder or URL.
        index: of them.
    """

    location: str
    index: Index

    @classmethod
    def open(cls, location: str | Path) -> ShardedDataset:
        """Read the index.

        Raises:
            DatasetError: there is none, or it is damaged or of another version.
            StorageError: the place cannot be reached.
        """
        name = str(location).rstrip("/")
        place = storage.joined(name, INDEX_NAME)
        if not storage.is_file(place):
            if not storage.is_folder(name):
                raise DatasetError(f"{name}: no such folder")
            raise DatasetError(
                f"{name}: no complete shards ({INDEX_NAME} is missing); write them, or go on writing, with  "
                "boxpromptiml shard"
            )
        return cls(name, read_index(storage.read_bytes(place), place))

    def images(self, holder: ShardHolder | None = None) -> Iterator[ShardImage]:
        """Yield what the lists beside the archives say, shard by shard; no archive is read.

        Args:
            holder: of local copies, for archives behind URLs.

        Raises:
            DatasetError: a list is missing, damaged, or not the index's.
            StorageError: one cannot be read.
        """
        entries = list(zip(self.index.shards, self.index.lists, strict=True))
        with ThreadPoolExecutor(_LISTS_AT_ONCE) as pool:
            for (entry, _), lines in zip(entries, pool.map(lambda pair: self._lines(*pair), entries), strict=True):
                shard = Shard(storage.joined(self.location, entry.name), entry.bytes, entry.sha256, holder)
                for number, line in enumerate(lines, 2):
                    yield self._image(shard, entry, number, line)

    def _lines(self, entry: ShardEntry, digest: str) -> list[bytes]:
        place = storage.joined(self.location, entry.list_name)
        data = storage.read_bytes(place)
        if hashlib.sha256(data).hexdigest() != digest:
            raise DatasetError(f"{place}: not what {INDEX_NAME} says; write it anew with  boxpromptiml shard")
        return data.splitlines()[1:]

    def _image(self, shard: Shard, entry: ShardEntry, number: int, line: bytes) -> ShardImage:
        try:
            listed = Listed.model_validate_json(line)
            record = record_from_json(json.dumps(listed.record))
        except (ValidationError, DatasetError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DatasetError(f"{storage.joined(self.location, entry.list_name)}:{number}: {reason}") from error

        def part(place: Place | None) -> Part | None:
            return None if place is None else Part(shard, place.name, place.start, place.size, place.crc32)

        image = part(listed.image)
        assert image is not None
        return ShardImage(record, image, part(listed.mask), part(listed.pseudo))


def is_sharded(location: str | Path) -> bool:
    """Whether a name is that of shards, not of a dataset folder: a URL, or a folder with an index or archives."""
    if storage.is_url(str(location)):
        return True
    folder = storage.local_path(str(location))
    if not folder.is_dir() or (folder / DATABASE).exists():
        return False
    return any(path.name == INDEX_NAME or SHARD_FILE.match(path.name) for path in folder.iterdir())


def verify_shards(location: str | Path) -> Iterator[str]:
    """Read every archive and yield a line for each that is not what the index says.

    Raises:
        DatasetError, StorageError: as `ShardedDataset.open`.
    """
    shards = ShardedDataset.open(location)
    for entry, digest in track(list(zip(shards.index.shards, shards.index.lists, strict=True)), "shards"):
        place = storage.joined(shards.location, entry.name)
        try:
            shards._lines(entry, digest)
            with storage.open_stream(place) as stream:
                if sha256_of(stream) != entry.sha256:
                    yield f"{place}: not what {INDEX_NAME} says (checksum)"
        except (DatasetError, storage.StorageError, OSError) as error:
            yield str(error)
