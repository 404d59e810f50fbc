"""What several users of OpenCV need. Importing it takes a tenth of a second: import this where it is used."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def limit_threads(threads: int | None) -> None:
    """Let OpenCV use that many threads, in all of the process; None leaves it as it is."""
    if threads is not None and cv2.getNumThreads() != threads:
        cv2.setNumThreads(threads)


def shrunk(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """A picture, uint8 (h, w) or (h, w, 3), scaled down by area; as it is for a scale of 1 and more."""
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
