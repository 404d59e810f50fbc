"""Between records and the rows of the three tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from boxpromptiml.dataset.records import ImageRecord, PseudoMask
from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box

_COLUMNS = "image, width, height, label, mask, split, source_group, kind, seconds, review, skipped, version"

_UPSERT = """
    INSERT INTO image (image, width, height, label, mask, split, source_group, kind, seconds, review, skipped,
        annotated, state, review_state, suspicion_rank, version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
    ON CONFLICT (image) DO UPDATE SET
        width = excluded.width, height = excluded.height, label = excluded.label, mask = excluded.mask,
        split = excluded.split, source_group = excluded.source_group, kind = excluded.kind,
        seconds = excluded.seconds, review = excluded.review, skipped = excluded.skipped,
        annotated = excluded.annotated, state = excluded.state, review_state = excluded.review_state,
        suspicion_rank = excluded.suspicion_rank, version = version + 1
"""


def write(connection: sqlite3.Connection, record: ImageRecord) -> None:
    """Insert or replace a checked record, within the caller's transaction; its version goes up by one."""
    name = record.image
    connection.execute(
        _UPSERT,
        (
            name,
            int(record.width),
            int(record.height),
            record.label,
            record.mask,
            record.split,
            record.group,
            record.kind,
            None if record.seconds is None else float(record.seconds),
            record.review,
            int(record.skipped),
            int(bool(record.boxes)),
            record.state,
            record.review_state,
            1.0 if record.pseudo is None else -float(record.pseudo.suspicion),
        ),
    )
    connection.execute("DELETE FROM region WHERE image = ?", (name,))
    connection.executemany(
        "INSERT INTO region VALUES (?, ?, ?, ?, ?, ?)",
        [(name, position, *(int(side) for side in box)) for position, box in enumerate(record.boxes)],
    )
    connection.execute("DELETE FROM pseudo_mask WHERE image = ?", (name,))
    if record.pseudo is not None:
        pseudo = record.pseudo
        parts = (pseudo.settings, pseudo.qualities, pseudo.flags, pseudo.fallbacks)
        try:
            lists = [json.dumps(part, allow_nan=False) for part in parts]
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{name}: the pseudo mask's record does not fit into JSON ({error})") from error
        connection.execute(
            "INSERT INTO pseudo_mask VALUES (?, ?, ?, ?, ?, ?, ?)", (name, pseudo.path, pseudo.teacher, *lists)
        )


def where(
    split: str | None, label: str | None, annotated: bool | None, after: str | None
) -> tuple[str, list[str | int]]:
    """The WHERE clause and its values for the filters of `Dataset.records`; None leaves a filter out."""
    wanted: list[tuple[str, str | int | None]] = [
        ("split = ?", split),
        ("label = ?", label),
        ("annotated = ?", None if annotated is None else int(annotated)),
        ("image > ?", after),
    ]
    used = [(condition, value) for condition, value in wanted if value is not None]
    text = " AND ".join(condition for condition, _ in used)
    return (f"WHERE {text}" if text else ""), [value for _, value in used]


def page(connection: sqlite3.Connection, condition: str, values: Sequence[str | int], limit: int) -> list[ImageRecord]:
    """The first `limit` records that meet the condition, in the order of their images."""
    with snapshot(connection):
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM image {condition} ORDER BY image LIMIT ?", (*values, limit)
        ).fetchall()
        return _records(connection, rows)


def load(connection: sqlite3.Connection, images: Sequence[str]) -> list[ImageRecord]:
    """The records of these images, in this order; unknown ones are left out."""
    with snapshot(connection):
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM image WHERE image IN (SELECT value FROM json_each(?))", (json.dumps(images),)
        )
        rows = {row[0]: row for row in found}
        return _records(connection, [rows[image] for image in images if image in rows])


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Several statements that see one state of the database: boxes, masks and versions must belong together."""
    begun = not connection.in_transaction
    if begun:
        connection.execute("BEGIN")
    try:
        yield
    finally:
        if begun:
            connection.execute("ROLLBACK")


def _records(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[ImageRecord]:
    """The records of some rows of the table of images, with what the other tables have of them."""
    names = json.dumps([row[0] for row in rows])
    boxes: dict[str, list[Box]] = {}
    for name, *box in connection.execute(
        "SELECT image, x0, y0, x1, y1 FROM region WHERE image IN (SELECT value FROM json_each(?))"
        " ORDER BY image, position",
        (names,),
    ):
        boxes.setdefault(name, []).append(Box(*box))
    pseudo = {
        row[0]: _pseudo(*row[1:])
        for row in connection.execute(
            "SELECT image, path, teacher, settings, qualities, flags, fallbacks FROM pseudo_mask"
            " WHERE image IN (SELECT value FROM json_each(?))",
            (names,),
        )
    }
    return [_record(row, tuple(boxes.get(row[0], ())), pseudo.get(row[0])) for row in rows]


def _record(row: tuple[Any, ...], boxes: tuple[Box, ...], pseudo: PseudoMask | None) -> ImageRecord:
    image, width, height, label, mask, split, group, kind, seconds, review, skipped, version = row
    return ImageRecord(
        image=image,
        width=width,
        height=height,
        label=label,
        boxes=boxes,
        mask=mask,
        pseudo=pseudo,
        split=split,
        group=group,
        kind=kind,
        seconds=seconds,
        review=review,
        skipped=bool(skipped),
        version=version,
    )


def _pseudo(path: str, teacher: str, settings: str, qualities: str, flags: str, fallbacks: str) -> PseudoMask:
    return PseudoMask(
        path=path,
        teacher=teacher,
        settings=json.loads(settings),
        qualities=tuple(json.loads(qualities)),
        flags=tuple(tuple(reasons) for reasons in json.loads(flags)),
        fallbacks=tuple(json.loads(fallbacks)),
    )
