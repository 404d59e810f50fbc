"""One image of a run and its target. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import DatasetError
from boxpromptiml.images import decode_image, decode_mask, decode_photo, open_image, open_mask, read_image_file
from boxpromptiml.preprocessing import PreprocessingSpec, resize_map
from boxpromptiml.regions import Box, filled_boxes
from boxpromptiml.shards import Part
from boxpromptiml.training.windows import middle_window


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and where its target comes from.

    Attributes:
        name: the image as the dataset names it, behind the dataset's folder where there are several.
        path: image file, or part of a shard.
        width, height: of the upright image, pixels.
        tampered: False: the target is empty.
        mask: mask file (true or pseudo) or part of a shard, for those supervisions.
        boxes: for supervision by boxes.
        soft: whether the mask holds probabilities (pseudo) or is cut at 127 (true masks).
        confined: for refinement: the boxes that the mask belongs to. The target is then 0 outside them and at least
            1/255 inside, which tells where it may be corrected.
        group: of images made from the same source photographs, where it is known: what is true of one tends to be true
            of all.
        digest: changes with everything that shapes image or target, as far as the dataset knows it.
        bytes: length of the image's file; None if there is no such file.

    A tampered sample with neither mask nor boxes is for supervision by labels: its target says nothing.
    """

    name: str
    path: Path | Part
    width: int
    height: int
    tampered: bool
    mask: Path | Part | None = None
    boxes: tuple[Box, ...] = ()
    soft: bool = False
    confined: tuple[Box, ...] = ()
    group: str | None = None
    digest: str = ""
    bytes: int | None = None

    @property
    def has_target(self) -> bool:
        """Whether the target says which pixels are tampered."""
        return not self.tampered or self.mask is not None or bool(self.boxes)

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Image, uint8 (h, w, 3), and target, float32 (h, w) in [0, 1], at the image's own size.

        Raises:
            ImageError: image or mask cannot be read.
            DatasetError: their sizes are not what the dataset says.
        """
        image = _image(self.path)
        size = (self.height, self.width)
        if image.shape[:2] != size:
            raise DatasetError(_size_error(self.path, image.shape, size))
        return image, self._target()

    def load_fitted(self, spec: PreprocessingSpec) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """As `load`, both at the size at which deployment shows the image to the network, and from the same pixels.

        Raises:
            ImageError: image or mask cannot be read.
            DatasetError: their sizes are not what the dataset says.
        """
        photo = decode_photo(_bytes(self.path), str(self.path), enough=spec.enough)
        if (photo.width, photo.height) != (self.width, self.height):
            raise DatasetError(_size_error(self.path, (photo.height, photo.width), (self.height, self.width)))
        image = spec.resize(photo)
        del photo
        return image, resize_map(self._target(), *image.shape[:2])

    def _target(self) -> NDArray[np.float32]:
        size = (self.height, self.width)
        if self.mask is not None:
            grey = _mask(self.mask)
            if grey.shape != size:
                raise DatasetError(_size_error(self.mask, grey.shape, size))
            values = np.asarray(grey / 255 if self.soft else grey > 127, np.float32)
        else:
            values = np.asarray(filled_boxes(self.boxes, self.width, self.height), np.float32)
        if self.confined:
            inside = filled_boxes(self.confined, self.width, self.height)
            values = np.where(inside, np.maximum(values, np.float32(1 / 255)), np.float32(0))
        return values

    def load_for(self, spec: PreprocessingSpec) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image, uint8 (height, width, 3) of the spec, and target, uint8 (height, width), probability x 255.

        The whole image, resized; or, where the network is fed images at their own size, the window of them that
        `middle_window` chooses. Both go through the antialiased filter of `boxpromptiml.preprocessing`; so a target's
        value is the share of the pixel that is tampered, for all supervisions that have one.
        """
        image, values = self.load_fitted(spec)
        if spec.fit == "native":
            image, values = middle_window(image, values, spec)
        return image, quantised(values)


def quantised(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities in [0, 1] to 8 bits, rounded to the nearest."""
    return np.rint(values * 255).astype(np.uint8)


def _bytes(source: Path | Part) -> bytes:
    return source.read() if isinstance(source, Part) else read_image_file(source)


def _image(source: Path | Part) -> NDArray[np.uint8]:
    return decode_image(source.read(), str(source)) if isinstance(source, Part) else open_image(source)


def _mask(source: Path | Part) -> NDArray[np.uint8]:
    return decode_mask(source.read(), str(source)) if isinstance(source, Part) else open_mask(source)


def _size_error(path: Path | Part, found: Sequence[int], size: tuple[int, int]) -> str:
    return (
        f"{path}: {found[1]} x {found[0]} pixels, the dataset says {size[1]} x {size[0]}; "
        "import it again, or find such files with  boxpromptiml validate"
    )
