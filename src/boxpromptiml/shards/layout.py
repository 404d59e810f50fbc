"""What a folder of shards holds: tar archives as webdataset reads them, a list beside each, and one index of them all.

``shard-000000.tar`` has up to four members an image: ``00000017.jpg`` (the image as it was), ``00000017.mask.png`` (the
true mask), ``00000017.pseudo.png`` (the teacher's) and ``00000017.json`` (its line of the manifest).
``shard-000000.jsonl`` lists the same lines with the places of the members, so that nobody has to read an archive to
know what is in it. ``index.json`` comes last: without it the shards are not complete.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boxpromptiml.errors import DatasetError

INDEX_NAME = "index.json"
FORMAT: Literal["boxpromptiml-shards"] = "boxpromptiml-shards"
VERSION: Literal[1] = 1
SHARD_FILE = re.compile(r"^shard-\d{6}\.(tar|jsonl)$")

_REMEDY = "write the shards anew with  boxpromptiml shard"
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Place(BaseModel):
    """Where a member of an archive lies.

    Attributes:
        name: of the member.
        start: its first byte in the archive.
        size: bytes.
        crc32: of them.
    """

    model_config = _STRICT
    name: str = Field(min_length=1)
    start: int = Field(ge=0)
    size: int = Field(ge=0)
    crc32: int = Field(ge=0, lt=2**32)


class Listed(BaseModel):
    """An image in a shard: its line of the manifest, its paths those of the data set it came from, and its members."""

    model_config = _STRICT
    record: dict[str, Any]
    image: Place
    mask: Place | None = None
    pseudo: Place | None = None


class ShardEntry(BaseModel):
    """A shard in the index, and at the head of its own list.

    Attributes:
        name: file name of the archive; its list has the same with ``.jsonl``.
        bytes: of the archive.
        sha256: of the archive.
        images: in it.
        split: of all of them; None: they are in no split.
        source: digest of what it was made from: records, and sizes and times of the files.
    """

    model_config = _STRICT
    name: str = Field(pattern=r"^shard-\d{6}\.tar$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    images: int = Field(ge=1)
    split: str | None
    source: str

    @property
    def list_name(self) -> str:
        """File name of the list."""
        return list_of(self.name)


def list_of(archive: str) -> str:
    """File name of the list beside an archive."""
    return f"{archive.removesuffix('.tar')}.jsonl"


class Index(BaseModel):
    """``index.json``: the shards of a data set, and a digest of each one's list."""

    model_config = _STRICT
    format: Literal["boxpromptiml-shards"] = FORMAT
    version: Literal[1] = VERSION
    images: int = Field(ge=1)
    shards: list[ShardEntry] = Field(min_length=1)
    lists: list[str]


def read_index(text: str | bytes, place: str) -> Index:
    """Parse an index; `place` is used in errors.

    Raises:
        DatasetError: it is damaged, of another version, or no index of shards.
    """
    try:
        raw = json.loads(text)
        found = raw.get("format"), raw.get("version")
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"{place}: damaged, or no index of shards; {_REMEDY}") from error
    if found != (FORMAT, VERSION):
        raise DatasetError(
            f"{place}: {found[0]!r} in version {found[1]!r} is not what this version reads, {FORMAT} {VERSION}; "
            f"{_REMEDY}"
        )
    try:
        index = Index.model_validate_json(text)
    except ValidationError as error:
        raise DatasetError(f"{place}: damaged ({_first(error)}); {_REMEDY}") from error
    if len(index.lists) != len(index.shards) or index.images != sum(shard.images for shard in index.shards):
        raise DatasetError(f"{place}: damaged, its numbers do not add up; {_REMEDY}")
    return index


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
