"""COCO: one JSON file; see `boxpromptiml.formats.coco` for what is in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from boxpromptiml import rle
from boxpromptiml.formats.coco import OWN
from boxpromptiml.formats.export_items import ExportOptions, Item
from boxpromptiml.formats.writers.base import Mask, Writer
from boxpromptiml.regions import Box, boxes_from_mask, connected_components

FILE = "annotations.json"


class CocoWriter(Writer):
    """Writes images and annotations as they come, the latter to a file of their own that is appended in the end."""

    mask_formats = ("rle", "png")

    def __init__(self, folder: Path, out: Path, options: ExportOptions) -> None:
        super().__init__(folder, out, options)
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._later = (folder / ".annotations").open("w+", encoding="utf-8")
        category = {"id": 1, "name": options.category, "supercategory": ""}
        self._file.write(
            f'{{"info": {{"description": "written by BoxPromptIML"}}, "categories": [{json.dumps(category)}],'
        )
        self._file.write('\n"images": [')
        self._images = self._annotations = 0

    def add(self, item: Item) -> None:
        """Write an image, and its annotations beside."""
        record = item.record
        self._images += 1
        image: dict[str, Any] = {
            "id": self._images,
            "file_name": item.image,
            "width": record.width,
            "height": record.height,
        }
        own = {
            "label": record.label,
            "skipped": record.skipped or None,
            "split": record.split,
            "mask": None if item.mask_file is None else item.mask_file.as_posix(),
        }
        image[OWN] = {key: value for key, value in own.items() if value is not None}
        self._file.write(f"{',' * (self._images > 1)}\n{json.dumps(image, ensure_ascii=False)}")
        for box, part in _regions(item):
            self._annotations += 1
            annotation = {
                "id": self._annotations,
                "image_id": self._images,
                "category_id": 1,
                "bbox": [box.x0, box.y0, box.width, box.height],
                "area": box.area if part is None else int(part.sum()),
                "iscrowd": 0,
                "segmentation": [] if part is None else rle.encode(part),
            }
            self._later.write(f"{',' * (self._annotations > 1)}\n{json.dumps(annotation)}")

    def close(self) -> None:
        """Append the annotations."""
        self._file.write('\n],\n"annotations": [')
        self._later.seek(0)
        while block := self._later.read(1 << 20):
            self._file.write(block)
        self._file.write("\n]}\n")
        self._file.close()
        self._later.close()
        (self.folder / ".annotations").unlink()


def _regions(item: Item) -> Iterator[tuple[Box, Mask | None]]:
    """Each box with its share of the mask: what is inside it, and the regions outside all boxes that are nearest to it.

    A mask without boxes gives its regions' own boxes.
    """
    mask = None if item.mask_file is not None else item.mask
    boxes = item.record.boxes
    if mask is None:
        yield from ((box, None) for box in boxes)
        return
    if not boxes:
        boxes = tuple(boxes_from_mask(mask))
    outside = mask.copy()
    for box in boxes:
        outside[box.slices] = False
    near: dict[int, list[Box]] = defaultdict(list)
    for component in connected_components(outside) if boxes else ():
        near[min(range(len(boxes)), key=lambda i: _gap(boxes[i], component.box))].append(component.box)
    # One part at a time: those of a thousand boxes on a large photo do not fit into memory.
    for number, box in enumerate(boxes):
        part = np.zeros_like(mask)
        part[box.slices] = mask[box.slices]
        for other in near[number]:
            part[other.slices] |= outside[other.slices]
        yield box, part


def _gap(a: Box, b: Box) -> int:
    return max(a.x0 - b.x1, b.x0 - a.x1, 0) + max(a.y0 - b.y1, b.y0 - a.y1, 0)
