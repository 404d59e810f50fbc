"""Tp/, Gt/ and Au/: tampered images with their masks, and authentic ones. Boxes have no place in it."""

from __future__ import annotations

from pathlib import PurePosixPath

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.formats.export_items import Item
from boxpromptiml.formats.writers.base import Mask, Writer


class FoldersWriter(Writer):
    """All that is to be written is images and masks."""

    placements = ("copy", "link")
    has_boxes = False
    needs_masks = True

    def image_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """By the label."""
        return ("Au" if record.label == "authentic" else "Tp") / name

    def mask_place(self, record: ImageRecord, name: PurePosixPath) -> PurePosixPath:
        """In Gt/, by the image's stem."""
        return ("Gt" / name).with_suffix(".png")

    def refuses(self, record: ImageRecord, mask: Mask | None) -> str | None:
        """Nothing can be said about images without a label, nor of tampered ones without a mask."""
        return mask_reason(record, mask)

    def add(self, item: Item) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Nothing to close."""


def mask_reason(record: ImageRecord, mask: Mask | None) -> str | None:
    """Why an image has no place in a format that consists of masks."""
    if record.label == "authentic":
        return None
    if record.label is None:
        return "without a label"
    return "tampered without a mask of that kind" if mask is None else None
