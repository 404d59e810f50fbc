"""Whether a mask file is the truth about its image: what is wrong with it, and what of that can be mended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Label
from boxpromptiml.images import DEFAULT_MAX_PIXELS, mask_is_coloured, open_image, open_mask
from boxpromptiml.images.opening import open_file, open_picture
from boxpromptiml.preprocessing import resize_nearest

# A mask whose aspect ratio is further off is turned, cropped or another image's: stretching it would be a lie.
_ASPECT = 0.05


@dataclass(frozen=True, slots=True)
class CheckedMask:
    """A mask file that could be read.

    Attributes:
        pixels: its grey or brightest channel, uint8 (h, w).
        threshold: what is above is tampered.
        flaws: what is wrong with it and can be mended.
        contradiction: what no mending helps, and what to do; None if there is nothing of the kind.
    """

    pixels: NDArray[np.uint8]
    threshold: int
    flaws: tuple[str, ...] = ()
    contradiction: str | None = None

    @property
    def marks(self) -> bool:
        """Whether any pixel is tampered."""
        return bool((self.pixels > self.threshold).any())

    @property
    def problem(self) -> str | None:
        """What is wrong with it, in a few words; None if it fits its image."""
        return self.contradiction or " and ".join(self.flaws) or None

    def mended(self, width: int, height: int) -> NDArray[np.uint8]:
        """The mask without its flaws, 0/255 at the image's size.

        Raises:
            ValueError: it cannot be mended; the message says why.
        """
        if self.contradiction is not None:
            raise ValueError(self.contradiction)
        reasons = " and ".join(self.flaws)
        if not alike(self.pixels.shape[::-1], (width, height)):
            raise ValueError(f"{reasons}: another aspect ratio, cannot be mended")
        mended = resize_nearest(np.where(self.pixels > self.threshold, np.uint8(255), np.uint8(0)), height, width)
        if self.marks and not mended.any():
            raise ValueError(f"{reasons}: what it marks is lost at that size, cannot be mended")
        return mended


def check_mask(path: Path, width: int, height: int, label: Label | None) -> CheckedMask:
    """Read a mask file and look for what is wrong with it.

    Args:
        path: the file.
        width: of the upright image.
        height: of the upright image.
        label: what is said about the image; None if nothing is, or if the mask is to say it.

    Raises:
        ImageError: the file cannot be read.
    """
    coloured = mask_is_coloured(path)
    pixels = open_image(path).max(axis=2) if coloured else open_mask(path, faint=True)
    largest = int(pixels.max())
    # Tampered as 1 rather than 255, as in masks of class numbers.
    threshold = 127 if largest == 0 or largest > 127 else 0
    flaws = []
    if coloured:
        flaws.append("is coloured, not grey")
    if threshold == 0:
        flaws.append(f"has no pixel above 127, its largest is {largest} of 255")
    if pixels.shape != (height, width):
        flaws.append(f"is {pixels.shape[1]} x {pixels.shape[0]} pixels, the image {width} x {height}")
    contradiction = None
    if largest == int(pixels.min()) and _is_drawn_in_alpha(path):
        contradiction = "is drawn in its alpha channel, which is not read; save it as grey, 255 for tampered"
    elif largest == 0 and label == "tampered":
        contradiction = "marks nothing, but the image is tampered; draw it, or label the image authentic"
    elif largest and label == "authentic":
        contradiction = "marks something, but the image is authentic; correct either"
    return CheckedMask(pixels, threshold, tuple(flaws), contradiction)


def alike(size: tuple[int, ...], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have one aspect ratio."""
    return abs(math.log(size[0] / size[1]) - math.log(other[0] / other[1])) <= _ASPECT


def _is_drawn_in_alpha(path: Path) -> bool:
    """Whether a picture of one colour is opaque in some places and not in others."""
    with open_file(path) as stream, open_picture(stream, path, DEFAULT_MAX_PIXELS) as picture:
        if "A" not in picture.getbands():
            return False
        low, high = picture.getchannel("A").getextrema()
        return bool(low != high)
