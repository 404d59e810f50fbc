"""Windows of images at their own size, for networks that are fed images unresized (``input.fit: native``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.preprocessing import PreprocessingSpec, resize_image, resize_map

Array8 = NDArray[np.uint8]
ArrayF = NDArray[np.float32]

# Of JPEG: windows begin at whole blocks, so that the traces of compression lie in a window as in the image.
_BLOCK = 8


def scaled(image: Array8, target: ArrayF, factor: float) -> tuple[Array8, ArrayF]:
    """Image (h, w, 3) and target (h, w), both resized by a factor."""
    height, width = (max(1, round(side * factor)) for side in target.shape)
    return resize_image(image, height, width), resize_map(target, height, width)


def fitted(image: Array8, target: ArrayF, spec: PreprocessingSpec) -> tuple[Array8, ArrayF]:
    """Image (h, w, 3) and target (h, w) at the size at which deployment shows the image to the network."""
    rows, columns = spec.grid(target.shape[1], target.shape[0])
    return resize_image(image, rows, columns), resize_map(target, rows, columns)


def random_window(
    image: Array8, target: ArrayF, spec: PreprocessingSpec, hits: float, rng: np.random.Generator
) -> tuple[Array8, ArrayF]:
    """Cut a window of height x width of the spec out of image (h, w, 3) and target (h, w).

    Args:
        image: at the size that the network is shown it at; where it is smaller than the window, it is mirrored.
        target: in [0, 1].
        spec: the size of the window.
        hits: how often the window of a tampered image is placed over one of its tampered pixels.
        rng: four draws, whatever comes out.
    """
    over, place = rng.random(2)
    across, down = rng.random(2)
    marked = np.flatnonzero(target > 0.5) if over < hits else np.zeros(0, dtype=np.intp)
    y = x = None
    if marked.size:
        y, x = divmod(int(marked[int(place * marked.size)]), target.shape[1])
    top = _start(target.shape[0], spec.height, down, y)
    left = _start(target.shape[1], spec.width, across, x)
    return _cut(image, target, top, left, spec)


def middle_window(image: Array8, target: ArrayF, spec: PreprocessingSpec) -> tuple[Array8, ArrayF]:
    """The window around the middle of what is tampered, or of an authentic image; always the same."""
    y, x = _middle(target)
    return _cut(image, target, _around(y, spec.height, target.shape[0]), _around(x, spec.width, target.shape[1]), spec)


def _middle(target: ArrayF) -> tuple[int, int]:
    """The tampered pixel nearest to the mean of all: between two regions, or in a ring, the mean itself is none.

    Where no pixel is sure enough, of those that come nearest to it; in an authentic image the middle.
    """
    highest = target.max()
    if highest == 0:
        return target.shape[0] // 2, target.shape[1] // 2
    rows, columns = np.nonzero(target > 0.5 if highest > 0.5 else target == highest)
    nearest = ((rows - int(rows.mean())) ** 2 + (columns - int(columns.mean())) ** 2).argmin()
    return int(rows[nearest]), int(columns[nearest])


def _around(wanted: int, window: int, size: int) -> int:
    """Where a window begins along one side, at a whole block, so that the wanted pixel is in its middle or near it."""
    start = min(max(0, wanted - window // 2), max(0, size - window)) // _BLOCK * _BLOCK
    # As far as the last pixels, over the edge by less than a block, as in `_start`.
    return start if wanted < start + window else start + _BLOCK


def _start(size: int, window: int, draw: float, wanted: int | None) -> int:
    """Where a window begins along one side, at a whole block: anywhere, or so that it covers the wanted pixel."""
    # The last window may reach over the edge by less than a block, or the image's last pixels would be in none.
    low, high = 0, max(0, -(-(size - window) // _BLOCK) * _BLOCK)
    if wanted is not None:
        low, high = max(low, wanted - window + 1), min(high, wanted)
    first, last = -(-low // _BLOCK), high // _BLOCK
    return (first + int(draw * (last - first + 1))) * _BLOCK


def _cut(image: Array8, target: ArrayF, top: int, left: int, spec: PreprocessingSpec) -> tuple[Array8, ArrayF]:
    rows, columns = slice(top, top + spec.height), slice(left, left + spec.width)
    image, target = image[rows, columns], target[rows, columns]
    below, beside = spec.height - target.shape[0], spec.width - target.shape[1]
    if below or beside:
        image = np.pad(image, ((0, below), (0, beside), (0, 0)), mode="symmetric")
        target = np.pad(target, ((0, below), (0, beside)), mode="symmetric")
    return np.ascontiguousarray(image), np.ascontiguousarray(target)
