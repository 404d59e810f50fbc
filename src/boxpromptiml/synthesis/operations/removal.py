"""Removal: a region is painted over with its surroundings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box, mask_box
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.compositing import Edge, Edit, Patch, paste, poisson
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.synthesis.sampling import Unusable, chance, pick
from boxpromptiml.synthesis.shapes import tight

# cv2.inpaint's time grows with the hole: larger ones are filled at reduced size.
_INPAINT_PIXELS = 6_000
# The place that a patch comes from is searched on a picture of this long side.
_SEARCH_SIDE = 96
# Root mean square difference (0-255) of the surroundings above which a patch would look like a mistake.
_MAX_MISFIT = 30.0


def remove(
    host: NDArray[np.uint8], region: NDArray[np.uint8], config: SynthesisConfig, rng: np.random.Generator
) -> Edit:
    """Remove what `region` shows.

    Args:
        host: uint8 (h, w, 3).
        region: uint8 (h, w), 255 inside; the mask of the edit is exactly this region.
        config: settings.
        rng: source of every random choice.

    Raises:
        Unusable: the region is empty, or no other place of the photo could fill it.
    """
    method = pick(rng, config.removal.methods)
    if method == "patch" or np.count_nonzero(region) > config.removal.max_inpaint_area * region.size:
        return _from_elsewhere(host, region, config, rng)
    radius = int(rng.integers(3, 6))
    image = _inpaint(host, region, method, radius)
    details: dict[str, Any] = {"method": method, "radius": radius}
    if chance(rng, config.removal.grain_probability):
        image = _with_grain(host, image, region, rng)
        details["grain"] = True
    return Edit(image, (region > 0).astype(np.float32), details)


def _inpaint(host: NDArray[np.uint8], region: NDArray[np.uint8], method: str, radius: int) -> NDArray[np.uint8]:
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    window = tight(region, 24)
    around, hole = np.ascontiguousarray(host[window]), np.ascontiguousarray(region[window])
    factor = min(1.0, math.sqrt(_INPAINT_PIXELS / max(1, int(np.count_nonzero(hole)))))
    if factor < 1:
        size = (max(4, round(hole.shape[1] * factor)), max(4, round(hole.shape[0] * factor)))
        small = cv2.resize(around, size, interpolation=cv2.INTER_AREA)
        # Any pixel that saw a bit of the hole is filled as well, so that nothing of it shines through.
        small_hole = (cv2.resize(hole, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
        filled = cv2.inpaint(small, small_hole, radius, flag)
        filled = cv2.resize(filled, (hole.shape[1], hole.shape[0]), interpolation=cv2.INTER_LINEAR)
    else:
        filled = cv2.inpaint(around, hole, radius, flag)
    image = host.copy()
    image[window] = np.where((hole > 0)[..., None], filled, around)
    return image


def _with_grain(
    host: NDArray[np.uint8], filled: NDArray[np.uint8], region: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Add noise of the strength that the surroundings have (median absolute high-pass residual) to the fill."""
    window = tight(region, 24)
    around, hole = host[window], region[window] > 0
    residual = np.abs(around.astype(np.int16) - cv2.medianBlur(np.ascontiguousarray(around), 3))[~hole]
    if residual.size == 0:
        return filled
    sigma = min(6.0, 1.5 * float(residual.mean()))
    noise = rng.standard_normal((*hole.shape, 1), dtype=np.float32) * sigma
    result = filled.copy()
    noisy = np.rint(filled[window] + noise).clip(0, 255).astype(np.uint8)
    result[window] = np.where(hole[..., None], noisy, filled[window])
    return result


def _from_elsewhere(
    host: NDArray[np.uint8], region: NDArray[np.uint8], config: SynthesisConfig, rng: np.random.Generator
) -> Edit:
    """Fill with the place of the same photo whose surroundings fit best, blended in."""
    edge = Edge.draw(config.edge, max(region.shape), rng)
    seamless = rng.random() < 0.35
    margin = max(4, round(max(region.shape) / 48))
    rows, columns = tight(region, margin)
    dy, dx, cost = _best_shift(host, region, Box(columns.start, rows.start, columns.stop, rows.stop), margin, rng)
    source = slice(rows.start + dy, rows.stop + dy), slice(columns.start + dx, columns.stop + dx)
    content = np.ascontiguousarray(host[source])
    alpha = (region[rows, columns] > 0).astype(np.float32)
    details: dict[str, Any] = {"method": "patch", "shift": [dy, dx], "fit": round(cost, 2), "feather": edge.sigma}
    if seamless:
        details |= {"seamless": True, "feather": 0.0}
        return poisson(host, Patch(content, alpha), rows.start, columns.start, details)
    return paste(host, Patch(content, edge.apply(alpha)), rows.start, columns.start, details)


def _best_shift(
    host: NDArray[np.uint8], region: NDArray[np.uint8], window: Box, margin: int, rng: np.random.Generator
) -> tuple[int, int, float]:
    """Shift (rows, columns) to the place whose ring fits the ring around the hole best, one of the three best.

    Returns also the root mean square difference of the rings (0-255).
    """
    height, width = region.shape
    factor = min(1.0, _SEARCH_SIDE / max(height, width))
    size = max(8, round(width * factor)), max(8, round(height * factor))
    picture = cv2.resize(host, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    hole = (cv2.resize(region, size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    fx, fy = size[0] / width, size[1] / height
    x0, y0 = int(window.x0 * fx), int(window.y0 * fy)
    x1, y1 = min(size[0], math.ceil(window.x1 * fx)), min(size[1], math.ceil(window.y1 * fy))
    reach = max(2, round(margin * factor) + 1)
    ring = cv2.dilate(hole, np.ones((2 * reach + 1,) * 2, np.uint8)) - hole
    template, weights = picture[y0:y1, x0:x1], ring[y0:y1, x0:x1].astype(np.float32)
    if weights.sum() < 8 or template.shape[0] >= size[1] or template.shape[1] >= size[0]:
        raise Unusable("the region leaves no surroundings to compare")
    costs = cv2.matchTemplate(picture, template, cv2.TM_SQDIFF, mask=np.dstack([weights] * 3))
    costs = np.sqrt(np.maximum(costs, 0) / (3 * weights.sum()))
    # A source that overlaps the hole would bring back what is to be removed.
    cells = np.ascontiguousarray(hole[y0:y1, x0:x1]).astype(np.float32)
    overlap = cv2.matchTemplate(hole.astype(np.float32), cells, cv2.TM_CCORR)
    costs[overlap > 0.5] = np.inf
    cost = float(costs.min())
    if cost > _MAX_MISFIT:
        raise Unusable("no other place of the photo fits")
    best: list[tuple[int, int]] = []
    while len(best) < 3 and costs.min() <= 1.5 * cost + 4:
        y, x = divmod(int(np.argmin(costs)), costs.shape[1])
        best.append((y, x))
        costs[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = np.inf
    y, x = best[int(rng.integers(len(best)))]
    dy = min(max(round((y - y0) / fy), -window.y0), height - window.y1)
    dx = min(max(round((x - x0) / fx), -window.x0), width - window.x1)
    # Rounding from the small picture must not make the source touch the hole.
    there = region[window.y0 + dy : window.y1 + dy, window.x0 + dx : window.x1 + dx]
    if ((there > 0) & (region[window.slices] > 0)).any():
        raise Unusable("no other place of the photo fits")
    return dy, dx, cost


def object_hole(mask: NDArray[np.uint8], growth: int) -> NDArray[np.uint8]:
    """An object's mask grown by `growth` pixels and with its small gaps closed, as one brushes over an object."""
    if mask_box(mask) is None:
        raise Unusable("an empty region")
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * growth + 1, 2 * growth + 1))
    return np.asarray(cv2.dilate(mask, kernel), dtype=np.uint8)
