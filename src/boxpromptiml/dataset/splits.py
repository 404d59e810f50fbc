"""Source groups, and splits that never cut one: no photograph of the training set shows up in the test set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from boxpromptiml.dataset.records import SPLITS, ImageRecord
from boxpromptiml.dataset.store import Dataset
from boxpromptiml.errors import DatasetError

Stratum = tuple[str | None, str | None]


def source_groups(names: Iterable[str], pattern: str | Callable[[str], Collection[str]]) -> dict[str, str]:
    """Group images that share a source photograph, directly or through others.

    Args:
        names: image paths.
        pattern: a regular expression, searched in the name: what each of its groups matches is the id of a source
            photograph (without groups: the whole match); or a function from the name to the ids of its sources.

    Returns:
        The group of each name that has a source: the smallest id of its connected component. Names without a source
        are left out.

    Raises:
        DatasetError: `pattern` is not a regular expression.
    """
    sources = sources_by_pattern(pattern) if isinstance(pattern, str) else pattern
    return connected_groups({name: sources(name) for name in names})


def connected_groups(sources: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Connected components of images over shared sources, each named by its smallest source id."""
    parent: dict[str, str] = {}

    def root(source: str) -> str:
        parent.setdefault(source, source)
        while parent[source] != source:
            parent[source] = parent[parent[source]]
            source = parent[source]
        return source

    for ids in sources.values():
        roots = {root(source) for source in ids}
        for other in roots:
            parent[other] = min(roots)
    return {name: root(next(iter(ids))) for name, ids in sources.items() if ids}


def split_by_group(
    records: Iterable[ImageRecord],
    fractions: Mapping[str, float],
    seed: int = 0,
    *,
    fixed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assign whole source groups to splits, as close to the wanted shares as the groups allow.

    Groups are taken from the largest to the smallest, those of one size in a random order; each goes to the split that
    lacks most of what the group has, counted apart by label and kind of manipulation. An image without a group is a
    group of its own. The result depends on the images and the seed, not on their order.

    Args:
        records: the images.
        fractions: share of each split, such as ``{"val": 0.1, "test": 0.2}``; what is left to 1 goes to ``train``.
        seed: of the random order.
        fixed: images whose split is given; the others of their groups follow them. They count towards the shares.

    Returns:
        The split of each image.

    Raises:
        DatasetError: unknown split, shares that are negative or above 1 in all, or too few groups: a split that was
            asked for would stay empty.
    """
    shares = _shares(fractions)
    groups: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.image):
        groups[_group(record)].append(record)
    strata = {name: Counter(_stratum(record) for record in members) for name, members in groups.items()}
    total: Counter[Stratum] = sum(strata.values(), Counter())
    have: dict[str, Counter[Stratum]] = {split: Counter() for split in SPLITS}
    chosen: dict[str, str] = {}
    given = fixed or {}
    for name, members in groups.items():
        for record in members:
            if record.image in given:
                chosen[name] = given[record.image]
                have[chosen[name]] += strata[name]
                break

    names = [name for name in sorted(groups) if name not in chosen]
    order = np.random.default_rng(seed).permutation(len(names))
    for index in sorted(order, key=lambda index: -len(groups[names[index]])):
        name = names[index]
        split = min(shares, key=lambda split: _cost(have[split], strata[name], total, shares[split]))
        chosen[name] = split
        have[split] += strata[name]

    for split in shares:
        if names and not have[split]:
            raise DatasetError(
                f"no source group is left for {split}: {sum(total.values())} images form {len(groups)} groups; "
                "add images, or ask for fewer splits"
            )
    return {
        record.image: given.get(record.image, chosen[name]) for name, members in groups.items() for record in members
    }


def assign_splits(
    dataset: Dataset,
    fractions: Mapping[str, float],
    seed: int = 0,
    *,
    only_unassigned: bool = False,
    within: str | None = None,
    overwrite: bool = False,
) -> dict[str, str]:
    """Assign splits in a dataset by `split_by_group`, in one transaction.

    Args:
        dataset: where the images are.
        fractions: see `split_by_group`; shares of the images that are assigned.
        seed: see `split_by_group`.
        only_unassigned: leave images that have a split; the others of their groups follow them.
        within: divide this split only, into itself and the splits of `fractions`, which must be empty: a second run
            would take their share of what the first one left. All other images stay where they are.
        overwrite: assign all images anew; with `within` those of the split and of the splits that it is divided into,
            so that a second run does what the first one did. Without any of the three, images that have a split
            already are an error.

    Returns:
        The splits that were assigned.

    Raises:
        DatasetError: see `split_by_group`; also no images, or images that have a split already.
    """
    if only_unassigned and (within is not None or overwrite):
        raise DatasetError("--only-unassigned goes with neither --within nor --overwrite")
    everything = list(dataset.records())
    assigned = {record.image: record.split for record in everything if record.split is not None}
    shares = dict(fractions)
    if within is not None:
        if shares.pop(within, 0.0):
            raise DatasetError(f"--within {within} divides that split: give shares of the others only")
        into = [split for split, share in shares.items() if share]
        if not overwrite:
            _refuse_filled(dataset, within, into)
        images = [record for record in everything if record.split in (within, *into)]
        shares = {"train": 0.0, **shares, within: 1 - sum(shares.values())}
        assigned = {}
    else:
        images = everything
        if assigned and not (only_unassigned or overwrite):
            raise DatasetError(
                f"{dataset.root}: {len(assigned)} images have a split already; give --only-unassigned, --within train, "
                "or --overwrite to assign all anew"
            )
        if overwrite:
            assigned = {}
    if not images:
        raise DatasetError(
            f"{dataset.root}: no images in it" if within is None else f"{dataset.root}: none in {within}"
        )
    splits = split_by_group(images, shares, seed, fixed=assigned)
    changed = {image: split for image, split in splits.items() if image not in assigned}
    dataset.set_splits(changed)
    return changed


def _refuse_filled(dataset: Dataset, within: str, into: Iterable[str]) -> None:
    """Refuse to divide a split into others that have images already."""
    for split in into:
        if count := dataset.count(split=split):
            images = "1 image is" if count == 1 else f"{count} images are"
            raise DatasetError(
                f"{dataset.root}: {images} in {split} already, and more of {within} would follow; --overwrite takes "
                f"them back into {within} and divides it anew, --{split} 0 leaves {split} as it is"
            )


def crossing_groups(records: Iterable[ImageRecord]) -> dict[str, dict[str, list[str]]]:
    """Groups with images in more than one split: group -> split -> images."""
    places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.group is not None and record.split is not None:
            places[record.group][record.split].append(record.image)
    return {group: dict(splits) for group, splits in places.items() if len(splits) > 1}


def sources_by_pattern(pattern: str) -> Callable[[str], list[str]]:
    """A function from a name to the ids of its sources, see `source_groups`. Raises DatasetError for a bad pattern."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"{pattern!r} is not a regular expression ({error})") from error

    def sources(name: str) -> list[str]:
        match = compiled.search(name)
        if match is None:
            return []
        return [part for part in (match.groups() if compiled.groups else (match.group(),)) if part]

    return sources


def _shares(fractions: Mapping[str, float]) -> dict[str, float]:
    for split, share in fractions.items():
        if split not in SPLITS:
            raise DatasetError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        if not 0 <= share <= 1:
            raise DatasetError(f"the share of {split} must lie between 0 and 1, got {share}")
    rest = 1 - sum(share for split, share in fractions.items() if split != "train")
    shares = {"train": rest, **fractions}
    if rest < -1e-9 or abs(sum(shares.values()) - 1) > 1e-6:
        raise DatasetError(f"shares must add up to 1, got {' + '.join(f'{share:g}' for share in shares.values())}")
    return {split: shares[split] for split in SPLITS if shares.get(split, 0) > 1e-9}


def _group(record: ImageRecord) -> str:
    # No group name holds a NUL, so an image that stands alone cannot fall into somebody's group.
    return record.group if record.group is not None else f"\0{record.image}"


def _stratum(record: ImageRecord) -> Stratum:
    return record.label, record.kind


def _cost(have: Counter[Stratum], add: Counter[Stratum], total: Counter[Stratum], share: float) -> float:
    """Change of the split's chi-square distance from its wanted numbers when it gets a group.

    Relative to the wanted numbers, so that small splits fill at the same pace as large ones instead of last.
    """
    cost = 0.0
    for stratum, number in add.items():
        before = have[stratum] - share * total[stratum]
        cost += ((before + number) ** 2 - before**2) / (share * total[stratum])
    return cost
