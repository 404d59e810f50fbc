"""What may be given as an image: files and their bytes, pictures of Pillow, arrays."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.errors import ImageError
from boxpromptiml.images import picture_pixels, read_image_file

Encoded: TypeAlias = str | Path | bytes | bytearray | memoryview | IO[bytes]
Pixels: TypeAlias = Image.Image | NDArray[np.uint8]


def given_bytes(image: Encoded) -> bytes:
    """The bytes of an encoded image.

    Raises:
        ImageError: a file that cannot be read, or something else than an image.
    """
    if isinstance(image, str | Path):
        return read_image_file(image, any_suffix=True)
    data: Any = image.read() if hasattr(image, "read") else image
    if not isinstance(data, bytes | bytearray | memoryview):
        kind = type(data).__name__
        raise ImageError("<image>", f"must be a path, bytes, a binary stream, a picture or an RGB array, got {kind}")
    return bytes(data)


def given_pixels(image: Pixels) -> NDArray[np.uint8]:
    """RGB, uint8 (h, w, 3), of a picture, turned as it says, or of an array.

    Raises:
        ImageError: a picture that cannot be decoded; an array of another shape or type.
    """
    if isinstance(image, Image.Image):
        return picture_pixels(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError("<array>", f"must be RGB, uint8 (h, w, 3), got {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)
