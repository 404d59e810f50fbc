"""Where the pixels come from: authentic photographs, and photographs with instance masks."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from boxpromptiml import images
from boxpromptiml.errors import BoxPromptError, ImageError
from boxpromptiml.regions import Box, mask_box
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.given import Given
from boxpromptiml.synthesis.photos import Photo, Skipped, decode, none_usable, photo_files, scan, scan_given

MIN_SIDE = 64
CACHE_BYTES = 512 * 2**20


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


V = TypeVar("V", bound=_Sized)


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of a photograph: its value in the label map, its tight box and its number of pixels."""

    label: int
    box: Box
    area: int


@dataclass(frozen=True, slots=True)
class ObjectPhoto:
    """A photograph with its objects: uint8 (h, w, 3), label map uint8 (h, w) with 0 = background, usable objects."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: tuple[Instance, ...]

    @property
    def nbytes(self) -> int:
        """Memory of the pixels."""
        return int(self.image.nbytes + self.labels.nbytes)


class _Cache(Generic[V]):
    """Least recently used values up to a number of bytes; pickled without its content."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key][0]
        value = make()
        size = value.nbytes
        if size <= self.limit:
            self._entries[key] = (value, size)
            self._used += size
            while self._used > self.limit:
                _, (_, freed) = self._entries.popitem(last=False)
                self._used -= freed
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["limit"])  # type: ignore[misc]


class _Pool(Generic[V]):
    """What both pools are: photos, those left out, and a cache of bounded size."""

    photos: tuple[Photo, ...]
    skipped: tuple[Skipped, ...]
    failed: dict[Path, str]
    max_side: int | None
    _cache: _Cache[V]

    def _fill(self, photos: Sequence[Photo], skipped: Sequence[Skipped], cache_bytes: int) -> None:
        self.photos, self.skipped = tuple(photos), tuple(skipped)
        self.failed = {}
        self._cache = _Cache(cache_bytes)

    def __len__(self) -> int:
        return len(self.photos)

    def subset(self, indices: Iterable[int]) -> Self:
        """A pool of some of the photos, in the same order."""
        pool = copy.copy(self)
        pool._fill([self.photos[i] for i in sorted(set(indices))], self.skipped, self._cache.limit)
        return pool

    def facts(self) -> dict[str, Any]:
        """What decides, with a seed, which pixels are drawn: number, longest side, and a digest of the photos' ids,
        sizes and lengths, which does not depend on where they lie. As JSON values."""
        digest = hashlib.sha256()
        for photo in self.photos:
            length = photo.path.stat().st_size if photo.read is None else None
            line = json.dumps([photo.id, photo.width, photo.height, length], ensure_ascii=False, separators=(",", ":"))
            digest.update(f"{line}\n".encode())
        return {"number": len(self), "max_side": self.max_side, "digest": digest.hexdigest()}


class PhotoPool(_Pool[NDArray[np.uint8]]):
    """Authentic photographs, decoded when asked for and kept in a cache of bounded size.

    Picklable: the cache stays behind, so data-loading workers start with an empty one.

    Args:
        paths: photo files and folders (searched recursively), or photographs that are given by themselves; order and
            duplicates do not matter.
        min_side: photos with a shorter side below this many pixels are skipped.
        max_side: larger photos are scaled down to this long side when they are loaded; None = as they are.
        cache_bytes: bound of the decoded photos kept in memory.

    Attributes:
        photos: the usable ones, sorted by path.
        skipped: files that are unreadable or too small, with the reason. Decoding happens later: a file whose header
            is sound and whose pixels are not is found then, and added to `failed`.
        failed: path -> reason of photos that could not be decoded.

    Raises:
        BoxPromptError: a path does not exist, or no photo is usable.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path | Given],
        *,
        min_side: int = MIN_SIDE,
        max_side: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        roots = [Path(path) for path in given if not isinstance(path, Given)]
        self.max_side = max_side
        photos, skipped = scan(photo_files(roots), min_side, max_side)
        found = scan_given([photo for photo in given if isinstance(photo, Given)], min_side, max_side)
        photos, skipped = photos + found[0], skipped + found[1]
        if not photos:
            raise BoxPromptError(none_usable(roots or [skipped[0].path], skipped))
        self._fill(photos, skipped, cache_bytes)

    def load(self, index: int) -> NDArray[np.uint8]:
        """The pixels of a photo, uint8 (h, w, 3), read-only.

        Raises:
            ImageError: it cannot be decoded; noted in `failed`.
        """
        photo = self.photos[index]
        return self._cache.get(photo.path, lambda: decode(photo, self.failed))


class ObjectPool(_Pool[ObjectPhoto]):
    """Photographs with instance masks: folders that hold ``images/`` and ``instances/``, paired by file stem.

    An instance mask is an 8-bit PNG of its photo's size: 0 = background, every other value is one object.

    Args:
        folders: one or several such folders.
        min_area: objects below this many pixels are not used.
        max_share: objects above this share of their photo are not used; neither are objects in pieces and thin rests.
        max_side, cache_bytes: as for `PhotoPool`.

    Attributes:
        photos, skipped, failed: as for `PhotoPool`.

    Raises:
        BoxPromptError: a folder lacks ``images/`` or ``instances/``, or no pair is usable.
    """

    def __init__(
        self,
        folders: str | Path | Sequence[str | Path],
        *,
        min_area: int = 400,
        max_share: float = 0.6,
        max_side: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        roots = [Path(folders)] if isinstance(folders, str | Path) else [Path(f) for f in folders]
        self.min_area = min_area
        self.max_share = max_share
        self.max_side = max_side
        files: list[tuple[str, Path]] = []
        pairs: dict[Path, Path] = {}
        for root in roots:
            for part in ("images", "instances"):
                if not (root / part).is_dir():
                    raise BoxPromptError(f"{root}: no folder {part}/ in it; objects are images/ + instances/ PNGs")
            masks = {path.stem: path for path in images.find_images(root / "instances")}
            for path in images.find_images(root / "images"):
                files.append((f"{root.name}/{path.relative_to(root / 'images').as_posix()}", path))
                if path.stem in masks:
                    pairs[path] = masks[path.stem]
        photos, skipped = scan(files, 1, max_side, pairs)
        if not photos:
            raise BoxPromptError(none_usable(roots, skipped))
        self._fill(photos, skipped, cache_bytes)

    def load(self, index: int) -> ObjectPhoto:
        """A photo with its usable objects (possibly none).

        Raises:
            ImageError: photo or mask cannot be decoded; noted in `failed`.
        """
        photo = self.photos[index]
        return self._cache.get(photo.path, lambda: self._decode(photo))

    def _decode(self, photo: Photo) -> ObjectPhoto:
        assert photo.instances is not None
        image = decode(photo, self.failed)
        try:
            labels = images.open_mask(photo.instances)
        except ImageError as error:
            self.failed[photo.instances] = error.reason
            raise
        if labels.shape != (photo.height, photo.width):
            labels = cv2.resize(labels, (photo.width, photo.height), interpolation=cv2.INTER_NEAREST_EXACT)
        labels = np.ascontiguousarray(labels)
        labels.setflags(write=False)
        found = []
        for label, area in enumerate(np.bincount(labels.ravel(), minlength=256).tolist()):
            if label and self.min_area <= area <= self.max_share * labels.size:
                mask = labels == label
                box = mask_box(mask)
                if box is not None and _is_whole(mask[box.slices], area):
                    found.append(Instance(label, box, area))
        return ObjectPhoto(image, labels, tuple(found))


def _is_whole(mask: NDArray[np.bool_], area: int) -> bool:
    """Whether an object looks like a thing: not in pieces, and not a thin rest behind something else."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(outlines, key=cv2.contourArea)
    filled = float(cv2.contourArea(largest))
    return filled >= 0.7 * area and filled >= 0.5 * float(cv2.contourArea(cv2.convexHull(largest)))
