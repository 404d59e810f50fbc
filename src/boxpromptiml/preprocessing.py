"""The one path from an upright image to the network's input, for training, evaluation and deployment.

Resizers differ by up to 81 grey levels; so there is one, Pillow's antialiased bilinear filter on 8-bit pixels, and the
spec that names it travels with the weights. Normalisation happens inside the network's graph, never here.

Resizing destroys the traces that compression and sensors leave in single pixels. A network that looks for them is fed
images at their own size (``fit: native``): unchanged up to `max_side`, padded to cells of 32 pixels, two at least.

A JPEG that is much larger than the network's input may be decoded at a part of its size (``draft_margin``): two to four
times faster, with nearly the same input. Nearly is not equal; so this too is part of the spec.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from boxpromptiml.copymove import Copy

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CELL = 32  # the coarsest stride of a backbone: images at their own size are padded to multiples of it

Box = tuple[float, float, float, float]


class PhotoLike(Protocol):
    """A decoded photo, perhaps at a part of its size: `boxpromptiml.images.Photo`."""

    @property
    def picture(self) -> Image.Image: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def box(self) -> Box: ...


class Fed(NamedTuple):
    """An image as the network is shown it.

    Attributes:
        pixels: uint8 (3, H, W), RGB.
        rows, columns: the part of the answer, from the top left corner, that is about the image; the rest is padding.
        copies: parts of the image that are there twice, where they were looked for: what the network cannot see.
    """

    pixels: NDArray[np.uint8]
    rows: int
    columns: int
    copies: tuple[Copy, ...] = ()

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The pixels without padding, uint8 (rows, columns, 3)."""
        return self.pixels[:, : self.rows, : self.columns].transpose(1, 2, 0)


class PreprocessingSpec(BaseModel):
    """How pixels become network input. Two models with equal specs see equal pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(
        224, ge=32, le=4096, description="Input height of the network, pixels; with fit native: of a training window."
    )
    width: int = Field(
        224, ge=32, le=4096, description="Input width of the network, pixels; with fit native: of a training window."
    )
    fit: Literal["stretch", "native"] = Field(
        "stretch",
        description="stretch: every image is resized to height x width. native: images keep their own size, as far as "
        "max_side allows; training looks at windows of height x width.",
    )
    max_side: int = Field(
        1024, ge=64, le=8192, description="With fit native: images with a longer side are scaled down to it."
    )
    resizer: Literal["pillow-bilinear"] = Field(
        "pillow-bilinear", description="Antialiased bilinear filter of Pillow on 8-bit RGB, aspect not kept."
    )
    draft_margin: float | None = Field(
        None,
        ge=1,
        le=64,
        description="JPEG files are decoded at 1/2, 1/4 or 1/8 of their size as long as both sides stay at least so "
        "many times as long as what the network is shown; null: at full size.",
    )
    mean: tuple[float, float, float] = Field(IMAGENET_MEAN, description="Subtracted from RGB / 255, in the graph.")
    std: tuple[float, float, float] = Field(IMAGENET_STD, description="RGB / 255 is divided by it, in the graph.")

    @model_validator(mode="after")
    def _whole_cells(self) -> Self:
        if self.fit == "native" and not self.takes(self.height, self.width):
            raise ValueError(
                f"with fit native, height and width must be multiples of {CELL}, {2 * CELL} or more, not "
                f"{self.height} x {self.width}"
            )
        return self

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of the map of an image of width x height pixels: what it is resized to, without padding."""
        if self.fit == "stretch":
            return self.height, self.width
        scale = min(1.0, self.max_side / max(width, height))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def shrinks(self, width: int, height: int) -> bool:
        """Whether the network is shown an image of width x height pixels smaller than it is."""
        rows, columns = self.grid(width, height)
        return rows < height or columns < width

    def enough(self, width: int, height: int) -> tuple[int, int] | None:
        """The least width and height at which a JPEG of width x height pixels may be decoded; None: full size.

        What `boxpromptiml.images.decode_photo` asks. Whoever decodes for the network passes it on, or sees other
        pixels than the network was trained on.
        """
        if self.draft_margin is None:
            return None
        rows, columns = self.grid(width, height)
        return math.ceil(columns * self.draft_margin), math.ceil(rows * self.draft_margin)

    def resize(self, image: NDArray[np.uint8] | Image.Image | PhotoLike) -> NDArray[np.uint8]:
        """Resize an upright RGB image, uint8 (h, w, 3), a picture or photo, to its grid, uint8 (rows, columns, 3)."""
        if isinstance(image, np.ndarray):
            return resize_image(image, *self.grid(image.shape[1], image.shape[0]))
        if isinstance(image, Image.Image):
            return resize_image(image, *self.grid(*image.size))
        return resize_image(image.picture, *self.grid(image.width, image.height), box=image.box)

    def feed(self, image: NDArray[np.uint8] | Image.Image | PhotoLike) -> Fed:
        """Resize and pad one image, as `resize`; what is padded, on the right and at the bottom, mirrors the image."""
        return self._padded(self.resize(image))

    def _padded(self, pixels: NDArray[np.uint8]) -> Fed:
        rows, columns = pixels.shape[:2]
        if self.fit == "native":
            below, beside = (max(-side % CELL, 2 * CELL - side) for side in (rows, columns))
            if below or beside:
                pixels = np.pad(pixels, ((0, below), (0, beside), (0, 0)), mode="symmetric")
        return Fed(np.ascontiguousarray(pixels.transpose(2, 0, 1)), rows, columns)

    def batch(self, images: Sequence[NDArray[np.uint8] | Image.Image | PhotoLike]) -> NDArray[np.uint8]:
        """Feed images that come out at one size, stacked to uint8 (n, 3, H, W)."""
        return np.stack([self.feed(image).pixels for image in images])

    def takes(self, height: int, width: int) -> bool:
        """Whether the network takes inputs of that size."""
        if self.fit == "stretch":
            return (height, width) == (self.height, self.width)
        # Two cells at least: exporters treat a side of one as another network.
        return min(height, width) >= 2 * CELL and height % CELL == 0 and width % CELL == 0

    @property
    def input_text(self) -> str:
        """The size of the input, for messages: ``224 x 224``, or that it varies."""
        if self.fit == "stretch":
            return f"{self.height} x {self.width}"
        return f"any multiples of {CELL} from {2 * CELL} on"


def resize_image(
    image: NDArray[np.uint8] | Image.Image, height: int, width: int, *, box: Box | None = None
) -> NDArray[np.uint8]:
    """The one image resizer: antialiased bilinear, RGB, uint8 (h, w, 3) or a picture, to uint8 (height, width, 3).

    `box` (left, top, right, bottom) is the part that is resized; None for all of it.
    """
    if isinstance(image, Image.Image):
        picture = image
    elif image.shape[:2] == (height, width) and box is None:
        return image
    else:
        picture = Image.fromarray(image)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box))


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
