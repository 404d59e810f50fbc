"""The one path from an upright image to the network's input, for training, evaluation and deployment.

Resizers differ by up to 81 grey levels; so there is one, Pillow's antialiased bilinear filter on 8-bit pixels, and the
spec that names it travels with the weights. Normalisation happens inside the network's graph, never here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PreprocessingSpec(BaseModel):
    """How pixels become network input. Two models with equal specs see equal pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(224, ge=32, le=4096, description="Input height of the network, pixels.")
    width: int = Field(224, ge=32, le=4096, description="Input width of the network, pixels.")
    resizer: Literal["pillow-bilinear"] = Field(
        "pillow-bilinear", description="Antialiased bilinear filter of Pillow on 8-bit RGB, aspect not kept."
    )
    mean: tuple[float, float, float] = Field(IMAGENET_MEAN, description="Subtracted from RGB / 255, in the graph.")
    std: tuple[float, float, float] = Field(IMAGENET_STD, description="RGB / 255 is divided by it, in the graph.")

    def resize(self, image: NDArray[np.uint8] | Image.Image) -> NDArray[np.uint8]:
        """Resize an upright RGB image, uint8 (h, w, 3) or a picture of Pillow, to uint8 (height, width, 3)."""
        return resize_image(image, self.height, self.width)

    def batch(self, images: Sequence[NDArray[np.uint8] | Image.Image]) -> NDArray[np.uint8]:
        """Resize images and stack them to the network's input, uint8 (n, 3, height, width)."""
        stacked = np.stack([self.resize(image) for image in images])
        return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def resize_image(image: NDArray[np.uint8] | Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """The one image resizer: antialiased bilinear, RGB, uint8 (h, w, 3) or a picture, to uint8 (height, width, 3)."""
    if isinstance(image, Image.Image):
        picture = image
    elif image.shape[:2] == (height, width):
        return image
    else:
        picture = Image.fromarray(image)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def resize_map(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize a map of probabilities, float32 (h, w) in [0, 1], with the same filter; stays in [0, 1]."""
    if values.shape == (height, width):
        return values
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def resize_nearest(mask: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Nearest-neighbour resize by ``floor(i * old / new)``: the rule of OpenCV and of the field's benchmark code."""
    rows, columns = _nearest(mask.shape[0], height), _nearest(mask.shape[1], width)
    nearest: NDArray[Any] = mask[rows[:, None], columns[None, :]]
    return nearest


def _nearest(old: int, new: int) -> NDArray[np.intp]:
    # Where i * old / new is a whole number, rounding decides: OpenCV multiplies by the inverse of new / old.
    places: NDArray[np.intp] = np.floor(np.arange(new) * (1.0 / (new / old))).astype(np.intp)
    return places.clip(max=old - 1)
