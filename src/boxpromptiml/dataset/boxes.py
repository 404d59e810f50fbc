"""Coarse boxes from true masks: how a box annotation is simulated."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset.records import ImageRecord
from boxpromptiml.dataset.store import Dataset
from boxpromptiml.errors import DatasetError
from boxpromptiml.images import open_mask
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import progress_bar
from boxpromptiml.regions import Box, boxes_from_mask, filled_boxes, jittered, loosened

# Images a transaction: a run that is killed loses no more than these, and the next one goes on behind them.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class BoxesSummary:
    """What `derive_boxes` did.

    Attributes:
        images: images that got boxes.
        boxes: boxes that they got.
        kept: images left alone because they had boxes, or had been annotated by a person.
        without_mask: images without a mask, or labelled authentic.
        empty: images whose mask is empty: no boxes.
        area_ratio: mean over images of the area in boxes / the area of the mask; None without images.
    """

    images: int
    boxes: int
    kept: int
    without_mask: int
    empty: tuple[str, ...]
    area_ratio: float | None


def boxes_for(mask: NDArray[np.uint8], loosen: float, jitter: float, rng: np.random.Generator) -> tuple[Box, ...]:
    """Coarse boxes around the regions of a true mask: one a region, specks merged, made loose, then imprecise.

    Args:
        mask: (h, w), tampered where > 127.
        loosen: every side moves outward by this fraction of the tight box's width or height.
        jitter: then every side moves by a normal error of this fraction (standard deviation) of the loose box's
            width or height.
        rng: where the errors come from.

    Raises:
        ValueError: `loosen` or `jitter` is negative.
    """
    height, width = mask.shape
    loose = (loosened(box, loosen, width, height) for box in boxes_from_mask(mask > 127))
    return tuple(jittered(box, jitter, width, height, rng) for box in loose)


def image_rng(seed: int, image: str) -> np.random.Generator:
    """A random generator for one image, so that results depend neither on the order nor on the other images.

    It follows the file's name, not the whole path: that changes with the place of the dataset folder.
    """
    digest = hashlib.sha256(image.rsplit("/", 1)[-1].encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])


def derive_boxes(
    dataset: Dataset,
    loosen: float = 0.1,
    jitter: float = 0.05,
    seed: int = 0,
    *,
    split: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> BoxesSummary:
    """Give every image with a true mask the boxes that an annotator might have drawn (see `boxes_for`).

    Args:
        dataset: where the images are and the boxes go.
        loosen: looseness of the boxes.
        jitter: imprecision of the boxes.
        seed: of the imprecision; see `image_rng`.
        split: only images of this split.
        overwrite: replace boxes that are there, also those that people drew.
        workers: threads that read masks; default one a CPU.

    Raises:
        DatasetError: `loosen`, `jitter` or `seed` is negative, or a mask has another size than its image.
        ImageError: a mask cannot be read.
        ConflictError: another process changed one of the images meanwhile.
    """
    for name, value in (("loosen", loosen), ("jitter", jitter), ("seed", seed)):
        if not 0 <= value < float("inf"):
            raise DatasetError(f"{name} must be 0 or more, got {value}")

    def made(record: ImageRecord) -> tuple[tuple[Box, ...], float]:
        assert record.mask is not None
        mask = open_mask(dataset.path(record.mask))
        if mask.shape != (record.height, record.width):
            raise DatasetError(
                f"{dataset.path(record.mask)}: mask of {mask.shape[1]} x {mask.shape[0]} pixels for an image of "
                f"{record.width} x {record.height}; import it again with  --on-mismatch resize"
            )
        boxes = boxes_for(mask, loosen, jitter, image_rng(seed, record.image))
        area = int((mask > 127).sum())
        return boxes, filled_boxes(boxes, record.width, record.height).sum() / area if area else 0.0

    kept = without_mask = number = 0
    empty: list[str] = []
    ratios: list[float] = []
    records = dataset.records(split=split)
    with ThreadPoolExecutor(workers or usable_cores()) as pool, progress_bar() as bar:
        task = bar.add_task("boxes", total=dataset.count(split=split))
        while batch := list(islice(records, _BATCH)):
            chosen: list[ImageRecord] = []
            for record in batch:
                if record.mask is None or record.label == "authentic":
                    without_mask += 1
                elif (record.boxes or record.seconds is not None) and not overwrite:
                    kept += 1
                else:
                    chosen.append(record)
            changed = []
            for record, (boxes, ratio) in zip(chosen, pool.map(made, chosen), strict=True):
                if not boxes:
                    empty.append(record.image)
                    continue
                # The time was spent on the boxes that are replaced here.
                changed.append(replace(record, boxes=boxes, label="tampered", seconds=None))
                ratios.append(ratio)
                number += len(boxes)
            dataset.put(changed, unchanged=True)
            bar.advance(task, len(batch))
    return BoxesSummary(
        images=len(ratios),
        boxes=number,
        kept=kept,
        without_mask=without_mask,
        empty=tuple(empty),
        area_ratio=float(np.mean(ratios)) if ratios else None,
    )
