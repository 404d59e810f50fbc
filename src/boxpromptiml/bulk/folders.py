"""What lies below a folder of inputs, but for results of earlier runs, true masks and datasets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from boxpromptiml import storage
from boxpromptiml.bulk.names import FOLDERS, RESULTS_NAME, RUN_NAME, is_part
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.images import UNREAD_SUFFIXES

_MARKS = frozenset({RESULTS_NAME, RUN_NAME, DATABASE})


@dataclass
class LeftOut:
    """What the folders of the inputs hold and is not looked at.

    Attributes:
        unread: files whose formats are not read (HEIC, raw ...), by suffix.
        results: pictures and parts of tables that earlier runs have written.
        masks: images in ``Gt/`` beside ``Tp/``.
        datasets: folders of datasets.
    """

    unread: Counter[str] = field(default_factory=Counter)
    results: int = 0
    masks: int = 0
    datasets: set[str] = field(default_factory=set)

    def add(self, other: LeftOut) -> None:
        """Count what another folder holds, too."""
        self.unread.update(other.unread)
        self.results += other.results
        self.masks += other.masks
        self.datasets |= other.datasets

    def unread_text(self) -> str:
        """``2 .heic, 1 .gif``: how many files of which suffix, the most first; empty where there are none."""
        rows = sorted(self.unread.items(), key=lambda item: (-item[1], item))
        return ", ".join(f"{count} {suffix}" for suffix, count in rows)

    def others_text(self) -> str:
        """``12 results of earlier runs, 8 masks in Gt/``: all but what is not read; empty where there is nothing."""
        datasets = sorted(self.datasets)
        counts = (
            (self.results, "result of an earlier run", "results of earlier runs"),
            (self.masks, "mask in Gt/", "masks in Gt/"),
            (len(datasets), "dataset", "datasets"),
        )
        text = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
        return f"{text} ({datasets[0]}{', ...' if len(datasets) > 1 else ''})" if datasets else text

    def to_json(self) -> dict[str, Any]:
        """All counts."""
        others = {"results": self.results, "masks": self.masks, "datasets": len(self.datasets)}
        return {"unread": dict(self.unread), "left_out": others}


def files_below(root: str, suffixes: Collection[str], left_out: LeftOut) -> Iterator[str]:
    """Yield the files below a folder with one of the suffixes, each folder's sorted, hidden names left out.

    Left out and counted are: files in formats that are not read; the pictures of a run below a folder with its
    ``results.jsonl``, and the parts of a table beside its ``_run.json``; ``Gt/`` beside ``Tp/``, in any case of
    letters; datasets below `root`. What lies in `root` itself was asked for: whoever names a folder of masks gets them.
    Links to folders are not followed. The names of one folder at each level are held at a time.

    Args:
        root: path or URL.
        suffixes: lower case.
        left_out: counts.

    Raises:
        StorageError: a URL that cannot be listed.
    """
    yield from _files_of(root, storage.entries(root), frozenset(suffixes), left_out)


def _files_of(folder: str, entries: list[storage.Entry], suffixes: frozenset[str], left_out: LeftOut) -> Iterator[str]:
    marks = {entry.name for entry in entries if entry.name in _MARKS}
    has_tp = any(entry.is_folder and entry.name.lower() == "tp" for entry in entries)
    for name, is_folder, is_link in entries:
        place = _inside(folder, name)
        if not is_folder:
            suffix = storage.suffix_of(name)
            if suffix not in suffixes:
                continue
            if suffix in UNREAD_SUFFIXES:
                left_out.unread[suffix] += 1
            elif RUN_NAME in marks and is_part(name):
                left_out.results += 1
            else:
                yield place
        elif RESULTS_NAME in marks and name in FOLDERS:
            left_out.results += _count(place, suffixes)
        elif has_tp and name.lower() == "gt":
            left_out.masks += _count(place, suffixes)
        elif not is_link:
            inner = storage.entries(place)
            if any(entry.name == DATABASE for entry in inner):
                left_out.datasets.add(place)
            else:
                yield from _files_of(place, inner, suffixes, left_out)


def _count(folder: str, suffixes: frozenset[str]) -> int:
    """Images, or archives and tables, that are left out with a folder."""
    return sum(1 for _ in files_below(folder, suffixes - UNREAD_SUFFIXES, LeftOut()))


def _inside(folder: str, name: str) -> str:
    if storage.is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return name if folder in ("", ".") else os.path.join(folder, name)
