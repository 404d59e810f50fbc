"""Whether a teacher's mask is still the one of the boxes that an image has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.regions import Box


def boxes_digest(boxes: Iterable[Box]) -> str:
    """16 hex digits that tell boxes apart; kept among the settings of a pseudo mask."""
    return hashlib.sha256(json.dumps([list(map(int, box)) for box in boxes]).encode()).hexdigest()[:16]


def is_stale(record: ImageRecord) -> bool:
    """Whether the record's pseudo mask was made of other boxes than the record has now; False without one."""
    return record.pseudo is not None and record.pseudo.settings.get("boxes") != boxes_digest(record.boxes)
