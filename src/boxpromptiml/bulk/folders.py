"""What lies below a folder of inputs, but for results of earlier runs and masks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from boxpromptiml import storage
from boxpromptiml.bulk.datasets import mask_folders, named_masks
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
        masks: images in ``Gt/`` beside ``Tp/``, and masks of datasets.
        folders: that cannot be read; nobody knows what is in them.
        first: the first folder of results or masks, or file where they lie among others; empty where there is none.
        dataset: the first dataset; empty where there is none.
    """

    unread: Counter[str] = field(default_factory=Counter)
    results: int = 0
    masks: int = 0
    folders: list[str] = field(default_factory=list)
    first: str = ""
    dataset: str = ""

    def add(self, other: LeftOut) -> None:
        """Count what another folder holds, too."""
        self.unread.update(other.unread)
        self.results += other.results
        self.masks += other.masks
        self.folders += other.folders
        self.first = self.first or other.first
        self.dataset = self.dataset or other.dataset

    def add_results(self, place: str, count: int) -> None:
        """Count results of earlier runs that lie in a folder, or are a file."""
        self.results += count
        self.first = self.first or (place if count else "")

    def add_masks(self, place: str, count: int) -> None:
        """Count masks that lie in a folder, or are a file."""
        self.masks += count
        self.first = self.first or (place if count else "")

    def unread_text(self) -> str:
        """``2 .heic, 1 .gif``: how many files of which suffix, the most first; empty where there are none."""
        rows = sorted(self.unread.items(), key=lambda item: (-item[1], item))
        return ", ".join(f"{count} {suffix}" for suffix, count in rows)

    def others_text(self) -> str:
        """``12 results of earlier runs, 8 masks``: all but what is not read; empty where there is nothing."""
        counts = (
            (self.results, "result of an earlier run", "results of earlier runs"),
            (self.masks, "mask", "masks"),
            (len(self.folders), "folder that cannot be read", "folders that cannot be read"),
        )
        return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)

    def to_json(self) -> dict[str, Any]:
        """All counts."""
        counts = {"results": self.results, "masks": self.masks, "folders": len(self.folders)}
        return {"unread": dict(self.unread), "left_out": counts}


def files_below(root: str, suffixes: Collection[str], left_out: LeftOut) -> Iterator[str]:
    """Yield the files below a folder with one of the suffixes, each folder's sorted, hidden names left out.

    Left out and counted are: files in formats that are not read; the pictures of a run below a folder with its
    ``results.jsonl``, and the parts of a table beside its ``_run.json``; ``Gt/`` beside ``Tp/``, in any case of
    letters; in a dataset the folders that masks are written to, and the files that its records name as masks; folders
    that cannot be read.
    What lies in `root` itself was asked for: whoever names a folder of masks gets them.
    Links to folders are not followed. The names of one folder at each level are held at a time.

    Args:
        root: path or URL.
        suffixes: lower case.
        left_out: counts.

    Raises:
        StorageError: a URL that cannot be listed.
    """
    yield from _files_of(root, frozenset(suffixes), left_out, frozenset())


def _files_of(folder: str, suffixes: frozenset[str], left_out: LeftOut, masks: frozenset[str]) -> Iterator[str]:
    """As `files_below`; `masks` are the files that the records of datasets above name as such."""
    entries = storage.entries(folder, left_out.folders.append)
    marks = {entry.name for entry in entries if entry.name in _MARKS}
    has_tp = any(entry.is_folder and entry.name.lower() == "tp" for entry in entries)
    if DATABASE in marks:
        left_out.dataset = left_out.dataset or folder
        masks |= {_inside(folder, name) for name in named_masks(folder)}
    for name, is_folder, is_link in entries:
        place = _inside(folder, name)
        if not is_folder:
            suffix = storage.suffix_of(name)
            if suffix not in suffixes:
                continue
            if suffix in UNREAD_SUFFIXES:
                left_out.unread[suffix] += 1
            elif RUN_NAME in marks and is_part(name):
                left_out.add_results(place, 1)
            elif place in masks:
                left_out.add_masks(place, 1)
            else:
                yield place
        elif RESULTS_NAME in marks and name in FOLDERS:
            left_out.add_results(place, _count(place, suffixes))
        elif (has_tp and name.lower() == "gt") or (DATABASE in marks and name in mask_folders()):
            left_out.add_masks(place, _count(place, suffixes))
        elif not is_link:
            yield from _files_of(place, suffixes, left_out, masks)


def _count(folder: str, suffixes: frozenset[str]) -> int:
    """Images, or archives and tables, that are left out with a folder."""
    return sum(1 for _ in files_below(folder, suffixes - UNREAD_SUFFIXES, LeftOut()))


def _inside(folder: str, name: str) -> str:
    if storage.is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return name if folder in ("", ".") else os.path.join(folder, name)
