"""The photo that is looked at where none is given: always the same, and about as hard to decode as real ones."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from boxpromptiml.images import encoded_size, read_image_file

_MADE_SIZE = (1600, 1200)


def read_photo(path: str | Path | None) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a photo, None for a made one, and what it is: ``name``, ``width``, ``height``, ``bytes``.

    Raises:
        ImageError: it cannot be read.
    """
    data = read_image_file(path) if path is not None else made_jpeg(*_MADE_SIZE)
    width, height = encoded_size(data, path or "<made>")
    name = str(path) if path is not None else "made.jpg"
    return data, {"name": name, "width": width, "height": height, "bytes": len(data)}


def made_jpeg(width: int, height: int) -> bytes:
    """A JPEG with smooth parts, edges and noise, of about the bytes a pixel that photographs have."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    blocks = rng.integers(-40, 41, (-(-height // 20), -(-width // 20), 1)).repeat(20, 0).repeat(20, 1)
    pixels = (smooth + blocks[:height, :width] + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@contextmanager
def photo_file(data: bytes, name: str) -> Iterator[Path]:
    """A file with these bytes and the suffix of that name, for as long as it is measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"photo{Path(name).suffix}")
        path.write_bytes(data)
        yield path
