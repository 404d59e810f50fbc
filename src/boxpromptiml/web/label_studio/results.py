"""Masks and boxes as regions of Label Studio."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.formats.label_studio_rle import encode
from boxpromptiml.regions import Box, Mask


def brush_region(
    mask: Mask, *, control: str, image: str, label: str, score: float | None, width: int, height: int
) -> dict[str, Any]:
    """A mask, bool (height, width), as a result of type ``brushlabels``.

    Args:
        mask: at the image's own size.
        control: name of the ``<BrushLabels>`` tag.
        image: name of the ``<Image>`` tag.
        label: one of the control's.
        score: in [0, 1]; None where there is none.
        width: of the upright image, pixels.
        height: of the upright image, pixels.
    """
    value = {"format": "rle", "rle": encode(mask), "brushlabels": [label]}
    return _region("brushlabels", value, control, image, score, width, height)


def rectangle_region(
    box: Box, *, control: str, image: str, label: str, score: float | None, width: int, height: int
) -> dict[str, Any]:
    """A box as a result of type ``rectanglelabels``: percentages of the image's sides. Arguments as `brush_region`."""
    value = {
        "x": 100.0 * box.x0 / width,
        "y": 100.0 * box.y0 / height,
        "width": 100.0 * box.width / width,
        "height": 100.0 * box.height / height,
        "rotation": 0,
        "rectanglelabels": [label],
    }
    return _region("rectanglelabels", value, control, image, score, width, height)


def tampered(probability: NDArray[np.float32]) -> Mask:
    """A soft mask cut where everything here cuts: above one half."""
    return np.greater(probability, 0.5)


def _region(
    kind: str, value: dict[str, Any], control: str, image: str, score: float | None, width: int, height: int
) -> dict[str, Any]:
    region = {
        "id": secrets.token_urlsafe(8),
        "from_name": control,
        "to_name": image,
        "type": kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "prediction",
        "value": value,
    }
    return region if score is None else {**region, "score": round(float(score), 6)}
