"""The functions that write image files."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.files import write_bytes


def encode_png(array: NDArray[Any]) -> bytes:
    """Encode an array as PNG: uint8 (h, w) grey, uint8 (h, w, 3) RGB or uint16 (h, w) 16-bit grey.

    Raises:
        ValueError: another shape or type.
    """
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (grey or colour) or array.size == 0:
        raise ValueError(f"a PNG takes uint8 (h, w), uint8 (h, w, 3) or uint16 (h, w), got {array.dtype} {array.shape}")
    stream = io.BytesIO()
    # Level 1 is several times faster than the default, and maps compress well at any. Masks are long runs of one
    # value: looking for runs alone makes them a third of the size in the same time.
    strategy = zlib.Z_RLE if array.ndim == 2 and array.dtype == np.uint8 else zlib.Z_DEFAULT_STRATEGY
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.save(stream, "PNG", compress_level=1, compress_type=strategy)
    return stream.getvalue()


def save_png(path: str | Path, array: NDArray[Any]) -> None:
    """Write an array as PNG, atomically; see `encode_png` for what it takes."""
    write_bytes(path, encode_png(array))
