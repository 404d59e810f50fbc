"""Where the files of pseudo masks lie, and when one may go."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boxpromptiml.dataset import Dataset, PseudoMask

FOLDER = "pseudo"
# The "teacher" of a mask that a person painted.
PERSON = "person"


def teacher_folder(teacher: str) -> str:
    """Folder of a teacher's masks, relative to the dataset: no two teachers share one."""
    return f"{FOLDER}/{_plain(teacher)}"


def mask_path(teacher: str, image: str, settings: Mapping[str, Any]) -> str:
    """Where a mask goes, relative to the dataset folder.

    The name holds a digest of image, teacher and settings: a file never changes its meaning, whenever a run is killed
    between writing the file and storing the record.
    """
    identity = json.dumps([image, teacher, settings], sort_keys=True)
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{teacher_folder(teacher)}/{_plain(Path(image).stem)[:100] or 'image'}-{digest}.png"


def remove_superseded(dataset: Dataset, image: str, old: PseudoMask | None) -> None:
    """Remove the file of a mask that another one of the same teacher has replaced. What a person painted stays.

    Args:
        dataset: its record of the image names the new mask already.
        image: which one.
        old: the mask before.
    """
    if old is None or old.teacher == PERSON:
        return
    # Somebody may have gone back to the old mask meanwhile.
    now = dataset.get(image).pseudo
    stale = dataset.path(old.path)
    replaced = now is not None and now.teacher == old.teacher and now.path != old.path
    if replaced and stale.parent == dataset.path(teacher_folder(old.teacher)):
        stale.unlink(missing_ok=True)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
