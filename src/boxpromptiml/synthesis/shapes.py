"""Irregular regions: random outlines, and segments that follow a photo's own edges."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import mask_box
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.config import ShapeWeights
from boxpromptiml.synthesis.sampling import Unusable, pick, uniform

# Segments are found on a picture of this long side: cheap, and small texture does not fray them.
_SEGMENT_SIDE = 128
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


def draw_region(
    image: NDArray[np.uint8], area: float, weights: ShapeWeights, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], str]:
    """An irregular region of a photo.

    Args:
        image: uint8 (h, w, 3).
        area: wanted area in pixels; what lies beyond the border is cut off, so the result may be smaller.
        weights: how often which outline.
        rng: source of every random choice.

    Returns:
        Mask uint8 (h, w), 0 or 255, and the name of the outline.

    Raises:
        Unusable: the photo has no segment of about that area.
    """
    shape = pick(rng, weights)
    if shape == "segment":
        return segment(image, area, rng), shape
    height, width = image.shape[:2]
    points = outline(shape, area, rng)
    reach = np.minimum(np.abs(points).max(axis=0), [0.45 * width, 0.45 * height])
    # Centres such that most of the region is inside.
    centre = [uniform(rng, 0.8 * r, side - 0.8 * r) for r, side in zip(reach, (width, height), strict=True)]
    return fill_outline(points + centre, height, width), shape


def outline(shape: str, area: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random outline around the origin: float64 (n, 2) as x, y, in pixels; it encloses `area` pixels.

    Args:
        shape: ``blob``, ``freehand``, ``polygon``, ``ellipse`` or ``rectangle``.
        area: enclosed area, pixels.
        rng: source of every random choice.
    """
    if shape == "rectangle":
        points = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        turn = uniform(rng, -0.35, 0.35) if rng.random() < 0.4 else 0.0
    elif shape == "polygon":
        corners = int(rng.integers(3, 9))
        angles = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (2 * np.pi / corners)
        points = _polar(angles, rng.uniform(0.6, 1.0, corners))
        turn = uniform(rng, 0, 2 * np.pi)
    else:
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        points = _polar(angles, _radius(shape, angles, rng))
        turn = uniform(rng, 0, np.pi)
    stretch = math.exp(uniform(rng, -0.6, 0.6))
    points = np.asarray(points * [math.sqrt(stretch), 1 / math.sqrt(stretch)], dtype=np.float64)
    cos, sin = math.cos(turn), math.sin(turn)
    points = points @ np.array([[cos, sin], [-sin, cos]])
    x, y = points.T
    enclosed = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    return np.asarray(points * math.sqrt(area / enclosed), dtype=np.float64)


def fill_outline(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Mask uint8 (height, width), 255 inside the closed outline `points`, float (n, 2) as x, y."""
    mask = np.zeros((height, width), dtype=np.uint8)
    fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_8, shift=_SHIFT)
    return mask


def segment(image: NDArray[np.uint8], area: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A region of about `area` pixels that follows the photo's own edges.

    Watershed from random seeds gives segments; from one of them neighbours are joined, those of similar colour first,
    until the area is reached.

    Returns:
        Mask uint8 (h, w), 0 or 255.

    Raises:
        Unusable: the segments do not add up to something between half and twice the area.
    """
    height, width = image.shape[:2]
    factor = min(1.0, _SEGMENT_SIDE / max(height, width))
    small_size = (max(8, round(width * factor)), max(8, round(height * factor)))
    small = cv2.GaussianBlur(cv2.resize(image, small_size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    wanted = area * (small_size[0] * small_size[1]) / (height * width)
    labels, count = _watershed(small, wanted, rng)
    chosen = _grow(small, labels, count, wanted, rng)
    mask = chosen[labels].astype(np.float32)
    # Watershed lines (label 0) inside the region and frayed edges: smooth, then threshold at full size.
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    mask = cv2.GaussianBlur(mask, (0, 0), 1.2)
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_CUBIC)
    result = np.where(large > 0.5, np.uint8(255), np.uint8(0))
    covered = np.count_nonzero(result)
    if not 0.5 * area <= covered <= 2 * area:
        raise Unusable("no segment of that size")
    return np.asarray(result)


def _watershed(small: NDArray[np.uint8], wanted: float, rng: np.random.Generator) -> tuple[NDArray[np.int32], int]:
    height, width = small.shape[:2]
    # About six segments make up the region; a grid with jitter spreads the seeds evenly.
    cell = max(4.0, math.sqrt(wanted / 6))
    rows, columns = max(2, round(height / cell)), max(2, round(width / cell))
    y = (np.arange(rows)[:, None] + rng.uniform(0.15, 0.85, (rows, columns))) * (height / rows)
    x = (np.arange(columns)[None, :] + rng.uniform(0.15, 0.85, (rows, columns))) * (width / columns)
    markers = np.zeros((height, width), dtype=np.int32)
    markers[y.astype(np.intp).clip(0, height - 1), x.astype(np.intp).clip(0, width - 1)] = np.arange(
        1, rows * columns + 1, dtype=np.int32
    ).reshape(rows, columns)
    labels = cv2.watershed(small, markers)
    # OpenCV marks lines and the picture's border with -1: give them to a neighbour.
    labels = np.maximum(labels, 0).astype(np.float32)
    labels = np.where(labels == 0, cv2.dilate(labels, np.ones((3, 3), np.uint8)), labels)
    return labels.astype(np.int32), rows * columns


def _grow(
    small: NDArray[np.uint8], labels: NDArray[np.int32], count: int, wanted: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose segments: a seed away from the border, then the neighbour nearest in colour, until `wanted` is covered."""
    flat = labels.ravel()
    areas = np.bincount(flat, minlength=count + 1).astype(np.float64)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    sums = [np.bincount(flat, lab[:, c], minlength=count + 1) for c in range(3)]
    colours = np.stack(sums, axis=1).astype(np.float64) / np.maximum(areas, 1)[:, None]
    neighbours = np.zeros((count + 1, count + 1), dtype=bool)
    for a, b in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        neighbours[a, b] = True
        neighbours[b, a] = True
    np.fill_diagonal(neighbours, False)
    edge = np.zeros(count + 1, dtype=bool)
    edge[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = True
    edge[0] = True
    inner = np.flatnonzero(~edge & (areas > 0))
    if inner.size == 0:
        raise Unusable("no segment away from the border")
    seed = int(inner[rng.integers(inner.size)])
    chosen = np.zeros(count + 1, dtype=bool)
    chosen[seed] = True
    covered = areas[seed]
    while covered < wanted:
        candidates = np.flatnonzero(neighbours[chosen].any(axis=0) & ~chosen & (areas > 0) & (np.arange(count + 1) > 0))
        if candidates.size == 0:
            break
        mean = (colours[chosen] * areas[chosen, None]).sum(axis=0) / covered
        # Compactness: a candidate that touches many chosen segments fills a bay instead of growing an arm.
        touching = neighbours[np.ix_(candidates, np.flatnonzero(chosen))].sum(axis=1)
        cost = np.linalg.norm(colours[candidates] - mean, axis=1) - 4.0 * touching + 12.0 * edge[candidates]
        best = int(candidates[int(np.argmin(cost))])
        if covered > 0.6 * wanted and covered + areas[best] > 1.6 * wanted:
            break
        chosen[best] = True
        covered += areas[best]
    return chosen


def _polar(angles: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], axis=1)


def _radius(shape: str, angles: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Radius over angle: constant, a few low waves (blob), or low waves with a hand's tremor (freehand)."""
    radius = np.ones_like(angles)
    if shape == "ellipse":
        return radius
    waves, falloff = (5, 1.0) if shape == "blob" else (16, 1.2)
    for k in range(2, 2 + waves):
        radius += 0.25 / k**falloff * rng.normal() * np.cos(k * angles + rng.uniform(0, 2 * np.pi))
    return np.maximum(radius, 0.25)


def tight(mask: NDArray[np.uint8], margin: int) -> tuple[slice, slice]:
    """Slices of the mask's bounding box, grown by `margin` pixels within the image. The mask must not be empty."""
    box = mask_box(mask)
    if box is None:
        raise Unusable("an empty region")
    height, width = mask.shape
    return (
        slice(max(0, box.y0 - margin), min(height, box.y1 + margin)),
        slice(max(0, box.x0 - margin), min(width, box.x1 + margin)),
    )
