"""LabelMe: a JSON file an image; see `boxpromptiml.formats.labelme`."""

from __future__ import annotations

import base64
import json
import os
from pathlib import PurePosixPath
from typing import Any

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.dataset.paths import relative_path
from boxpromptiml.files import write_bytes
from boxpromptiml.formats.export_items import Item
from boxpromptiml.formats.writers.base import Writer
from boxpromptiml.regions import mask_box

# The oldest that knows masks.
_VERSION = "5.2.0"


class LabelmeWriter(Writer):
    """Files beside the copies of the images, or in folders like those of the images."""

    def image_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """Beside its file."""
        return name

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> None:
        """Masks are shapes."""

    def add(self, item: Item) -> None:
        """Write the image's file."""
        record = item.record
        place = item.name.with_suffix(".json")
        shapes = [self._shape("rectangle", [[box.x0, box.y0], [box.x1, box.y1]]) for box in record.boxes]
        if item.mask is not None and (box := mask_box(item.mask)) is not None:
            shape = self._shape("mask", [[box.x0, box.y0], [box.x1 - 1, box.y1 - 1]])
            shape["mask"] = base64.b64encode(self.mask_bytes(item.mask[box.slices])).decode()
            shapes.append(shape)
        # LabelMe opens imagePath as seen from the file's own folder. A copy lies beside its file.
        image = os.path.basename(item.image)
        if self.options.images == "reference":
            image = relative_path(item.file, self.out.absolute() / place.parent)
        content = {
            "version": _VERSION,
            "flags": self._flags(record),
            "shapes": shapes,
            "imagePath": image,
            "imageData": None,
            "imageHeight": record.height,
            "imageWidth": record.width,
        }
        data = json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
        write_bytes(self.folder / place, data, durable=False)

    def close(self) -> None:
        """Nothing to close."""

    def _shape(self, kind: str, points: list[list[int]]) -> dict[str, Any]:
        return {
            "label": self.options.category,
            "points": points,
            "group_id": None,
            "description": "",
            "shape_type": kind,
            "flags": {},
            "mask": None,
        }

    @staticmethod
    def _flags(record: ImageRecord) -> dict[str, bool]:
        said = {"authentic": record.label == "authentic", "tampered": record.label == "tampered"}
        return {name: True for name, true in (*said.items(), ("skipped", record.skipped)) if true}
