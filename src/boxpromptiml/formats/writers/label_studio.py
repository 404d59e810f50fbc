"""Label Studio: tasks.json and the labelling interface that it needs; see `boxpromptiml.formats.label_studio`."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.files import write_text
from boxpromptiml.formats.export_items import ExportOptions, Item
from boxpromptiml.formats.label_studio_rle import encode
from boxpromptiml.formats.writers.base import Writer

FILE, CONFIG = "tasks.json", "label_config.xml"

_CONFIG = """<View>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <RectangleLabels name="region" toName="image">
    <Label value={category} background="#e4572e"/>
  </RectangleLabels>
  <BrushLabels name="mask" toName="image">
    <Label value={category} background="#e4572e"/>
  </BrushLabels>
  <Choices name="verdict" toName="image" choice="single" showInline="true">
    <Choice value="authentic"/>
    <Choice value="tampered"/>
    <Choice value="skip"/>
  </Choices>
</View>
"""


class LabelStudioWriter(Writer):
    """Writes tasks as they come."""

    mask_formats = ("rle",)

    def __init__(self, folder: Path, out: Path, options: ExportOptions) -> None:
        super().__init__(folder, out, options)
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._file.write("[")
        self._tasks = 0

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> None:
        """Masks are brushes."""

    def add(self, item: Item) -> None:
        """Write a task; one that nobody has annotated has no annotation."""
        record = item.record
        self._tasks += 1
        task: dict[str, Any] = {"id": self._tasks, "data": {"image": self.options.prefix + quote(item.image)}}
        results = self._results(item)
        annotation = {
            "id": self._tasks,
            "result": results,
            "was_cancelled": record.state == "skipped",
            "ground_truth": False,
            "lead_time": record.seconds,
        }
        task["annotations"] = [annotation] if results or record.state != "todo" or record.seconds is not None else []
        self._file.write(f"{',' * (self._tasks > 1)}\n{json.dumps(task, ensure_ascii=False)}")

    def close(self) -> None:
        """Close the list; write the labelling interface."""
        self._file.write("\n]\n")
        self._file.close()
        write_text(self.folder / CONFIG, _CONFIG.format(category=quoteattr(self.options.category)))

    def _results(self, item: Item) -> list[dict[str, Any]]:
        record, category = item.record, [self.options.category]
        width, height = record.width, record.height
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        results: list[dict[str, Any]] = []

        def result(kind: str, name: str, value: dict[str, Any], extra: dict[str, Any]) -> None:
            identity = f"{self._tasks}-{len(results) + 1}"
            results.append(
                {"id": identity, "type": kind, "from_name": name, "to_name": "image", **extra, "value": value}
            )

        for box in record.boxes:
            place = {
                "x": box.x0 / width * 100,
                "y": box.y0 / height * 100,
                "width": box.width / width * 100,
                "height": box.height / height * 100,
            }
            result("rectanglelabels", "region", {**place, "rotation": 0, "rectanglelabels": category}, size)
        if item.mask is not None and item.mask.any():
            brush = {"format": "rle", "rle": encode(item.mask), "brushlabels": category}
            result("brushlabels", "mask", brush, size)
        if record.label is not None:
            result("choices", "verdict", {"choices": [record.label]}, {})
        return results
