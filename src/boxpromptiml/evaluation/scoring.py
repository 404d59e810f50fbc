"""One image: what the network is shown of it, and how its answer is scored. Runs in many threads at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.errors import ImageError
from boxpromptiml.evaluation.plan import Task
from boxpromptiml.evaluation.pooled import ImagePixels
from boxpromptiml.evaluation.table import Row, make_row
from boxpromptiml.evaluation.truth import read_truth
from boxpromptiml.images import decode_photo, open_image, read_image_file
from boxpromptiml.metrics import Mode, Preset
from boxpromptiml.preprocessing import Fed, resize_map, resize_nearest
from boxpromptiml.runtime import Localizer, image_score

Map = NDArray[np.float32]
Transform = Callable[[NDArray[np.uint8], str], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Scored:
    """An image's row, and what its pixels add to the pooled curves; None without a truth."""

    row: Row
    tampered: bool
    pixels: ImagePixels | None


@dataclass(frozen=True, slots=True)
class Scorer:
    """A protocol, applied to the answers of a model.

    Attributes:
        localizer: the model.
        preset: the protocol.
        mode: its mode.
        tie_blind: whether AUC depends on the order of tied pixels, as the benchmark's does.
        transform: what the image goes through before it is resized for the network.
        tta: whether the network looks four times, see `Localizer.maps`.
    """

    localizer: Localizer
    preset: Preset
    mode: Mode
    tie_blind: bool = False
    transform: Transform | None = None
    tta: bool = False

    def load(self, task: Task) -> Fed:
        """The network's input for an image.

        Raises:
            ImageError: the image cannot be read, or has another size than its record says.
        """
        if self.transform is None:
            photo = decode_photo(
                read_image_file(task.image), task.image, enough=self.localizer.config.preprocessing.enough
            )
            _check_size(task, photo.width, photo.height)
            return self.localizer.feed(photo)
        pixels = open_image(task.image)
        _check_size(task, pixels.shape[1], pixels.shape[0])
        return self.localizer.feed(self.transform(pixels, task.name))

    def score(self, task: Task, values: Map, copies: Sequence[Copy] = ()) -> Scored:
        """Compare a map, float32 (H, W), and what the image's score is besides it, with the image's truth.

        The mask is read here and not with the image, so that masks at the size of large photographs do not wait in
        memory for the network.

        Raises:
            ImageError: the mask cannot be read, has another size than its image, or marks nothing where it should.
        """
        truth, share = self._truth(task, *values.shape)
        answer = values if self.preset.grid == "model" else resize_map(values, task.height, task.width)
        # By the mask as it is: shrunk to the network's grid it may have lost all of a small region. NaN is not above 0.
        tampered = task.label == "tampered" if task.label is not None else share > 0
        scores = pixels = None
        if truth is not None:
            scores = self.preset.score(answer, truth, self.mode, tie_blind=self.tie_blind)
            # The map itself, not what the protocol reads of it: 8 bits would tie most of its pixels.
            pixels = ImagePixels.of(np.float32(1) - answer if self.mode == "reverse" else answer, truth)
        row = make_row(
            scores,
            score=self._image_score(values, answer, copies),
            positive_area=float(np.count_nonzero(self.preset.marked(answer))) / answer.size,
            region_share=share,
            tampered=tampered,
        )
        return Scored(row, tampered, pixels)

    def _image_score(self, values: Map, answer: Map, copies: Sequence[Copy]) -> float:
        if self.preset.image_rule == "max":
            return float(answer.max())
        return image_score(values, self.localizer.config.decision, copies)

    def _truth(self, task: Task, height: int, width: int) -> tuple[NDArray[np.bool_] | None, float]:
        """The truth on the preset's grid, and the share of the image that it covers at the image's own size."""
        native = self.preset.grid == "native"
        if task.label == "authentic":
            return np.zeros((task.height, task.width) if native else (height, width), dtype=bool), 0.0
        if task.mask is None:
            return None, float("nan")
        truth = read_truth(task.mask, task.width, task.height, task.label)
        share = float(np.count_nonzero(truth)) / truth.size
        return (truth if native else resize_nearest(truth, height, width)), share


def _check_size(task: Task, width: int, height: int) -> None:
    """The mask was checked against the record alone: an image that was turned or replaced since would not fit it."""
    if (width, height) != (task.width, task.height):
        raise ImageError(
            task.image,
            f"is {width} x {height} pixels, its record says {task.width} x {task.height}; import it again, or find "
            "such files with  boxpromptiml validate",
        )
