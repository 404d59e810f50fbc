"""YOLO: ``images/``, ``labels/``, data.yaml; see `boxpromptiml.formats.yolo`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from boxpromptiml.dataset import SPLITS, ImageRecord
from boxpromptiml.files import write_bytes
from boxpromptiml.formats.export_items import Item
from boxpromptiml.formats.writers.base import Writer
from boxpromptiml.formats.yolo import CONFIG, label_line

# For images without a split.
_UNASSIGNED = "unassigned"


class YoloWriter(Writer):
    """A folder a split below images/, labels/ and (ours) masks/."""

    placements = ("copy", "link")

    def image_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """Below the split's folder."""
        return PurePosixPath("images", record.split or _UNASSIGNED) / name

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """As the image, below masks/."""
        return (PurePosixPath("masks", record.split or _UNASSIGNED) / name).with_suffix(".png")

    def losses(self, item: Item) -> Iterator[str]:
        """No file of labels says no more than that nobody has annotated the image."""
        if item.record.state == "skipped":
            yield "skipped: comes back as not annotated"
        elif item.record.label == "tampered" and not item.record.boxes:
            yield "tampered without a box: comes back without a label"

    def add(self, item: Item) -> None:
        """Write the labels; none at all where nothing is known."""
        record = item.record
        place = (PurePosixPath("labels", record.split or _UNASSIGNED) / item.name).with_suffix(".txt")
        if record.state in ("boxed", "authentic"):
            lines = [label_line(0, box, record.width, record.height) + "\n" for box in record.boxes]
            write_bytes(self.folder / place, "".join(lines).encode(), durable=False)
        else:
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Write data.yaml; JSON strings are YAML strings."""
        there = [split for split in SPLITS if (self.folder / "images" / split).is_dir()]
        folders = {split: f"images/{split}" for split in there}
        if not there:
            folders = {"train": f"images/{_UNASSIGNED}", "val": f"images/{_UNASSIGNED}"}
        lines = ["path: .", *(f"{split}: {place}" for split, place in folders.items())]
        lines += ["nc: 1", "names:", f"  0: {json.dumps(self.options.category)}"]
        write_bytes(self.folder / CONFIG, ("\n".join(lines) + "\n").encode())
