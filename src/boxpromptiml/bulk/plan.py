"""Cutting a listing into shards, the same way every time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from boxpromptiml import storage
from boxpromptiml.bulk.containers import (
    Columns,
    InputImage,
    RowGroups,
    check_ids,
    check_named,
    read_source,
    table_parts,
)
from boxpromptiml.bulk.inputs import Source
from boxpromptiml.bulk.names import part_name
from boxpromptiml.bulk.seen import Seen

PLAN_FOLDER = "_plan"
_SHARDS_A_FILE = 1000


class Shard(NamedTuple):
    """A stretch of the inputs that becomes one part of the table.

    Attributes:
        number: from 0, in the order of the inputs.
        file: file of the plan, relative to the output folder, where its line stands.
        start, end: the bytes of that line.
        images: how many; None for an archive, which is not read to plan.
    """

    number: int
    file: str
    start: int
    end: int
    images: int | None

    @property
    def part(self) -> str:
        """Name of its part of the table."""
        return part_name(self.number)


@dataclass
class Plan:
    """All shards of a run.

    Attributes:
        shards: in the order of the inputs.
        digest: SHA-256 of all lines: what the inputs are and how they are cut.
    """

    shards: list[Shard] = field(default_factory=list)
    digest: str = ""

    @property
    def images(self) -> int | None:
        """All images; None where archives are among the inputs."""
        counts = [shard.images for shard in self.shards]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def files(self) -> list[str]:
        """Files of the plan, relative to the output folder."""
        return list(dict.fromkeys(shard.file for shard in self.shards))


def make_plan(sources: Iterable[Source], folder: Path, *, shard_images: int, columns: Columns) -> Plan:
    """Cut a stream of sources into shards and write their lines below `folder`, one shard in memory at a time.

    Image files become shards of `shard_images`; a table is cut between its row groups into shards of about as many; an
    archive is one shard, for it is read in one go.

    Raises:
        InputError: a table that is none, or whose ids do not tell its rows apart; or columns without a table.
        StorageError: a container that cannot be opened.
    """
    (folder / PLAN_FOLDER).mkdir(parents=True)
    plan, digest = Plan(), hashlib.sha256()
    place = 0
    with Seen() as seen:
        for line, images in _lines(sources, shard_images, columns, seen):
            index = len(plan.shards)
            file = f"{PLAN_FOLDER}/{index // _SHARDS_A_FILE:05d}.jsonl"
            place = 0 if index % _SHARDS_A_FILE == 0 else place
            raw = json.dumps(line).encode() + b"\n"
            with (folder / file).open("ab") as stream:
                stream.write(raw)
            plan.shards.append(Shard(index, file, place, place + len(raw), images))
            place += len(raw)
            digest.update(raw)
    plan.digest = digest.hexdigest()
    return plan


def _lines(
    sources: Iterable[Source], shard_images: int, columns: Columns, seen: Seen
) -> Iterator[tuple[dict[str, Any], int | None]]:
    names: list[str] = []
    any_tables = False
    for source in sources:
        if source.kind == "image":
            names.append(source.name)
            if len(names) == shard_images:
                yield {"images": names}, len(names)
                names = []
            continue
        if names:
            yield {"images": names}, len(names)
            names = []
        size = storage.size_of(source.name)
        if source.kind == "tar":
            yield {"tar": source.name, "bytes": size}, None
        else:
            any_tables = True
            for groups in table_parts(source, columns, shard_images):
                yield {"parquet": source.name, "bytes": size, "groups": list(groups)}, groups.rows
            check_ids(source, columns, seen)
    if names:
        yield {"images": names}, len(names)
    check_named(columns, any_tables)


def shard_images(line: bytes, *, base: str, columns: Columns) -> Iterator[InputImage]:
    """The images of a shard, from its line in the plan; see `read_source`."""
    content = json.loads(line)
    if "images" in content:
        yield from (InputImage(name, name) for name in content["images"])
    elif "tar" in content:
        yield from read_source(Source("tar", content["tar"], content["tar"]), base=base)
    else:
        source = Source("parquet", content["parquet"], content["parquet"])
        yield from read_source(source, base=base, columns=columns, groups=RowGroups(*content["groups"]))
