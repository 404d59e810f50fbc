"""What a person's annotation makes of a record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from boxpromptiml.dataset.records import ImageRecord, Label
from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box

# One change takes no longer: a clock that ran on must not spoil the sum of all.
MAX_ADDED_SECONDS = 600.0


def annotated(
    record: ImageRecord,
    *,
    boxes: Sequence[Box],
    label: Label | None,
    skipped: bool = False,
    add_seconds: float = 0.0,
) -> ImageRecord:
    """The record with another annotation; see `Dataset.annotate`.

    The verdict on the pseudo mask stays with the mask: whoever changes the boxes and changes them back has not taken it
    back. What the verdict is worth while the boxes are others is for those to say who make masks.

    Raises:
        DatasetError: `add_seconds` is negative or not finite.
    """
    if not (math.isfinite(add_seconds) and add_seconds >= 0):
        raise DatasetError(f"{record.image}: add_seconds must be 0 or more, got {add_seconds}")
    drawn = tuple(Box(*box) for box in boxes)
    seconds = record.seconds
    if add_seconds:
        seconds = (seconds or 0.0) + min(float(add_seconds), MAX_ADDED_SECONDS)
    return replace(
        record,
        boxes=drawn,
        label=label or ("tampered" if drawn else None),
        skipped=skipped,
        seconds=seconds,
    )


def same_annotation(one: ImageRecord, other: ImageRecord) -> bool:
    """Whether a person said the same of both."""
    return (one.boxes, one.label, one.skipped) == (other.boxes, other.label, other.skipped)
