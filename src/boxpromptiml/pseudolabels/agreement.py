"""Pseudo masks against true masks, where both are known: how good the teacher is, and where it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.images import open_mask
from boxpromptiml.metrics import confusion, f1_score, iou_score
from boxpromptiml.progress import track

# Upper bounds of the tampered share of an image.
_SIZES = ((0.01, "0-1 %"), (0.05, "1-5 %"), (0.15, "5-15 %"), (1.01, "15-100 %"))


@dataclass(frozen=True, slots=True)
class ImageAgreement:
    """One image.

    Attributes:
        image: its path in the dataset.
        f1: pixel F1 of pseudo mask > 0.5 against true mask > 0.5, in [0, 1].
        iou: their intersection over union.
        share: tampered share of the image's pixels.
        kind: kind of manipulation where known.
        flags: the flags of its boxes, each once, sorted.
        fallbacks: the fallbacks used in it, each once, sorted.
        quality: the smallest of the teacher's own estimates for its boxes; None where there is none.
    """

    image: str
    f1: float
    iou: float
    share: float
    kind: str | None
    flags: tuple[str, ...]
    fallbacks: tuple[str, ...]
    quality: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "image": self.image,
            "f1": round(self.f1, 4),
            "iou": round(self.iou, 4),
            "share": round(self.share, 5),
            "kind": self.kind,
            "flags": list(self.flags),
            "fallbacks": list(self.fallbacks),
            "quality": self.quality,
        }


@dataclass(frozen=True)
class Agreement:
    """All images of a dataset that have both a pseudo mask and a true mask.

    Attributes:
        images: in the order of their paths.
        skipped: tampered images that lack one of the two.
        failed: (image, message) where a mask cannot be read or the sizes differ.
    """

    images: list[ImageAgreement]
    skipped: int
    failed: list[tuple[str, str]]

    @property
    def f1(self) -> float:
        """Mean over images of the pixel F1; NaN without images."""
        return _mean([image.f1 for image in self.images])

    @property
    def iou(self) -> float:
        """Mean over images of the IoU; NaN without images."""
        return _mean([image.iou for image in self.images])

    def worst(self, number: int) -> list[ImageAgreement]:
        """The images with the smallest F1, worst first."""
        return sorted(self.images, key=lambda image: (image.f1, image.image))[:number]

    def groups(self) -> dict[str, dict[str, tuple[int, float, float]]]:
        """(images, mean F1, mean IoU) by kind of manipulation, by size of the region and by flag."""
        return {
            "kind": self._by(lambda image: [image.kind or "unknown"]),
            "size": self._by(lambda image: [_size(image.share)]),
            "flag": self._by(lambda image: list(image.flags) or ["none"]),
        }

    def to_json(self, worst: int = 20) -> dict[str, Any]:
        """As JSON values."""
        return {
            "images": len(self.images),
            "f1": round(self.f1, 4) if self.images else None,
            "iou": round(self.iou, 4) if self.images else None,
            "skipped": self.skipped,
            "failed": [{"image": image, "error": message} for image, message in self.failed],
            "groups": {
                name: {
                    key: {"images": n, "f1": round(f1, 4), "iou": round(iou, 4)} for key, (n, f1, iou) in rows.items()
                }
                for name, rows in self.groups().items()
            },
            "worst": [image.to_json() for image in self.worst(worst)],
        }

    def _by(self, keys: Callable[[ImageAgreement], list[str]]) -> dict[str, tuple[int, float, float]]:
        rows: dict[str, list[ImageAgreement]] = {}
        for image in self.images:
            for key in keys(image):
                rows.setdefault(key, []).append(image)
        return {
            key: (len(group), _mean([i.f1 for i in group]), _mean([i.iou for i in group]))
            for key, group in sorted(rows.items(), key=lambda row: _sort_key(row[0]))
        }


def agreement_with_truth(dataset: Dataset, *, split: str | None = None) -> Agreement:
    """Compare every pseudo mask with the true mask of its image, at the image's own size, both cut at 0.5.

    Args:
        dataset: its records name both masks.
        split: only this split.

    Raises:
        DatasetError: no image has both.
    """
    images: list[ImageAgreement] = []
    failed: list[tuple[str, str]] = []
    skipped = 0
    total = dataset.count(split=split, label="tampered")
    for record in track(_tampered(dataset, split), "compare masks", total=total):
        if record.pseudo is None or record.mask is None:
            skipped += 1
            continue
        try:
            images.append(_compare(dataset, record))
        except ImageError as error:
            failed.append((record.image, str(error)))
    if not images and not failed:
        raise DatasetError(
            f"{dataset.root}: no tampered image has both a pseudo mask and a true mask; "
            "make pseudo masks with  boxpromptiml pseudo-label"
        )
    return Agreement(images, skipped, failed)


def _tampered(dataset: Dataset, split: str | None) -> Iterator[ImageRecord]:
    return dataset.records(split=split, label="tampered")


def _compare(dataset: Dataset, record: ImageRecord) -> ImageAgreement:
    assert record.pseudo is not None
    assert record.mask is not None
    predicted = open_mask(dataset.path(record.pseudo.path)) > 127
    truth = open_mask(dataset.path(record.mask)) > 127
    if predicted.shape != truth.shape:
        sizes = " and ".join(f"{m.shape[1]} x {m.shape[0]}" for m in (predicted, truth))
        raise ImageError(dataset.path(record.mask), f"pseudo mask and true mask differ in size ({sizes})")
    counts = confusion(predicted, truth)
    qualities = [quality for quality in record.pseudo.qualities if quality is not None]
    return ImageAgreement(
        image=record.image,
        f1=f1_score(counts, empty=1.0),
        iou=iou_score(counts, empty=1.0),
        share=float(truth.mean()),
        kind=record.kind,
        flags=tuple(sorted({flag for flags in record.pseudo.flags for flag in flags})),
        fallbacks=tuple(sorted({fallback for fallback in record.pseudo.fallbacks if fallback is not None})),
        quality=min(qualities, default=None),
    )


def _sort_key(key: str) -> tuple[float, str]:
    """Sizes by number, everything else by name."""
    start = key.split("-")[0]
    return (float(start) if start.isdigit() else 0.0), key


def _size(share: float) -> str:
    return next(name for limit, name in _SIZES if share < limit)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
