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
    y, x = (int(places.mean()) if places.size else side // 2 for places, side in _marked(target))
    top = min(max(0, y - spec.height // 2), max(0, target.shape[0] - spec.height)) // _BLOCK * _BLOCK
    left = min(max(0, x - spec.width // 2), max(0, target.shape[1] - spec.width)) // _BLOCK * _BLOCK
    return _cut(image, target, top, left, spec)


def _marked(target: ArrayF) -> list[tuple[NDArray[np.intp], int]]:
    return list(zip(np.nonzero(target > 0.5), target.shape, strict=True))


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
