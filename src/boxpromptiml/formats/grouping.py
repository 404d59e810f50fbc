"""Which images share a source photograph, as far as their names tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.splits import connected_groups, sources_by_pattern
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.casia import casia_sources

Sources = Callable[[str], Collection[str]]

# Roboflow's exports hold several augmented copies of one photograph: IMG1_jpg.rf.<hash>.jpg.
_COPY = re.compile(r"\.rf\.[0-9a-f]{32}$")
# Folders in which an export has its parts.
_PARTS = {"train", "valid", "val", "test", "images"}


def groups_of(
    everything: Mapping[str, ImageRecord], imported: set[str], group_by: str, dataset: Dataset, src: str | Path
) -> dict[str, str]:
    """Groups of all images: by the sources that their names tell, and by the groups that they have already.

    Args:
        everything: the images, stored and new.
        imported: those that are imported now.
        group_by: see `import_source`.
        dataset: what they are imported into.
        src: where they are imported from.
    """
    if group_by == "none":
        return {}
    sources = _sources(group_by, dataset, Path(src).resolve())

    def ids(name: str, record: ImageRecord) -> set[str]:
        # Another source's stems mean nothing here: 001.jpg is in many data sets.
        found = casia_sources(name) if group_by == "auto" and name not in imported else sources(name)
        return {*found, record.group} if record.group is not None else set(found)

    return connected_groups({name: ids(name, record) for name, record in everything.items()})


def check_grouping(group_by: str, src: str | Path, names: Collection[str]) -> None:
    """Refuse a pattern that is malformed or says nothing about the names, before anything is read or written.

    Raises:
        DatasetError: it is one.
    """
    if group_by in ("auto", "stem", "none"):
        return
    sources = casia_sources if group_by == "casia" else sources_by_pattern(group_by)
    if names and not any(sources(name) for name in names):
        raise DatasetError(f"{src}: --group-by {group_by} matches none of the {len(names)} names")


def _sources(group_by: str, dataset: Dataset, src: Path) -> Sources:
    """The ids of an image's sources; the place of `src` tells it from all others in the dataset."""
    if group_by == "casia":
        return casia_sources
    if group_by == "stem":
        return lambda name: [PurePosixPath(name).stem]
    if group_by != "auto":
        return sources_by_pattern(group_by)
    place, export = dataset.relative(src), dataset.relative(_export(src))

    def told(name: str) -> Collection[str]:
        stem = PurePosixPath(name).stem
        photograph = _COPY.sub("", stem)
        return casia_sources(name) or [f"{place if photograph == stem else export}/{photograph}"]

    return told


def _export(src: Path) -> Path:
    """The folder of a whole export: its splits are often imported one by one."""
    folder = src if src.is_dir() else src.parent
    while folder.name.lower() in _PARTS:
        folder = folder.parent
    return folder
