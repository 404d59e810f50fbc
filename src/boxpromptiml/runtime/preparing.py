"""From encoded bytes to what the network is fed: the step before inference of all that looks at images."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.images import DEFAULT_MAX_PIXELS, Enough, Photo, decode_photo
from boxpromptiml.preprocessing import Fed
from boxpromptiml.runtime.overlay import OVERLAY_SIDE, shrink
from boxpromptiml.runtime.tiling import MAX_TILES

if TYPE_CHECKING:
    from boxpromptiml.runtime.localizer import Localizer

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
        values: the network's map, where the photo's tiles were looked at, which takes all its pixels; otherwise None.
    """

    sha256: str
    width: int
    height: int
    fed: Fed
    preview: NDArray[np.uint8] | None
    seconds: float
    values: NDArray[np.float32] | None = None


def prepare(
    localizer: Localizer,
    data: bytes,
    name: str,
    *,
    digest: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    preview: bool = False,
    large: AbstractContextManager[Any] | None = None,
    detail: bool = False,
    tta: bool = False,
    max_tiles: int = MAX_TILES,
    proceed: Callable[[], object] = lambda: None,
) -> Prepared:
    """Decode and resize one image; with `detail`, run the network on it too.

    Args:
        localizer: the model.
        data: the encoded image.
        name: of the image, for errors.
        digest: SHA-256 of `data`, where it is known already.
        max_pixels: larger images are refused before they are decoded.
        preview: make a copy to draw on.
        large: a lock that is held while an image above 50 megapixels is decoded, and while its tiles are looked at;
            None for no such limit.
        detail: look at tiles of the photo at its own size, see `Localizer.detailed`, and for smaller copies.
        tta: with `detail`, look at everything four times, see `Localizer.maps`.
        max_tiles, proceed: of `detail`, see `Localizer.detailed`.

    Raises:
        ImageError: it cannot be decoded.
        ModelError: the network failed.
    """
    start = time.perf_counter()
    spec = localizer.config.preprocessing
    with ExitStack() as held:
        waiting = [] if large is None else [large]

        def before(pixels: int) -> None:
            if waiting and pixels > LARGE_PIXELS:
                held.enter_context(waiting.pop())

        def decode(enough: Enough) -> Photo:
            return decode_photo(data, name, enough=enough, max_pixels=max_pixels, before=before)

        photo = decode(spec.enough)
        fed = localizer.feed(photo, detail=detail)
        width, height = photo.width, photo.height
        values = None
        if detail:
            photo = photo if photo.picture.size == (width, height) else decode(lambda width, height: None)
            values = localizer.detailed(photo.picture, fed, tta=tta, max_tiles=max_tiles, proceed=proceed)
        least = _preview_size(width, height)
        if preview and max(photo.picture.size) < max(least):
            # Smaller than people want to look at: decoded again, at a part of its size as well.
            photo = decode(_preview_size)
        smaller = shrink(photo.picture) if preview else None
        del photo
    digest = hashlib.sha256(data).hexdigest() if digest is None else digest
    return Prepared(digest, width, height, fed, smaller, time.perf_counter() - start, values)


def _preview_size(width: int, height: int) -> tuple[int, int]:
    """The least size from which `shrink` makes a preview as good as from all pixels."""
    factor = max(1, math.ceil(max(width, height) / OVERLAY_SIDE))
    return -(-width // factor), -(-height // factor)
