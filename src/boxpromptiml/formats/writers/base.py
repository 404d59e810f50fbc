"""What every writer of a foreign format does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.formats.export_items import ExportOptions, Images, Item, MaskFormat
from boxpromptiml.images import encode_png

Mask = NDArray[np.bool_]


class Writer(ABC):
    """Writes images one after the other; `image_place` to `refuses` may be called from threads, `add` from one.

    Args:
        folder: where to write.
        out: what that folder will be called in the end.
        options: with the format's own choices filled in.

    Attributes:
        mask_formats: how masks can be written, the best first.
        placements: where images can be, the best first.
        has_boxes: whether boxes are written.
        needs_masks: whether there is nothing to write without masks.
    """

    mask_formats: ClassVar[tuple[MaskFormat, ...]] = ("png",)
    placements: ClassVar[tuple[Images, ...]] = ("reference", "copy", "link")
    has_boxes: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = False

    def __init__(self, folder: Path, out: Path, options: ExportOptions) -> None:
        self.folder, self.out, self.options = folder, out, options

    def image_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """Where the copy of (or link to) an image goes, below the folder."""
        return "images" / name

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath | None:
        """Where the mask's PNG goes, below the folder; None if it is written into the annotations."""
        return None if self.options.mask_format == "rle" else ("masks" / name).with_suffix(".png")

    def mask_bytes(self, mask: Mask) -> bytes:
        """The mask's PNG: 8-bit grey, 255 = tampered."""
        return encode_png(np.where(mask, np.uint8(255), np.uint8(0)))

    def refuses(self, record: ImageRecord, mask: Mask | None) -> str | None:
        """Why an image has no place in the format, such as "has no mask"; None if it has one."""
        return None

    def losses(self, item: Item) -> Iterator[str]:
        """What of the image's record comes back from the format differently."""
        return iter(())

    @abstractmethod
    def add(self, item: Item) -> None:
        """Write an image's annotation."""

    @abstractmethod
    def close(self) -> None:
        """Write what closes the annotations."""
