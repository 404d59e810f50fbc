"""IMDLBenCo's JSON lists: `[["img", "mask"], ["img", "Negative"], ...]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.source import Candidate, Mismatch, Source

NEGATIVE = "Negative"


def is_json_list(value: Any) -> bool:
    """Whether parsed JSON is meant as such a list: what is wrong with its entries is for `read_json_list` to say."""
    return isinstance(value, list)


def read_json_list(path: Path) -> Source:
    """Read a JSON list of pairs of image and mask, relative to the list's folder or absolute.

    As in IMDLBenCo (`JsonDataset`), ``"Negative"`` instead of a mask, or a mask that is empty, says authentic.

    Raises:
        DatasetError: the file is not such a list; the message names the first entry that is not a pair.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    if not isinstance(entries, list):
        raise DatasetError(f'{path}: expected a list [["image", "mask"], ["image", "{NEGATIVE}"], ...]')
    pairs = [_pair(path, number, entry) for number, entry in enumerate(entries, start=1)]
    candidates: list[Candidate] = []
    mismatches: list[Mismatch] = []
    seen: dict[Path, int] = {}
    for number, (image, mask) in enumerate(pairs, start=1):
        file = path.parent / image
        first = seen.setdefault(file, number)
        if first != number:
            if pairs[first - 1][1] != mask:
                mismatches.append(Mismatch(file, f"is listed in entries {first} and {number} with different masks"))
        elif mask == NEGATIVE:
            candidates.append(Candidate(file, label="authentic"))
        else:
            candidates.append(Candidate(file, mask=path.parent / mask, label="tampered", label_by_mask=True))
    contradicted = {mismatch.path for mismatch in mismatches}
    kept = tuple(candidate for candidate in candidates if candidate.image not in contradicted)
    return Source("IMDLBenCo list", kept, tuple(mismatches))


def _pair(path: Path, number: int, entry: Any) -> tuple[str, str]:
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) and part for part in entry):
        return entry[0], entry[1]
    text = json.dumps(entry)
    raise DatasetError(
        f'{path}: entry {number} is {text[:80]}{"..." if len(text) > 80 else ""}, expected ["image", "mask"] '
        f'or ["image", "{NEGATIVE}"]'
    )
