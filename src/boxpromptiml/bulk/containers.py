"""The images of a source: one file, the members of an archive, or the rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from boxpromptiml import storage
from boxpromptiml.bulk.inputs import InputError, Source
from boxpromptiml.bulk.seen import Seen
from boxpromptiml.errors import BoxPromptError, ImageError, MissingExtraError
from boxpromptiml.images import IMAGE_SUFFIXES

# Where a table's images are looked for, unless a column is named: bytes first, then paths.
_BYTES_COLUMNS = ("image", "bytes", "image_bytes", "content", "jpg", "jpeg", "png", "webp", "data")
_PATH_COLUMNS = ("path", "file", "file_name", "filename", "image_path", "url", "uri", "image_url")
_ROWS_AT_ONCE = 16
_IDS_AT_ONCE = 4096
_BUFFER = 1 << 20
_MEMBER_BYTES = 1 << 30


class InputImage(NamedTuple):
    """One image to look at.

    Attributes:
        name: its path or URL; ``ARCHIVE#MEMBER`` for a member of an archive, with `` (2)`` behind it for the second one
            of that name; for bytes in a table ``TABLE#ROW``, counted from 0, or the row's id.
        relative: where its outputs go below the output folder, without suffix.
        data: its encoded bytes, where reading the container has brought them.
        error: why there are none, where the container is at fault.
        location: where to read the bytes, where that is not `name`.
    """

    name: str
    relative: str
    data: bytes | None = None
    error: str | None = None
    location: str | None = None

    def read(self, base: str = "") -> bytes:
        """The encoded bytes. Raises ImageError where they cannot be had."""
        if self.error is not None:
            raise ImageError(self.name, self.error)
        if self.data is not None:
            return self.data
        return storage.read_image_bytes(self.location or self.name, base)


@dataclass(frozen=True)
class Columns:
    """Which columns of Parquet tables count.

    Attributes:
        image: encoded bytes, a struct ``{bytes, path}``, or paths and URLs; None looks for one of the usual names.
        id: what an image is called in the results; None calls it ``TABLE#ROW``, as does a row without an id.
    """

    image: str | None = None
    id: str | None = None


ANY_COLUMNS = Columns()


class RowGroups(NamedTuple):
    """A stretch of a table: its row groups `start` to `stop` (exclusive), whose first row has number `first`."""

    start: int
    stop: int
    first: int
    rows: int


def read_source(
    source: Source, *, base: str = "", columns: Columns = ANY_COLUMNS, groups: RowGroups | None = None
) -> Iterator[InputImage]:
    """Yield the images of a source; containers are streamed, a few images at a time.

    A container that turns out to be damaged yields what comes before the damage, and an image of the container's own
    name with the error; so does an archive without any image. A link in an archive is an image with an error.

    Args:
        source: what to read.
        base: folder that relative paths are relative to; empty for the working folder.
        columns: of tables.
        groups: the part of a table to read; None for all of it.
    """
    if source.kind == "image":
        yield InputImage(source.name, source.relative)
    elif source.kind == "tar":
        yield from _members(source, base)
    else:
        yield from _rows(source, base, columns, groups)


def _members(source: Source, base: str) -> Iterator[InputImage]:
    last = None
    counts: Counter[str] = Counter()
    try:
        for member in storage.tar_members(source.name, base):
            path = PurePosixPath(member.name)
            key, _, kind = member.name.rpartition(".")[0].rpartition(".")
            if kind in ("mask", "pseudo") and key == last:
                continue  # of the image before, as  boxpromptiml shard  writes them
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
                continue
            last = member.name.rpartition(".")[0]
            # Appending to an archive may repeat a name; results are told apart by it.
            counts[member.name] += 1
            again = f" ({counts[member.name]})" if counts[member.name] > 1 else ""
            name = f"{source.name}#{member.name}{again}"
            parts = [part for part in path.with_suffix("").parts if part not in ("/", "..", ".")]
            relative = "/".join([source.relative, *parts])
            if member.link:
                yield InputImage(name, relative, error=f"is a link to {member.link} in the archive; not read")
            elif member.size > _MEMBER_BYTES:
                yield InputImage(name, relative, error=f"has {member.size} bytes, over the limit of 1 GiB")
            else:
                yield InputImage(name, relative, member.stream.read())
        if not counts:
            yield InputImage(source.name, source.relative, error="no image in this archive")
    except Exception as error:
        yield _broken(source, "archive", error)


def _broken(source: Source, what: str, error: Exception) -> InputImage:
    # Ours say what is wrong themselves, such as a package that is missing where the worker runs.
    reason = str(error).removeprefix(f"{source.name}: ") if isinstance(error, BoxPromptError) else None
    text = reason or f"damaged or truncated {what}: images behind the damage are missing ({storage.one_line(error)})"
    return InputImage(source.name, source.relative, error=text)


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "bulk") from error
    return pyarrow.parquet


def table_parts(source: Source, columns: Columns, rows: int, base: str = "") -> Iterator[RowGroups]:
    """Cut a table into stretches of whole row groups with about `rows` rows each, from its footer alone.

    Raises:
        InputError: it is no Parquet file, or has no column with images.
        StorageError: it cannot be opened.
    """
    parquet = _parquet()
    with closing(storage.open_stream(source.name, base)) as stream:
        try:
            footer = parquet.read_metadata(stream)
        except Exception as error:
            raise InputError(f"{source.name}: is no Parquet file ({storage.one_line(error)})") from error
    _image_column(source.name, footer.schema.to_arrow_schema(), columns)
    start, first, count = 0, 0, 0
    for group in range(footer.num_row_groups):
        count += footer.row_group(group).num_rows
        if count >= rows or group == footer.num_row_groups - 1:
            yield RowGroups(start, group + 1, first, count)
            start, first, count = group + 1, first + count, 0


def check_tables(sources: Iterable[Source], columns: Columns) -> None:
    """Find out before a run whether all tables among the sources have the columns, and ids that tell rows apart.

    A table that is damaged, or is not there, passes: reading it says so.

    Raises:
        InputError: a column is missing, or named where there are no tables; or an id is there twice.
        MissingExtraError: there are tables, and pyarrow is not installed.
    """
    with Seen() as seen:
        tables = [source for source in sources if source.kind == "parquet"]
        check_named(columns, bool(tables))
        for source in tables:
            parquet = _parquet()
            try:
                with closing(storage.open_stream(source.name)) as stream:
                    schema = parquet.read_schema(stream)
            except Exception:
                continue
            _image_column(source.name, schema, columns)
            check_ids(source, columns, seen)


def check_named(columns: Columns, any_tables: bool) -> None:
    """Refuse columns that are named where no table has them.

    Raises:
        InputError: columns are named, and there is no table.
    """
    if columns != ANY_COLUMNS and not any_tables:
        raise InputError("there is no Parquet table among the images, so nothing has an --image-column or --id-column")


def check_ids(source: Source, columns: Columns, seen: Seen) -> None:
    """Read the ids of a table, if a column of them is named, and refuse those that were there before.

    Raises:
        InputError: an id is there twice.
    """
    if columns.id is None:
        return
    row = 0
    try:
        with closing(storage.open_stream(source.name)) as stream:
            table = _parquet().ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
            for batch in table.iter_batches(_IDS_AT_ONCE, columns=[columns.id]):
                for value in batch.column(columns.id).to_pylist():
                    if value is not None and not seen.is_new(str(value)):
                        raise InputError(
                            f"{source.name}: row {row}: the id {value} was there before, and results are told apart by "
                            f"it; choose another --id-column than {columns.id}, or none: rows are then called TABLE#ROW"
                        )
                    row += 1
    except InputError:
        raise
    except Exception:
        return  # damaged: reading its images says so


def _image_column(name: str, schema: Any, columns: Columns) -> str:
    for wanted in (columns.image, columns.id):
        if wanted is not None and wanted not in schema.names:
            raise InputError(f"{name}: has no column {wanted}; its columns are {', '.join(schema.names)}")
    if columns.image is not None:
        return columns.image
    found = next((column for column in _BYTES_COLUMNS + _PATH_COLUMNS if column in schema.names), None)
    if found is None:
        names = ", ".join(schema.names)
        raise InputError(f"{name}: which of its columns holds the images? Say so with --image-column ({names})")
    return found


def _rows(source: Source, base: str, columns: Columns, groups: RowGroups | None) -> Iterator[InputImage]:
    parquet = _parquet()
    number = 0 if groups is None else groups.first
    try:
        with closing(storage.open_stream(source.name, base)) as stream:
            table = parquet.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
            image = _image_column(source.name, table.schema_arrow, columns)
            chosen = None if groups is None else list(range(groups.start, groups.stop))
            wanted = [image] if columns.id is None else [image, columns.id]
            for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=chosen, columns=wanted):
                names = None if columns.id is None else batch.column(columns.id)
                for i, value in enumerate(batch.column(image)):
                    key = None if names is None else names[i].as_py()
                    name = f"{source.name}#{number}" if key is None else str(key)
                    yield _cell(value.as_py(), name, f"{source.relative}/{number:08d}", source.name)
                    number += 1
    except Exception as error:
        yield _broken(source, "table", error)


def _cell(value: Any, name: str, relative: str, table: str) -> InputImage:
    """A cell as an image: bytes, a path, or (as `datasets` writes them) both."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return InputImage(name, relative, value)
    if not isinstance(value, str) or not value:
        return InputImage(name, relative, error="the table has no image in this row")
    location = storage.joined(storage.folder_of(table), value)
    return InputImage(location if name.startswith(f"{table}#") else name, relative, location=location)
