"""From encoded bytes to what the network is fed: the step before inference of all that looks at many images."""

from __future__ import annotations

import hashlib
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.images import DEFAULT_MAX_PIXELS, decode_picture
from boxpromptiml.preprocessing import Fed
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.runtime.overlay import shrink

LARGE_PIXELS = 50_000_000  # larger images (5 bytes a pixel while they are decoded) are decoded one at a time


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network.

    Attributes:
        sha256: of its encoded bytes.
        width, height: of the upright image, pixels.
        fed: the network's input.
        preview: a copy to draw on, RGB, at most 2048 pixels on its longer side; None unless asked for.
        seconds: spent so far.
    """

    sha256: str
    width: int
    height: int
    fed: Fed
    preview: NDArray[np.uint8] | None
    seconds: float


def prepare(
    localizer: Localizer,
    data: bytes,
    name: str,
    *,
    digest: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    preview: bool = False,
    large: AbstractContextManager[Any] | None = None,
) -> Prepared:
    """Decode and resize one image.

    Args:
        localizer: the model.
        data: the encoded image.
        name: of the image, for errors.
        digest: SHA-256 of `data`, where it is known already.
        max_pixels: larger images are refused before they are decoded.
        preview: make a copy to draw on.
        large: a lock that is held while an image above 50 megapixels is decoded; None for no such limit.

    Raises:
        ImageError: it cannot be decoded.
    """
    start = time.perf_counter()
    with ExitStack() as held:

        def before(pixels: int) -> None:
            if large is not None and pixels > LARGE_PIXELS:
                held.enter_context(large)

        picture = decode_picture(data, name, max_pixels=max_pixels, before=before)
        fed = localizer.config.preprocessing.feed(picture)
        smaller = shrink(picture) if preview else None
        width, height = picture.size
        del picture
    digest = hashlib.sha256(data).hexdigest() if digest is None else digest
    return Prepared(digest, width, height, fed, smaller, time.perf_counter() - start)
