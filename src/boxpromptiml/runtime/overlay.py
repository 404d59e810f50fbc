"""The picture for people: the image, tinted where it is suspicious, with the mask's outline."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.runtime.result import Localization, native_mask

OVERLAY_SIDE = 2048

# Probability, colour, opacity: nothing below 0.1, then yellow over orange to red.
_STOPS = np.array(
    [
        [0.0, 255, 230, 80, 0.0],
        [0.1, 255, 230, 80, 0.0],
        [0.5, 255, 150, 30, 0.4],
        [1.0, 235, 20, 40, 0.6],
    ]
)
_OUTLINE = (0, 230, 255)  # cyan: rare in photographs, and the complement of the tint


def shrink(image: NDArray[np.uint8], side: int = OVERLAY_SIDE) -> NDArray[np.uint8]:
    """Shrink an RGB image, uint8 (h, w, 3), so that its longer side is at most `side`; smaller ones stay."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    size = max(1, round(width * side / max(height, width))), max(1, round(height * side / max(height, width)))
    # A picture to look at: the fast way of shrinking in two steps is good enough, unlike for the network's input.
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def draw_overlay(image: NDArray[np.uint8], localization: Localization, side: int = OVERLAY_SIDE) -> NDArray[np.uint8]:
    """Tint an image by the probability map and outline the mask.

    Args:
        image: upright RGB, uint8 (h, w, 3), of any size.
        localization: the answer for it.
        side: limit of the longer side; a larger image is shrunk.

    Returns:
        RGB, uint8 (h', w', 3).
    """
    base = shrink(image, side)
    height, width = base.shape[:2]
    heat = Image.fromarray(np.rint(localization.map * 255).astype(np.uint8))
    heat = heat.resize((width, height), Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    table = np.stack([np.interp(levels, _STOPS[:, 0], _STOPS[:, i]) for i in range(1, 5)], axis=1)
    opacity = heat.point([round(v * 255) for v in table[:, 3]])
    heat.putpalette(np.rint(table[:, :3]).astype(np.uint8).tobytes())
    tinted = Image.composite(heat.convert("RGB"), Image.fromarray(base), opacity)
    outline = _outline(native_mask(localization.map, localization.threshold, height, width))
    picture = np.array(tinted)
    picture[outline] = _OUTLINE
    return picture


def encode_overlay(picture: NDArray[np.uint8]) -> bytes:
    """Encode an overlay as JPEG: a picture for looking at, a tenth of a PNG's size and time."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that are less than a line's width from its edge; lines grow with the picture."""
    inner = mask.copy()
    for _ in range(max(1, round(max(mask.shape) / 600))):
        eroded = inner.copy()
        eroded[1:] &= inner[:-1]
        eroded[:-1] &= inner[1:]
        eroded[:, 1:] &= inner[:, :-1]
        eroded[:, :-1] &= inner[:, 1:]
        inner = eroded
    return mask & ~inner
