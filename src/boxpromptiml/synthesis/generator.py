"""From authentic photos to tampered ones: choose host, donor and region, manipulate, post-process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ImageError, RecipeError
from boxpromptiml.regions import mask_box
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.compositing import Edit, change
from boxpromptiml.synthesis.config import Kind, SynthesisConfig
from boxpromptiml.synthesis.operations import CutOut, copy_move, object_hole, remove, retouch, splice
from boxpromptiml.synthesis.photos import Photo
from boxpromptiml.synthesis.pools import ObjectPool, PhotoPool
from boxpromptiml.synthesis.postprocessing import Plan, Size
from boxpromptiml.synthesis.sampling import Unusable, chance, log_uniform, pick, uniform
from boxpromptiml.synthesis.shapes import draw_region

_TRIES_PER_HOST = 4
# A photo is not enlarged more than threefold to reach a wanted size: there would be nothing to see in it.
_SMALLEST_FACTOR = 1 / 3


@dataclass(frozen=True)
class Tampered:
    """A synthesised image.

    Attributes:
        image: uint8 (h, w, 3).
        mask: uint8 (h, w), 255 where tampered, else 0; exactly aligned. All 0 for an authentic image.
        kind: ``splice``, ``copy-move``, ``removal``, ``retouch`` or ``authentic``.
        history: JSON values: host (and donor) ids, the manipulation and everything before and after it.
        encoded: the JPEG file whose pixels `image` is; None when the last step was not a compression.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    kind: str
    history: dict[str, Any]
    encoded: bytes | None = None

    @property
    def group(self) -> str:
        """Id of the host photograph."""
        return str(self.history["host"])


@dataclass(frozen=True)
class _Host:
    photo: Photo
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None


class Synthesizer:
    """Makes tampered images from pools of photographs. Picklable, and as good as stateless: `make` depends on the
    generator, the pools and the settings only.

    Args:
        photos: hosts, and donors of irregular regions.
        objects: photographs with instance masks; None = irregular regions only.
        config: distributions.

    Raises:
        RecipeError: splices are wanted and there is only one photo and no objects.
    """

    def __init__(
        self, photos: PhotoPool, objects: ObjectPool | None = None, config: SynthesisConfig | None = None
    ) -> None:
        self.photos = photos
        self.objects = objects
        self.config = config if config is not None else SynthesisConfig()
        if self.config.kinds.splice > 0 and len(photos) < 2 and objects is None:
            raise RecipeError(
                f"{photos.photos[0].path}: a splice needs a second photo or objects; "
                "give more photos, or objects, or set kinds.splice to 0"
            )

    def make(self, rng: np.random.Generator, size: Size | None = None) -> Tampered:
        """Make one tampered image.

        Args:
            rng: source of every random choice.
            size: height and width of the result, cut at random from a photo; None = about the photo's own size.

        Raises:
            RecipeError: no believable manipulation was found in `config.max_attempts` draws; says why the last failed.
        """
        kind: Kind = pick(rng, self.config.kinds).replace("_", "-")  # type: ignore[assignment]
        return self._persist(kind, lambda: self._tampered(kind, rng, size))

    def make_authentic(self, rng: np.random.Generator, size: Size | None = None) -> Tampered:
        """Make one image with the same kind of history and no manipulation; its mask is all 0.

        Args and errors as for `make`.
        """
        return self._persist("authentic image", lambda: self._authentic(rng, size))

    def _persist(self, what: str, attempt: Callable[[], Tampered]) -> Tampered:
        reason = ""
        for _ in range(self.config.max_attempts):
            try:
                return attempt()
            except (Unusable, ImageError) as error:
                reason = str(error)
        raise RecipeError(
            f"no {what} after {self.config.max_attempts} tries, the last failed with: {reason}; "
            "give more varied photos, or widen area, or lower min_change"
        )

    def _tampered(self, kind: Kind, rng: np.random.Generator, size: Size | None) -> Tampered:
        plan = Plan.draw(self.config.postprocessing, rng)
        host = self._host(kind, plan, rng, size)
        before = plan.prepare(host.image)
        labels = host.labels
        if labels is not None:
            labels = labels[labels.shape[0] - before.shape[0] :, labels.shape[1] - before.shape[1] :]
        edit, donor = self._first_edit(kind, _Host(host.photo, before, labels), plan, rng)
        edits = [edit.details]
        if chance(rng, self.config.second_region):
            try:
                again, other = self._edit(kind, _Host(host.photo, edit.image, labels), plan, rng)
            except Unusable:
                pass
            else:
                edits.append(again.details)
                donor = donor + [photo for photo in other if photo not in donor]
                edit = Edit(again.image, np.maximum(edit.alpha, again.alpha))
        image, mask, encoded = plan.finish(edit.image, edit.alpha, size)
        share = np.count_nonzero(mask) / mask.size
        low, high = self.config.area
        if not low <= share <= high:
            raise Unusable(f"{share:.1%} of the image would be tampered, {low:.1%} to {high:.1%} are wanted")
        history: dict[str, Any] = {"kind": kind, "host": host.photo.id}
        if donor:
            history["donors"] = [photo.id for photo in donor]
        history |= {"area": round(share, 5), "edits": edits} | plan.to_json()
        if kind == "splice" and plan.donor is not None:
            history["donor_before"] = [plan.donor.to_json()]
        return Tampered(image, mask, kind, history, encoded)

    def _authentic(self, rng: np.random.Generator, size: Size | None) -> Tampered:
        # The kind only decides how often an object's photo is the host: as often as tampered images ask for one. They
        # get it somewhat less often, as their draws can fail.
        kind: Kind = pick(rng, self.config.kinds).replace("_", "-")  # type: ignore[assignment]
        plan = Plan.draw(self.config.postprocessing, rng)
        host = self._host(kind, plan, rng, size)
        image, mask, encoded = plan.finish(plan.prepare(host.image), None, size)
        history = {"kind": "authentic", "host": host.photo.id} | plan.to_json()
        return Tampered(image, mask, "authentic", history, encoded)

    def _host(self, kind: Kind, plan: Plan, rng: np.random.Generator, size: Size | None) -> _Host:
        own_object = chance(rng, self.config.object_hosts) and kind != "splice"
        if own_object and self.objects is not None:
            index = int(rng.integers(len(self.objects)))
            photo, loaded = self.objects.photos[index], self.objects.load(index)
            image, labels = loaded.image, loaded.labels
        else:
            index = int(rng.integers(len(self.photos)))
            photo, image, labels = self.photos.photos[index], self.photos.load(index), None
        if size is not None:
            image, labels = _crop(image, labels, plan.host_size(size), self.config.crop, rng)
        return _Host(photo, image, labels)

    def _first_edit(self, kind: Kind, host: _Host, plan: Plan, rng: np.random.Generator) -> tuple[Edit, list[Photo]]:
        """Several tries with one host: most failures are an unlucky region or donor; preparing a host costs more."""
        for _ in range(_TRIES_PER_HOST - 1):
            try:
                return self._edit(kind, host, plan, rng)
            except Unusable:
                continue
        return self._edit(kind, host, plan, rng)

    def _edit(self, kind: Kind, host: _Host, plan: Plan, rng: np.random.Generator) -> tuple[Edit, list[Photo]]:
        """One manipulation of the host, checked for being visible, and the photos that gave pixels to it."""
        low, high = self.config.area
        if kind == "removal":
            high = max(low, min(high, self.config.removal.max_area))
        area = log_uniform(rng, low, high) * host.image.shape[0] * host.image.shape[1]
        donors: list[Photo] = []
        if kind == "splice":
            cut, donor = self._cut_out(host, area, plan, rng)
            edit = splice(host.image, cut, area, self.config, rng)
            donors.append(donor)
        else:
            region, shape = self._region(kind, host, area, (low, high), rng)
            operation = {"copy-move": copy_move, "removal": remove, "retouch": retouch}[kind]
            edit = operation(host.image, region, self.config, rng)
            edit.details["shape"] = shape
        if change(host.image, edit) < self.config.min_change:
            raise Unusable("the manipulation would not be visible")
        return edit, donors

    def _region(
        self, kind: Kind, host: _Host, area: float, limits: tuple[float, float], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], str]:
        """The region to work on: one of the host's objects, where it has instance masks, or an irregular one."""
        if host.labels is None:
            return draw_region(host.image, area, self.config.shapes, rng)
        low, high = (share * host.labels.size for share in limits)
        areas = np.bincount(host.labels.ravel(), minlength=256)
        usable = [label for label in range(1, 256) if low <= areas[label] <= high]
        if not usable:
            raise Unusable("the photo has no object of a fitting size")
        mask = (host.labels == usable[int(rng.integers(len(usable)))]).astype(np.uint8) * 255
        box = mask_box(mask)
        assert box is not None
        height, width = mask.shape
        if kind == "copy-move" and (box.x0 < 2 or box.y0 < 2 or box.x1 > width - 2 or box.y1 > height - 2):
            raise Unusable("the object is cut off by the border")
        if kind == "removal":
            # People brush generously over what they remove.
            mask = object_hole(mask, max(2, round(max(mask.shape) * uniform(rng, 0.005, 0.015))))
        return mask, "object"

    def _cut_out(self, host: _Host, area: float, plan: Plan, rng: np.random.Generator) -> tuple[CutOut, Photo]:
        """An object or an irregular region of another photo."""
        as_object = chance(rng, self.config.splice.objects)
        if self.objects is not None and (as_object or len(self.photos) < 2):
            index = int(rng.integers(len(self.objects)))
            donor, loaded = self.objects.photos[index], self.objects.load(index)
            _check_other(donor, host.photo)
            if not loaded.instances:
                raise Unusable("the donor has no object of a sensible size")
            instance = loaded.instances[int(rng.integers(len(loaded.instances)))]
            mask = (loaded.labels == instance.label).astype(np.uint8) * 255
            cut = CutOut(loaded.image, mask, instance.box, is_object=True)
        else:
            index = int(rng.integers(len(self.photos)))
            donor, image = self.photos.photos[index], self.photos.load(index)
            _check_other(donor, host.photo)
            # As large in its own picture as it will be in the host, give or take.
            ratio = max(host.image.shape) / max(image.shape) * log_uniform(rng, 0.7, 1.4)
            ratio = min(ratio, self.config.transform.max_upscale)
            wanted = min(area / ratio**2, 0.4 * image.shape[0] * image.shape[1])
            mask, _ = draw_region(image, wanted, self.config.shapes, rng)
            box = mask_box(mask)
            if box is None:
                raise Unusable("an empty region")
            cut = CutOut(image, mask, box, is_object=False)
        return (cut if plan.donor is None else _compressed(cut, plan, rng)), donor


def _check_other(donor: Photo, host: Photo) -> None:
    if donor.path == host.path or os.path.realpath(donor.path) == os.path.realpath(host.path):
        raise Unusable("the donor is the host itself")


def _compressed(cut: CutOut, plan: Plan, rng: np.random.Generator) -> CutOut:
    """The cut-out with its own JPEG history. Only its surroundings are compressed, from a grid point of their own."""
    assert plan.donor is not None
    dy, dx = (int(v) for v in rng.integers(8, 16, 2))
    height, width = cut.mask.shape
    rows = slice(max(0, cut.box.y0 - dy), min(height, cut.box.y1 + 16))
    columns = slice(max(0, cut.box.x0 - dx), min(width, cut.box.x1 + 16))
    image = cut.image.copy()
    image[rows, columns] = plan.donor.apply(np.ascontiguousarray(image[rows, columns]))
    return CutOut(image, cut.mask, cut.box, cut.is_object)


def _crop(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    size: Size,
    shares: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A random part of a photo in the proportions of `size` (height, width), scaled to it."""
    height, width = image.shape[:2]
    factor = min(height / size[0], width / size[1]) * min(1.0, uniform(rng, *shares))
    if factor < _SMALLEST_FACTOR:
        raise Unusable(f"a photo of {width}x{height} pixels is too small for images of {size[1]}x{size[0]}")
    rows, columns = math.floor(size[0] * factor), math.floor(size[1] * factor)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    if (rows, columns) == size:
        return part, None if labels is None else labels[top : top + rows, left : left + columns]
    part = cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA if factor > 1 else cv2.INTER_CUBIC)
    if labels is not None:
        cropped = np.ascontiguousarray(labels[top : top + rows, left : left + columns])
        labels = cv2.resize(cropped, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return part, labels
