"""IMDLBenCo's list of pairs of image and mask; see `boxpromptiml.formats.imdlbenco`."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.formats.export_items import ExportOptions, Item
from boxpromptiml.formats.imdlbenco import NEGATIVE
from boxpromptiml.formats.writers.base import Mask, Writer
from boxpromptiml.formats.writers.folders import mask_reason

FILE = "list.json"


class ImdlbencoWriter(Writer):
    """Absolute paths: IMDLBenCo itself takes others as relative to wherever it is started."""

    has_boxes = False
    needs_masks = True

    def __init__(self, folder: Path, out: Path, options: ExportOptions) -> None:
        super().__init__(folder, out, options)
        self._file = (folder / FILE).open("w", encoding="utf-8")
        self._file.write("[")
        self._first = True

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """In masks/."""
        return ("masks" / name).with_suffix(".png")

    def refuses(self, record: ImageRecord, mask: Mask | None) -> str | None:
        """As for Tp/Gt folders."""
        return mask_reason(record, mask)

    def add(self, item: Item) -> None:
        """Write a pair."""
        image = str(item.file) if self.options.images == "reference" else self._absolute(item.image)
        mask = NEGATIVE if item.mask_file is None else self._absolute(item.mask_file.as_posix())
        self._file.write(f"{'' if self._first else ','}\n{json.dumps([image, mask], ensure_ascii=False)}")
        self._first = False

    def close(self) -> None:
        """Close the list."""
        self._file.write("\n]\n")
        self._file.close()

    def _absolute(self, name: str) -> str:
        return os.path.join(os.path.abspath(self.out), name)
