"""What the model said of photos, kept in memory for as long as there is room: nothing is written to disk."""

from __future__ import annotations

import base64
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.http.errors import HttpError
from boxpromptiml.images import encode_png
from boxpromptiml.runtime import Localization, Localizer, draw_overlay
from boxpromptiml.runtime.preparing import prepare
from boxpromptiml.runtime.tiling import MAX_TILES

# Two photos are decoded at once at most: one of 200 megapixels takes a gigabyte while it is.
_decoding = threading.BoundedSemaphore(2)


@dataclass(frozen=True, eq=False)
class Answer:
    """What is kept of a photo that was looked at: enough for score, mask and overlay at any threshold.

    Attributes:
        name: of the file.
        sha256: of its bytes.
        width: of the upright photo, pixels.
        height: of the upright photo, pixels.
        map: probability that a pixel is tampered, float32 (H, W) in [0, 1] on the network's grid.
        preview: the upright photo, RGB, uint8 (h, w, 3), longer side at most 2048.
        seconds: spent on it, from decoding to its regions.
        detail, tta: how it was looked at, see `Localizer.localize`.
    """

    name: str
    sha256: str
    width: int
    height: int
    map: NDArray[np.float32]
    preview: NDArray[np.uint8]
    seconds: float
    detail: bool = False
    tta: bool = False
    copies: tuple[Copy, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        copies = sum(part.nbytes for copy in self.copies for part in copy.parts)
        return int(self.preview.nbytes + self.map.nbytes + copies)

    def at(self, localizer: Localizer, threshold: float | None) -> Localization:
        """Mask, verdict and regions at a threshold; None for the model's. Masks are made anew: they are large."""
        found = localizer.result(
            self.map,
            self.width,
            self.height,
            threshold=threshold,
            image=self.name,
            sha256=self.sha256,
            detail=self.detail,
            tta=self.tta,
            copies=self.copies,
        )
        found.seconds = self.seconds
        return found

    def overlay_png(self, localization: Localization) -> bytes:
        """The photo, tinted by the map, with the outline of the mask: RGB PNG, longer side at most 2048."""
        return encode_png(draw_overlay(self.preview, localization))


class Answers:
    """The answers that are kept, the least recently used given up first. For many threads at once.

    Args:
        limit: bytes to keep; the newest answer is kept whatever its size.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, answer: Answer) -> str:
        """Keep an answer and return its id, which nobody can guess."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[key] = answer
            self._bytes += answer.size
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].size
        return key

    def get(self, key: str) -> Answer | None:
        """The answer of that id; None where it was given up, or never was."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)


def look_at(
    localizer: Localizer,
    data: bytes,
    name: str,
    *,
    threshold: float | None,
    max_pixels: int,
    detail: bool = False,
    tta: bool = False,
    max_tiles: int = MAX_TILES,
    detail_seconds: float = math.inf,
    check: Callable[[], object] = lambda: None,
) -> tuple[Answer, Localization]:
    """Localize an encoded photo.

    Args:
        localizer: the model.
        data: bytes of the file.
        name: of the file, for messages and results.
        threshold: for pixels and verdict; None for the model's.
        max_pixels: larger photos are refused before they are decoded.
        detail, tta: see `Localizer.localize`.
        max_tiles: see `Localizer.detailed`.
        detail_seconds: that looking at tiles may take.
        check: called before each step that takes long; what it raises ends the work.

    Returns:
        What to keep of it, and the answer at that threshold.

    Raises:
        ImageError: the photo cannot be read.
        ModelError: the network failed.
        HttpError: 504, looking at tiles takes too long.
    """
    start = time.perf_counter()
    with _decoding:
        check()
        end = time.perf_counter() + detail_seconds

        def proceed() -> None:
            check()
            if time.perf_counter() > end:
                raise HttpError(504, f"{name}: looking closer takes more than {detail_seconds:g} s; leave it out")

        photo = prepare(
            localizer,
            data,
            name,
            max_pixels=max_pixels,
            preview=True,
            detail=detail,
            tta=tta,
            max_tiles=max_tiles,
            proceed=proceed,
        )
        check()
        values = localizer.maps([photo.fed], tta=tta)[0] if photo.values is None else photo.values
        found = localizer.result(
            values,
            photo.width,
            photo.height,
            threshold=threshold,
            image=name,
            sha256=photo.sha256,
            detail=detail,
            tta=tta,
            copies=photo.fed.copies,
        )
        assert photo.preview is not None
    found.seconds = time.perf_counter() - start
    answer = Answer(
        name,
        photo.sha256,
        found.width,
        found.height,
        found.map,
        photo.preview,
        found.seconds,
        detail,
        tta,
        photo.fed.copies,
    )
    return answer, found


def map_base64(values: NDArray[np.float32]) -> str:
    """A map, float32 (H, W) in [0, 1], as base64 of an 8-bit grey PNG: probability x 255, rounded."""
    return base64.b64encode(encode_png(np.rint(values * 255).astype(np.uint8))).decode("ascii")
