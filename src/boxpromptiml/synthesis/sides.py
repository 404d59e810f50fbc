"""Splitting photographs before anything is made of them, so that none is on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from boxpromptiml.errors import ImageError, RecipeError
from boxpromptiml.files import sha256_of
from boxpromptiml.synthesis.photos import Photo
from boxpromptiml.synthesis.pools import ObjectPool, PhotoPool

_HELD_OUT = ("val", "test")
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Side:
    """One side of the split and its own photographs: name ``train``, ``val``, ``test``, or None for no split."""

    name: str | None
    share: float
    photos: PhotoPool
    objects: ObjectPool | None


def parse_fractions(text: str) -> dict[str, float]:
    """Read ``val=0.1,test=0.2``: the shares of the photographs held out; the rest is ``train``.

    Raises:
        RecipeError: malformed, another name than val and test, or nothing left for training.
    """
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not equals or name not in _HELD_OUT or name in fractions or not 0 < share < 1:
            raise RecipeError(f"--split-by-source {text}: write it as val=0.1,test=0.2, each above 0 and below 1")
        fractions[name] = share
    if sum(fractions.values()) >= 1:
        raise RecipeError(f"--split-by-source {text}: the shares leave nothing for train; make them sum to less than 1")
    return fractions


def split_sources(
    photos: PhotoPool, objects: ObjectPool | None, fractions: Mapping[str, float], seed: int
) -> tuple[Side, ...]:
    """Deal the photographs, and those of the objects, out to train, val and test.

    Files of equal content count as one photograph, also across the two pools. Which photo goes where depends on the
    seed and the photos' ids only.

    Args:
        photos: hosts and donors.
        objects: photographs with objects, or None.
        fractions: shares of val and test; empty = one side without a name that holds everything.
        seed: of the dealing.

    Raises:
        RecipeError: there are fewer photographs than sides.
        ImageError: a file cannot be read.
    """
    if not fractions:
        return (Side(None, 1.0, photos, objects),)
    shares = {
        "train": 1 - sum(fractions.values()),
        **{name: fractions[name] for name in _HELD_OUT if name in fractions},
    }
    identity = _identities([*photos.photos, *(objects.photos if objects else ())])
    home = _deal([identity[photo] for photo in photos.photos], shares, seed, "photos")
    if objects is not None:
        left = [identity[photo] for photo in objects.photos if identity[photo] not in home]
        if left:
            home |= _deal(left, shares, seed, "photos with objects")
    sides = []
    for name, share in shares.items():
        own = [i for i, photo in enumerate(photos.photos) if home[identity[photo]] == name]
        own_objects = None
        if objects is not None:
            with_objects = [i for i, photo in enumerate(objects.photos) if home[identity[photo]] == name]
            own_objects = objects.subset(with_objects) if with_objects else None
        sides.append(Side(name, share, photos.subset(own), own_objects))
    return tuple(sides)


def side_of(index: int, sides: Sequence[Side]) -> int:
    """Which side image number `index` is made on: evenly spread, and the same however many images are made."""
    position = (index + 0.5) * _GOLDEN % 1.0
    total = 0.0
    for number, side in enumerate(sides):
        total += side.share
        if position < total:
            return number
    return len(sides) - 1


def _identities(photos: Iterable[Photo]) -> dict[Photo, str]:
    """What makes a photograph the same one: its content. Only files of equal length are read."""
    by_length: dict[int, list[Photo]] = {}
    for photo in photos:
        by_length.setdefault(_length(photo), []).append(photo)
    found: dict[Photo, str] = {}
    for length, alike in by_length.items():
        for photo in alike:
            found[photo] = photo.path.as_posix() if len(alike) == 1 else f"{length}:{_digest(photo)}"
    # The first id of each content: paths differ between machines, ids do not.
    first: dict[str, str] = {}
    for photo, key in found.items():
        first[key] = min(first.get(key, photo.id), photo.id)
    return {photo: first[key] for photo, key in found.items()}


def _length(photo: Photo) -> int:
    try:
        return photo.path.stat().st_size
    except OSError as error:
        raise ImageError(photo.path, f"cannot be read ({error.strerror}); leave it out") from error


def _digest(photo: Photo) -> str:
    try:
        return sha256_of(photo.path)
    except OSError as error:
        raise ImageError(photo.path, f"cannot be read ({error.strerror}); leave it out") from error


def _deal(ids: Iterable[str], shares: Mapping[str, float], seed: int, what: str) -> dict[str, str]:
    """id -> side: in an order that the seed decides, the first ids to the held-out sides, at least one to each."""
    unique = sorted(set(ids), key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())
    if len(unique) < len(shares):
        raise RecipeError(f"{len(unique)} {what} cannot be split into {len(shares)} sides; give more or do not split")
    counts = {name: max(1, round(share * len(unique))) for name, share in shares.items() if name != "train"}
    while sum(counts.values()) >= len(unique):
        counts[max(counts, key=lambda name: counts[name])] -= 1
    home: dict[str, str] = {}
    for name, count in counts.items():
        home |= dict.fromkeys(unique[len(home) : len(home) + count], name)
    return home | dict.fromkeys(unique[len(home) :], "train")
