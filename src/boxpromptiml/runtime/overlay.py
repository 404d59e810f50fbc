"""The picture for people: the image, tinted where it is suspicious, with the mask's outline."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from boxpromptiml.regions import Box, mask_box
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
_COPY = (255, 70, 230)  # as rare, and neither tint nor outline


def shrink(image: NDArray[np.uint8] | Image.Image, side: int = OVERLAY_SIDE) -> NDArray[np.uint8]:
    """Shrink an RGB image, uint8 (h, w, 3) or a picture of Pillow, until its longer side is at most `side`.

    A picture to look at, unlike the network's input: much larger images are shrunk by a whole factor, which is several
    times faster and leaves the longer side between a half of `side` and `side`. Smaller images stay as they are.
    """
    width, height = image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])
    longer = max(width, height)
    if longer <= side:
        return np.asarray(image)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if longer > 1.5 * side:
        factor = math.ceil(longer / side)
        return np.asarray(picture.reduce(factor))
    size = max(1, round(width * side / longer)), max(1, round(height * side / longer))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def draw_overlay(image: NDArray[np.uint8], localization: Localization, side: int = OVERLAY_SIDE) -> NDArray[np.uint8]:
    """Tint an image by the probability map and outline the mask; tie the parts of it that are there twice.

    Args:
        image: upright RGB, uint8 (h, w, 3), of any size.
        localization: the answer for it.
        side: limit of the longer side; a larger image is shrunk (see `shrink`).

    Returns:
        RGB, uint8 (h', w', 3).
    """
    picture = np.array(shrink(image, side))
    height, width = picture.shape[:2]
    _tint(picture, localization.map)
    mask = native_mask(localization.map, localization.threshold, height, width)
    box = mask_box(mask)
    if box is not None:
        picture[box.slices][outline(mask[box.slices], _thickness(height, width))] = _OUTLINE
    return _tied(picture, localization) if localization.copies else picture


def _thickness(height: int, width: int) -> int:
    """Of lines that can be seen in a picture of that size as a whole, pixels."""
    return max(1, round(max(height, width) / 600))


def _tied(picture: NDArray[np.uint8], localization: Localization) -> NDArray[np.uint8]:
    """Frame the two parts of each copy and draw a line from the middle of one to that of the other."""
    height, width = picture.shape[:2]
    x, y = width / localization.width, height / localization.height
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    line = _thickness(height, width)
    for copy in localization.copies:
        middles = []
        for box in copy.boxes:
            left, top = int(box.x0 * x), int(box.y0 * y)
            right, bottom = max(left, math.ceil(box.x1 * x) - 1), max(top, math.ceil(box.y1 * y) - 1)
            draw.rectangle((left, top, right, bottom), outline=_COPY, width=line)
            middles.append(((left + right) / 2, (top + bottom) / 2))
        draw.line(middles, fill=_COPY, width=line)
    return np.array(canvas)


def _tint(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Lay the colours of a map, float32 (H, W), over the part of a picture (h, w, 3) where they can be seen."""
    height, width = picture.shape[:2]
    heat = Image.fromarray(np.rint(values * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    table = np.stack([np.interp(levels, _STOPS[:, 0], _STOPS[:, i]) for i in range(1, 5)], axis=1)
    opacity = heat.point([round(v * 255) for v in table[:, 3]])
    visible = opacity.getbbox()
    if visible is None:
        return
    box = Box(*visible)
    colours = heat.crop(visible)
    colours.putpalette(np.rint(table[:, :3]).astype(np.uint8).tobytes())
    base = Image.fromarray(picture[box.slices])
    picture[box.slices] = np.asarray(Image.composite(colours.convert("RGB"), base, opacity.crop(visible)))


def encode_overlay(picture: NDArray[np.uint8]) -> bytes:
    """Encode an overlay as JPEG: a picture for looking at, a tenth of a PNG's size and time."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def outline(mask: NDArray[np.bool_], thickness: int) -> NDArray[np.bool_]:
    """The pixels of a mask that are less than `thickness` from its edge; the image's border counts as an edge."""
    inner = np.pad(mask, thickness)
    for _ in range(thickness):
        eroded = inner.copy()
        eroded[1:] &= inner[:-1]
        eroded[:-1] &= inner[1:]
        eroded[:, 1:] &= inner[:, :-1]
        eroded[:, :-1] &= inner[:, 1:]
        inner = eroded
    return mask & ~inner[thickness:-thickness, thickness:-thickness]
