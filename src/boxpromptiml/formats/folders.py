"""Folders: `Tp/` + `Gt/` (+ `Au/`) paired by stem, as IMDLBenCo and the reference set-up have them, or just images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.source import Candidate, Mismatch, Source
from boxpromptiml.images import find_images

# How data sets name the mask of `a.jpg` other than `a.png`: CASIA, IMD2020 and others; in any case of letters.
MASK_SUFFIXES = ("_gt", "_mask", "_forged")

Key = tuple[str, str]


def tp_gt_parts(folder: Path) -> dict[str, Path]:
    """The sub-folders `tp`, `gt` and `au` of a folder that are there, whatever the case of their letters."""
    return {
        path.name.lower(): path
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name.lower() in ("tp", "gt", "au")
    }


def read_tp_gt(folder: Path) -> Source:
    """Read `Tp/` (tampered), `Gt/` (masks) and `Au/` (authentic); any of `Gt/` and one of the others may be missing.

    The mask of `Tp/x/a.jpg` is the image in `Gt/x/` whose stem is `a`; if there is none, one of `a_gt`, `a_mask` or
    `a_forged`. Without `Gt/` the tampered images have no masks, which is no mismatch: they may get boxes from people.
    """
    parts = tp_gt_parts(folder)
    candidates: list[Candidate] = []
    mismatches: list[Mismatch] = []
    tampered = find_images(parts["tp"]) if "tp" in parts else []
    if "gt" in parts:
        for found in _paired(parts.get("tp", folder), tampered, parts["gt"]):
            if isinstance(found, Candidate):
                candidates.append(found)
            else:
                mismatches.append(found)
    else:
        candidates += [Candidate(image, label="tampered") for image in tampered]
    if "au" in parts:
        candidates += [Candidate(image, label="authentic") for image in find_images(parts["au"])]
    names = "+".join(name.capitalize() for name in ("tp", "gt", "au") if name in parts)
    return Source(f"{names} folders", tuple(candidates), tuple(mismatches))


def folders_apart(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders below a folder whose images are not all photographs of it.

    Returns:
        Datasets of their own; and, outside of them, folders with `Tp/` and `Gt/` or `Au/`.
    """
    datasets, tp_gt = [], []
    for where, names, files in os.walk(folder):
        if DATABASE in files and Path(where) != folder:
            datasets.append(Path(where))
            names.clear()  # nothing in it is looked for
        elif _are_tp_gt({name.lower() for name in names}):
            tp_gt.append(Path(where))
    return sorted(datasets), sorted(tp_gt)


def refuse_nested_tp_gt(folder: Path, remedy: str) -> None:
    """Refuse a folder that is to be read as photographs, if masks of `Tp/` and `Gt/` lie somewhere below it.

    Raises:
        DatasetError: there are such folders; the message names them and ends with `remedy`.
    """
    below = folders_apart(folder)[1]
    if below:
        names = ", ".join(where.relative_to(folder).as_posix() for where in below[:4])
        raise DatasetError(
            f"{folder}: holds folders with Tp/ and Gt/ or Au/ ({names}), where masks are no photographs; {remedy}"
        )


def read_images(folder: Path) -> Source:
    """Read a plain folder of images, with its sub-folders: no masks, no labels. Datasets inside are left out."""
    datasets = {database.parent for database in folder.rglob(DATABASE)}
    # A dataset in the folder holds masks, not photographs.
    images = [image for image in find_images(folder) if not datasets.intersection(image.parents)]
    return Source("folder of images", tuple(Candidate(image) for image in images))


def _paired(images_folder: Path, images: list[Path], masks_folder: Path) -> Iterator[Candidate | Mismatch]:
    by_key: dict[Key, list[Path]] = defaultdict(list)
    for image in images:
        by_key[_key(image, images_folder)].append(image)
    masks: dict[Key, list[Path]] = defaultdict(list)
    loose: dict[Key, list[Path]] = defaultdict(list)
    for mask in find_images(masks_folder):
        key = _key(mask, masks_folder)
        if key in by_key:
            masks[key].append(mask)
            continue
        suffix = next((suffix for suffix in MASK_SUFFIXES if key[1].lower().endswith(suffix)), "")
        loose[key[0], key[1][: len(key[1]) - len(suffix)]].append(mask)
    for key, same in by_key.items():
        found = masks.get(key) or loose.pop(key, [])
        for image in same:
            if not found:
                yield Mismatch(image, f"has no mask in {masks_folder} (looked for {key[1]}.png and the like)")
            elif len(found) > 1:
                yield Mismatch(image, f"has several masks: {', '.join(mask.name for mask in found)}; keep one")
            elif len(same) > 1:
                others = ", ".join(other.name for other in same if other != image)
                yield Mismatch(image, f"has the same stem as {others}, so that the mask {found[0].name} is ambiguous")
            else:
                yield Candidate(image, mask=found[0], label="tampered")
        # `a_gt.png` beside `a.png`: the exact stem wins, the other one is not orphaned.
        loose.pop(key, None)
    for orphans in loose.values():
        for mask in orphans:
            yield Mismatch(mask, f"is a mask without an image in {images_folder}")


def _are_tp_gt(names: set[str]) -> bool:
    return "tp" in names and not names.isdisjoint({"gt", "au"})


def _key(path: Path, folder: Path) -> Key:
    return path.parent.relative_to(folder).as_posix(), path.stem
