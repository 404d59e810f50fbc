"""Splicing: something from another photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box, mask_box
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.compositing import Edge, Edit, Patch, match_colours, paste, poisson, transformed
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.synthesis.sampling import Unusable, chance, uniform

# An object cut off by its own photo's border must be cut off by the host's, or it floats.
_TOUCH = 3


@dataclass(frozen=True)
class CutOut:
    """A region of a donor photo: image uint8 (h, w, 3), mask uint8 (h, w) with 255 inside, its tight box.

    `is_object`: a whole object, which has an upright pose and a natural place in the picture, or any region.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    box: Box
    is_object: bool

    @property
    def touches(self) -> dict[str, bool]:
        """Which borders of its photo cut the region off: left, top, right, bottom."""
        height, width = self.mask.shape
        return {
            "left": self.box.x0 < _TOUCH,
            "top": self.box.y0 < _TOUCH,
            "right": self.box.x1 > width - _TOUCH,
            "bottom": self.box.y1 > height - _TOUCH,
        }


def splice(
    host: NDArray[np.uint8], cut: CutOut, area: float, config: SynthesisConfig, rng: np.random.Generator
) -> Edit:
    """Paste a region of another photo.

    Args:
        host: uint8 (h, w, 3).
        cut: what is pasted.
        area: wanted area in the host, pixels.
        config: settings.
        rng: source of every random choice.

    Raises:
        Unusable: it would have to be enlarged too much, is cut off at opposite borders, or does not fit.
    """
    height, width = host.shape[:2]
    transform, style = config.transform, config.splice
    edge = Edge.draw(config.edge, max(height, width), rng)
    pixels = int(np.count_nonzero(cut.mask[cut.box.slices]))
    scale = min(math.sqrt(area / pixels), transform.max_upscale)
    touches = cut.touches if cut.is_object else dict.fromkeys(cut.touches, False)
    if (touches["left"] and touches["right"]) or (touches["top"] and touches["bottom"]):
        raise Unusable("the object is cut off at opposite borders of its photo")
    flip = chance(rng, transform.flip_probability)
    degrees = uniform(rng, -transform.rotation, transform.rotation)
    # Upright objects lean a little; an object that stands on the border is not turned at all.
    degrees *= 0.4 if cut.is_object else 1.0
    if not chance(rng, transform.rotate_probability) or any(touches.values()):
        degrees = 0.0
    patch = transformed(_patch(cut, touches, scale, edge), scale, degrees, flip)
    patch = Patch(patch.image, edge.apply(patch.alpha))
    if flip:
        touches["left"], touches["right"] = touches["right"], touches["left"]
    top, left = _place(patch, host.shape[:2], cut, touches, rng)
    details: dict[str, Any] = {
        "source": "object" if cut.is_object else "region",
        "scale": round(scale, 4),
        "rotation": round(degrees, 2),
        "flip": flip,
        "feather": edge.sigma,
    }
    strength = uniform(rng, *style.colour_match_strength)
    if chance(rng, style.colour_match_probability):
        patch = match_colours(patch, _surroundings(host, patch, top, left), strength)
        details["colour_match"] = round(strength, 3)
    if chance(rng, style.seamless_probability) and not any(touches.values()):
        details |= {"seamless": True, "feather": 0.0}
        return poisson(host, patch, top, left, details)
    return paste(host, patch, top, left, details)


def _patch(cut: CutOut, touches: dict[str, bool], scale: float, edge: Edge) -> Patch:
    """The cut-out with a margin for the feathering, except where it is cut off: there the patch ends with it.

    Beyond the donor's border the last pixels are repeated.
    """
    margin = math.ceil(edge.margin / scale) + 1
    box, (height, width) = cut.box, cut.mask.shape
    y0 = box.y0 - margin * (not touches["top"])
    y1 = box.y1 + margin * (not touches["bottom"])
    x0 = box.x0 - margin * (not touches["left"])
    x1 = box.x1 + margin * (not touches["right"])
    inner = slice(max(0, y0), min(height, y1)), slice(max(0, x0), min(width, x1))
    pads = (inner[0].start - y0, y1 - inner[0].stop, inner[1].start - x0, x1 - inner[1].stop)
    image = cv2.copyMakeBorder(np.ascontiguousarray(cut.image[inner]), *pads, cv2.BORDER_REPLICATE)
    mask = cv2.copyMakeBorder(np.ascontiguousarray(cut.mask[inner]), *pads, cv2.BORDER_CONSTANT, value=0)
    return Patch(image, (mask > 0).astype(np.float32))


def _place(
    patch: Patch, size: tuple[int, int], cut: CutOut, touches: dict[str, bool], rng: np.random.Generator
) -> tuple[int, int]:
    """Top left corner of the patch in the host.

    Objects stand about as high as in their own photo (a car belongs to the street, a bird into the sky), side by side
    anywhere; cut-off sides lie on the host's border. Other regions go anywhere.
    """
    box = mask_box(patch.alpha > 0.5)
    if box is None:
        raise Unusable("nothing is left of the region at that size")
    height, width = size
    if box.height > 0.95 * height or box.width > 0.95 * width:
        raise Unusable("the region is larger than the image")
    left = uniform(rng, 0, width - box.width)
    top = uniform(rng, 0, height - box.height)
    if cut.is_object:
        bottom = (cut.box.y1 / cut.mask.shape[0] + rng.normal() * 0.08) * height
        top = min(max(bottom - box.height, 0), height - box.height)
    if touches["bottom"]:
        top = height - box.height
    if touches["top"]:
        top = 0
    if touches["right"]:
        left = width - box.width
    if touches["left"]:
        left = 0
    return round(top) - box.y0, round(left) - box.x0


def _surroundings(host: NDArray[np.uint8], patch: Patch, top: int, left: int) -> NDArray[np.uint8]:
    """The part of the host around the paste: its bounding box and half as much again on every side."""
    box = mask_box(patch.alpha > 0.5)
    assert box is not None
    height, width = host.shape[:2]
    dy, dx = box.height // 2 + 4, box.width // 2 + 4
    around = Box(left + box.x0 - dx, top + box.y0 - dy, left + box.x1 + dx, top + box.y1 + dy).clipped(width, height)
    return np.ascontiguousarray(host[around.slices])
