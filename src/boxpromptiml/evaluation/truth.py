"""Reading the true mask of an image, and what cannot be the truth about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Label
from boxpromptiml.errors import ImageError
from boxpromptiml.images import open_mask

MASK_LEVEL = 127  # a mask pixel above it is tampered
_MENDED = "`boxpromptiml import --on-mismatch resize` mends it"


class MendableError(ImageError):
    """A mask that is not as large as its image, or that holds 1 for 255: an import could mend it."""


def read_truth(path: Path, width: int, height: int, label: Label | None) -> NDArray[np.bool_]:
    """Where an image is tampered, by its mask, boolean (h, w).

    Args:
        path: the mask.
        width: of the upright image.
        height: of the upright image.
        label: ``tampered``, or None: then the mask tells.

    Raises:
        ImageError: the mask cannot be read, has another size than its image, or marks nothing where it should.
    """
    mask = open_mask(path, faint=True)
    if mask.shape != (height, width):
        sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}"
        raise MendableError(path, f"the mask is {sizes}; {_MENDED}")
    truth = mask > MASK_LEVEL
    if not truth.any():
        if largest := int(mask.max()):
            held = "0 and 1" if largest == 1 else f"nothing above {largest}"
            raise MendableError(
                path, f"the mask holds {held}: only what is above {MASK_LEVEL} counts as tampered; {_MENDED}"
            )
        if label == "tampered":
            raise ImageError(
                path, "the mask marks nothing, but its image is tampered; draw it, or label the image authentic"
            )
    return truth
