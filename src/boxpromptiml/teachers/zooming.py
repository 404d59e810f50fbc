"""From an image to a smaller working frame, and from a soft mask of that frame back."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box


def scaled_box(box: Box, scale: float, width: int, height: int) -> Box:
    """The box in a scaled image of that size, rounded outward."""
    x0, y0 = (int(np.floor(v * scale)) for v in (box.x0, box.y0))
    x1, y1 = (int(np.ceil(v * scale)) for v in (box.x1, box.y1))
    return Box(min(x0, width - 1), min(y0, height - 1), max(x1, x0 + 1), max(y1, y0 + 1)).clipped(width, height)


def sampled(
    soft: NDArray[np.float32], frame: Box, size: tuple[int, int], place: Box, grid: tuple[int, int]
) -> NDArray[np.float32]:
    """A part of a grid over the image, filled from a soft mask that covers a frame of the image.

    Args:
        soft: (h, w), at any scale.
        frame: what it covers, pixels of the image.
        size: (height, width) of the image.
        place: the part, cells of the grid, within the frame.
        grid: (height, width) of the grid, which covers the image; equal to `size` for the image's own pixels.

    Returns:
        float32 of the part's shape, in [0, 1].
    """
    if grid == size:
        if soft.shape != (frame.height, frame.width):
            soft = cv2.resize(soft, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR)
        shifted = Box(place.x0 - frame.x0, place.y0 - frame.y0, place.x1 - frame.x0, place.y1 - frame.y0)
        return np.clip(soft[shifted.slices], 0.0, 1.0)
    cell = size[1] / grid[1], size[0] / grid[0]  # pixels of the image
    high, wide = max(1, round(frame.height / cell[1])), max(1, round(frame.width / cell[0]))
    if high < soft.shape[0] and wide < soft.shape[1]:
        # Coarser than the mask itself: the mean of what a cell covers, not the value at its centre.
        soft = cv2.resize(soft, (wide, high), interpolation=cv2.INTER_AREA)
    scale = soft.shape[1] / frame.width, soft.shape[0] / frame.height
    steps = [step * factor for step, factor in zip(cell, scale, strict=True)]
    starts = [
        ((first + 0.5) * step - edge) * factor - 0.5
        for first, step, edge, factor in zip((place.x0, place.y0), cell, (frame.x0, frame.y0), scale, strict=True)
    ]
    move = np.array([[steps[0], 0.0, starts[0]], [0.0, steps[1], starts[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(soft, move, (place.width, place.height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside: NDArray[np.float32] = np.clip(part, 0.0, 1.0)
    return inside
