"""Pascal VOC: XML in ``Annotations/``, images in ``JPEGImages/``; see `boxpromptiml.formats.voc`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.files import write_bytes
from boxpromptiml.formats.export_items import ExportOptions, Item
from boxpromptiml.formats.voc import ANNOTATIONS, IMAGES, MASKS, SETS
from boxpromptiml.formats.writers.base import Mask, Writer

# VOC's own colours: background, and the first class.
_PALETTE = [0, 0, 0, 128, 0, 0]


class VocWriter(Writer):
    """An XML file an image."""

    placements = ("copy", "link")

    def __init__(self, folder: Path, out: Path, options: ExportOptions) -> None:
        super().__init__(folder, out, options)
        (folder / SETS).mkdir(parents=True)
        self._sets = {
            name: (folder / SETS / f"{name}.txt").open("w", encoding="utf-8") for name in ("train", "val", "test")
        }

    def image_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """In JPEGImages/, whatever the format of the file is."""
        return IMAGES / name

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """In SegmentationClass/."""
        return (MASKS / name).with_suffix(".png")

    def mask_bytes(self, mask: Mask) -> bytes:
        """A PNG with VOC's palette: index 1 = tampered."""
        picture = Image.fromarray(mask.astype(np.uint8))
        picture.putpalette(_PALETTE)
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    def losses(self, item: Item) -> Iterator[str]:
        """XML without objects says that nobody has annotated the image."""
        if item.record.state == "skipped":
            yield "skipped: comes back as not annotated"
        elif item.record.label == "tampered" and not item.record.boxes and item.mask is None:
            yield "tampered without a box: comes back without a label"

    def add(self, item: Item) -> None:
        """Write the XML file."""
        record = item.record
        root = ElementTree.Element("annotation")
        if record.state == "authentic":
            root.set("verified", "yes")
        _child(root, "folder", IMAGES)
        _child(root, "filename", item.name.as_posix())
        _child(_child(root, "source"), "database", "BoxPromptIML")
        size = _child(root, "size")
        for tag, value in (("width", record.width), ("height", record.height), ("depth", 3)):
            _child(size, tag, str(value))
        _child(root, "segmented", str(int(item.mask is not None)))
        for box in record.boxes:
            element = _child(root, "object")
            _child(element, "name", self.options.category)
            _child(element, "pose", "Unspecified")
            _child(element, "truncated", "0")
            _child(element, "difficult", "0")
            corners = _child(element, "bndbox")
            for tag, value in (("xmin", box.x0 + 1), ("ymin", box.y0 + 1), ("xmax", box.x1), ("ymax", box.y1)):
                _child(corners, tag, str(value))
        ElementTree.indent(root)
        data = ElementTree.tostring(root, encoding="utf-8") + b"\n"
        write_bytes(self.folder / (ANNOTATIONS / item.name).with_suffix(".xml"), data, durable=False)
        if record.split is not None:
            self._sets[record.split].write(item.name.with_suffix("").as_posix() + "\n")

    def close(self) -> None:
        """Close the lists of the splits; those of none are removed."""
        for stream in self._sets.values():
            empty = stream.tell() == 0
            stream.close()
            if empty:
                Path(stream.name).unlink()


def _child(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = text
    return child
