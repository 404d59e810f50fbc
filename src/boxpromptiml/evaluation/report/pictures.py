"""Small pictures of single images: the photograph, the truth's outline, the heat map."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.evaluation.plan import Task
from boxpromptiml.evaluation.truth import MASK_LEVEL
from boxpromptiml.images import decode_photo, decode_picture, open_mask, read_image_file
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.overlay import outline

_SIDE = 256  # pixels of the longer side
_QUALITY = 80
_OUTLINE = (0, 230, 255)  # cyan, as in the overlays of `localize`

# From dark blue over red to pale yellow: lightness rises all the way, so it reads in grey and by colour-blind people.
_HEAT = np.array(
    [[0, 10, 10, 30], [0.25, 75, 20, 100], [0.5, 175, 45, 95], [0.75, 240, 120, 50], [1, 255, 245, 170]],
    dtype=np.float64,
)


@dataclass(frozen=True, slots=True)
class Pictures:
    """JPEG pictures of one image; `truth` is None where nothing is tampered."""

    photo: bytes
    truth: bytes | None
    heat: bytes


def draw(task: Task, localizer: Localizer, *, tta: bool = False) -> Pictures:
    """Look at one image again, as it was looked at, and draw it.

    Raises:
        ImageError: a file that cannot be read any more.
    """
    data, spec = read_image_file(task.image), localizer.config.preprocessing
    values = localizer.maps([localizer.feed(decode_photo(data, task.image, enough=spec.enough))], tta=tta)[0]
    small = decode_picture(data, task.image)
    small.thumbnail((_SIDE, _SIDE))
    photo = np.asarray(small)
    heat = _heat_map(values, small.size)
    outlined = None
    if task.mask is not None:
        mask = Image.fromarray(((open_mask(task.mask) > MASK_LEVEL) * np.uint8(255)).astype(np.uint8))
        # Averaging keeps regions of a few pixels, which the nearest neighbour may lose.
        truth = np.asarray(mask.resize(small.size, Image.Resampling.BOX)) > 0
        edge = outline(truth, 2)
        outlined = photo.copy()
        outlined[edge] = _OUTLINE
        heat = heat.copy()
        heat[outline(truth, 1)] = _OUTLINE
    return Pictures(_jpeg(photo), None if outlined is None else _jpeg(outlined), _jpeg(heat))


def _heat_map(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    levels = Image.fromarray(np.rint(values * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    steps = np.arange(256) / 255
    table = np.stack([np.interp(steps, _HEAT[:, 0], _HEAT[:, channel]) for channel in (1, 2, 3)], axis=1)
    colours: NDArray[np.uint8] = np.rint(table).astype(np.uint8)[np.asarray(levels)]
    return colours


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()
