"""Results as Parquet: one row an image, one file a shard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from boxpromptiml import rle
from boxpromptiml.bulk.containers import InputImage
from boxpromptiml.bulk.operator import Failed
from boxpromptiml.errors import MissingExtraError
from boxpromptiml.runtime.preparing import Prepared
from boxpromptiml.runtime.result import Localization

_METADATA_KEY = "boxpromptiml"
_ROWS_AT_ONCE = 256


class Counts(NamedTuple):
    """What a part holds.

    Attributes:
        images: rows.
        tampered: rows with the verdict tampered.
        failed: rows with an error.
    """

    images: int = 0
    tampered: int = 0
    failed: int = 0


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "bulk") from error
    return pyarrow


def table_schema() -> Any:
    """The columns, as a schema of pyarrow.

    ``image, sha256, width, height, score, verdict, threshold, regions (x0, y0, x1, y1, area, score), copies
    (boxes, pasted, matrix, similarity, matches), mask (size, counts: COCO run lengths, null where it is empty), model,
    error``. A row has an error or an answer.
    """
    pa = _pyarrow()
    whole, real = pa.int32(), pa.float32()
    box = [(side, whole) for side in ("x0", "y0", "x1", "y1")]
    region = pa.struct([*box, ("area", pa.int64()), ("score", real)])
    copy = pa.struct(
        [
            ("boxes", pa.list_(pa.struct(box))),
            ("pasted", whole),
            ("matrix", pa.list_(pa.list_(pa.float64()))),
            ("similarity", real),
            ("matches", whole),
        ]
    )
    return pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),
            ("sha256", pa.string()),
            ("width", whole),
            ("height", whole),
            ("score", real),
            ("verdict", pa.string()),
            ("threshold", pa.float64()),
            ("regions", pa.list_(region)),
            ("copies", pa.list_(copy)),
            ("mask", pa.struct([("size", pa.list_(whole)), ("counts", pa.string())])),
            pa.field("model", pa.string(), nullable=False),
            ("error", pa.string()),
        ]
    )


def table_row(
    image: InputImage, item: Prepared | Failed, found: Localization | None, *, model: str, masks: bool
) -> dict[str, Any]:
    """The row of an image; it depends on its bytes, the model and the threshold alone."""
    # Names that are not UTF-8 keep their odd bytes as \\xNN: a column of text holds nothing else.
    name = os.fsencode(image.name).decode("utf-8", "backslashreplace")
    if found is None:
        assert isinstance(item, Failed)
        return {"image": name, "sha256": item.sha256, "model": model, "error": item.error}
    return {
        "image": name,
        "sha256": found.sha256 or None,
        "width": found.width,
        "height": found.height,
        "score": found.score,
        "verdict": found.verdict,
        "threshold": found.threshold,
        "regions": [{**region.box._asdict(), "area": region.area, "score": region.score} for region in found.regions],
        "copies": [{**copy.to_json(), "boxes": [box._asdict() for box in copy.boxes]} for copy in found.copies],
        "mask": _mask(found) if masks and found.regions else None,
        "model": model,
    }


def _mask(found: Localization) -> rle.Rle:
    # The mask of a single region is its own; others are put together from pixels.
    return found.regions[0].rle if len(found.regions) == 1 else rle.encode(found.mask)


class PartWriter:
    """Writes the rows of one part, a few hundred at a time, and counts them."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._rows: list[dict[str, Any]] = []
        self.counts = Counts()

    @classmethod
    @contextmanager
    def open(cls, path: Path, run: str) -> Iterator[PartWriter]:
        """Open a new file; on success it is closed with its counts and the id of its run written in it."""
        pa = _pyarrow()
        with pa.parquet.ParquetWriter(path, table_schema(), compression="zstd") as parquet:
            writer = cls(parquet)
            yield writer
            writer._flush()
            text = json.dumps({"run": run, **writer.counts._asdict()})
            parquet.add_key_value_metadata({_METADATA_KEY: text})

    def add(self, row: dict[str, Any]) -> None:
        """Add one row (see `table_row`)."""
        images, tampered, failed = self.counts
        self.counts = Counts(
            images + 1, tampered + (row.get("verdict") == "tampered"), failed + (row.get("error") is not None)
        )
        self._rows.append(row)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(_pyarrow().RecordBatch.from_pylist(self._rows, schema=table_schema()))
            self._rows = []


def part_counts(stream: IO[bytes], run: str) -> Counts | None:
    """What a part holds, from its footer; None for a part of another run, or a file that is no part at all."""
    pa = _pyarrow()
    try:
        metadata = pa.parquet.read_metadata(stream).metadata or {}
        content = json.loads(metadata[_METADATA_KEY.encode()])
        if content.pop("run") != run:
            return None
        return Counts(**content)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
