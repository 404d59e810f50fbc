"""Putting pixels into a photo: geometry, seams and colours of a paste."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import mask_box
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.config import EdgeConfig
from boxpromptiml.synthesis.sampling import Unusable, chance, log_uniform

Image = NDArray[np.uint8]
Alpha = NDArray[np.float32]


@dataclass(frozen=True)
class Edit:
    """A manipulated image before post-processing.

    Attributes:
        image: uint8 (h, w, 3).
        alpha: float32 (h, w) in [0, 1], the share of new pixels. The image is untouched where it is 0; the mask is
            ``alpha > 0.5``.
        details: how it was done, JSON values only.
    """

    image: Image
    alpha: Alpha
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Boolean (h, w): the tampered pixels."""
        return np.asarray(self.alpha > 0.5)


@dataclass(frozen=True)
class Patch:
    """Pixels to paste: image uint8 (h, w, 3), with real surroundings, and alpha float32 (h, w) in [0, 1]."""

    image: Image
    alpha: Alpha


def cut_out(image: Image, mask: NDArray[np.uint8], slices: tuple[slice, slice]) -> Patch:
    """The part of an image in `slices` as a patch; `mask` is uint8 (h, w), 255 inside."""
    return Patch(np.ascontiguousarray(image[slices]), (mask[slices] > 0).astype(np.float32))


def transformed(patch: Patch, scale: float, degrees: float, flip: bool) -> Patch:
    """Mirror, scale and rotate a patch (counter-clockwise); the result is large enough to hold all of it."""
    image, alpha = patch.image, patch.alpha
    if flip:
        image, alpha = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1])
    if scale != 1:
        height, width = alpha.shape
        size = max(2, round(width * scale)), max(2, round(height * scale))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, size, interpolation=interpolation)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if degrees:
        image, alpha = _rotated(image, alpha, degrees)
    return Patch(image, np.clip(alpha, 0, 1))


def _rotated(image: Image, alpha: Alpha, degrees: float) -> tuple[Image, Alpha]:
    height, width = alpha.shape
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    size = math.ceil(width * cos + height * sin), math.ceil(width * sin + height * cos)
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1.0)
    matrix[:, 2] += [(size[0] - width) / 2, (size[1] - height) / 2]
    turned = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Outside of the patch there is nothing to paste.
    return turned, cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR, borderValue=0)


@dataclass(frozen=True)
class Edge:
    """How the border of a region blends: sigma of the feathering in pixels, 0 = hard."""

    sigma: float

    @classmethod
    def draw(cls, config: EdgeConfig, long_side: int, rng: np.random.Generator) -> Edge:
        """Draw an edge for an image of that long side."""
        sigma = log_uniform(rng, *config.feather) * long_side / 384
        return cls(round(sigma, 3) if chance(rng, config.feather_probability) else 0.0)

    def apply(self, alpha: Alpha) -> Alpha:
        """Feather, or harden, an alpha map; the 0.5 contour stays where it is (apart from sharp corners)."""
        hard = (alpha > 0.5).astype(np.float32)
        if not self.sigma:
            return hard
        # The padding keeps a region that ends at the patch's border from spreading beyond.
        soft = cv2.GaussianBlur(hard, (0, 0), self.sigma, borderType=cv2.BORDER_REPLICATE)
        soft[soft < 1 / 255] = 0
        return np.asarray(soft)

    @property
    def margin(self) -> int:
        """Pixels that the feathering reaches outward."""
        return math.ceil(4 * self.sigma) + 1


def blend(host: Image, new: Image, alpha: Alpha) -> Image:
    """``alpha * new + (1 - alpha) * host``, rounded; untouched where alpha is 0."""
    mixed = host + alpha[..., None] * (new.astype(np.float32) - host)
    return np.asarray(np.rint(mixed).clip(0, 255).astype(np.uint8))


def paste(host: Image, patch: Patch, top: int, left: int, details: dict[str, Any] | None = None) -> Edit:
    """Blend a patch into a copy of the host with its corner at (top, left), which may lie outside.

    Raises:
        Unusable: nothing of it lands inside.
    """
    height, width = host.shape[:2]
    rows = slice(max(0, top), min(height, top + patch.alpha.shape[0]))
    columns = slice(max(0, left), min(width, left + patch.alpha.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise Unusable("the paste lies outside of the image")
    inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    image = host.copy()
    image[rows, columns] = blend(host[rows, columns], patch.image[inner], patch.alpha[inner])
    alpha = np.zeros((height, width), dtype=np.float32)
    alpha[rows, columns] = patch.alpha[inner]
    return Edit(image, alpha, details or {})


def match_colours(patch: Patch, reference: Image, strength: float) -> Patch:
    """Move the patch's colours towards those of `reference` (Reinhard et al. 2001: mean and deviation, in Lab).

    Args:
        patch: its statistics are those of the pixels with alpha above 0.5.
        reference: uint8 (h, w, 3).
        strength: 1 = the reference's statistics, 0 = unchanged.
    """
    inside = patch.alpha > 0.5
    if not inside.any():
        raise Unusable("nothing to match colours of")
    lab = cv2.cvtColor(patch.image, cv2.COLOR_RGB2LAB).astype(np.float32)
    own_mean, own_deviation = (v.ravel() for v in cv2.meanStdDev(lab, mask=inside.astype(np.uint8)))
    mean, deviation = (v.ravel() for v in cv2.meanStdDev(cv2.cvtColor(reference, cv2.COLOR_RGB2LAB)))
    # Flat regions against busy ones: a limit on the gain keeps noise from being blown up.
    gain = np.clip(deviation / np.maximum(own_deviation, 1e-3), 0.5, 1.6)
    gain, shift = 1 + strength * (gain - 1), strength * (mean - own_mean)
    lab = (lab - own_mean) * gain + own_mean + shift
    matched = cv2.cvtColor(np.rint(lab).clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return Patch(matched, patch.alpha)


def poisson(host: Image, patch: Patch, top: int, left: int, details: dict[str, Any] | None = None) -> Edit:
    """Paste by Poisson editing (OpenCV seamlessClone): gradients from the patch, colours from the host's border.

    The region that is replaced is exactly ``patch.alpha > 0.5``; its alpha is 1.

    Raises:
        Unusable: the region comes nearer than three pixels to the host's border.
    """
    mask = (patch.alpha > 0.5).astype(np.uint8) * 255
    box = mask_box(mask)
    if box is None:
        raise Unusable("an empty region")
    height, width = host.shape[:2]
    y0, x0, y1, x1 = top + box.y0, left + box.x0, top + box.y1, left + box.x1
    if y0 < 3 or x0 < 3 or y1 > height - 3 or x1 > width - 3:
        raise Unusable("too near to the border for Poisson editing")
    # seamlessClone reads one pixel around the region; replicate where the patch ends with the region.
    content = cv2.copyMakeBorder(np.ascontiguousarray(patch.image[box.slices]), 3, 3, 3, 3, cv2.BORDER_REPLICATE)
    region = cv2.copyMakeBorder(np.ascontiguousarray(mask[box.slices]), 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=0)
    # Solved on a window of the host: OpenCV's cost grows with the whole destination.
    window = slice(y0 - 3, y1 + 3), slice(x0 - 3, x1 + 3)
    around = np.ascontiguousarray(host[window])
    centre = (region.shape[1] // 2, region.shape[0] // 2)
    inside = region > 0
    # OpenCV writes into the mask it is given.
    cloned = cv2.seamlessClone(content, around, region.copy(), centre, cv2.NORMAL_CLONE)
    image = host.copy()
    # OpenCV may shift by a pixel and also touches the seam: only the region itself is taken over.
    image[window] = np.where(inside[..., None], cloned, around)
    alpha = np.zeros((height, width), dtype=np.float32)
    alpha[window] = inside
    return Edit(image, alpha, details or {})


def change(before: Image, edit: Edit) -> float:
    """Mean absolute difference (0-255) between an image and its edit, over the mask; 0 for an empty mask."""
    box = mask_box(edit.mask)
    if box is None:
        return 0.0
    inside = edit.mask[box.slices].astype(np.uint8)
    return float(np.mean(cv2.mean(cv2.absdiff(before[box.slices], edit.image[box.slices]), mask=inside)[:3]))
