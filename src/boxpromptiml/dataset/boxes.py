"""Coarse boxes from true masks: how a box annotation is simulated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset.annotation import annotated
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
        kept: images left alone because they had boxes, or a person had annotated or skipped them.
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


def boxes_for(
    mask: NDArray[np.uint8], loosen: float, jitter: float, rng: np.random.Generator, *, missing: float = 0.0
) -> tuple[Box, ...]:
    """Coarse boxes around the regions of a true mask: one a region, specks merged, made loose, then imprecise.

    The same `rng` gives the same errors whatever their size: with a larger `missing` the annotator overlooks the same
    regions and more, and the boxes that are left do not change.

    Args:
        mask: (h, w), tampered where > 127.
        loosen: every side moves outward by this fraction of the tight box's width or height.
        jitter: then every side moves by a normal error of this fraction (standard deviation) of the loose box's
            width or height.
        rng: where the errors come from.
        missing: probability that a region is overlooked and gets no box.

    Raises:
        ValueError: `loosen` or `jitter` is negative, or `missing` is not in [0, 1].
    """
    if not 0 <= missing <= 1:
        raise ValueError(f"missing must be in [0, 1], got {missing}")
    height, width = mask.shape
    loose = (loosened(box, loosen, width, height) for box in boxes_from_mask(mask > 127))
    drawn = [jittered(box, jitter, width, height, rng) for box in loose]
    return tuple(box for box, chance in zip(drawn, rng.random(len(drawn)), strict=True) if chance >= missing)


def rescaled(boxes: Iterable[Box], size: tuple[int, int], new_size: tuple[int, int]) -> tuple[Box, ...]:
    """The same boxes on an image of another size, rounded outward: none is empty or outside.

    Args:
        boxes: inside an image of `size`.
        size: width and height of that image.
        new_size: width and height of the other one.
    """
    (width, height), (new_width, new_height) = size, new_size
    return tuple(
        Box(
            box.x0 * new_width // width,
            box.y0 * new_height // height,
            -(-box.x1 * new_width // width),
            -(-box.y1 * new_height // height),
        )
        for box in boxes
    )


def swapped_boxes(records: Sequence[ImageRecord], share: float, seed: int) -> list[ImageRecord]:
    """Give a share of the images the boxes of another image, scaled to their size: annotation that was mixed up.

    Args:
        records: images with boxes; others are left as they are.
        share: of the images with boxes that carry those of another one, in [0, 1], rounded to whole images. The
            images of a smaller share are among those of a larger one.
        seed: of the choice; see `image_rng`.

    Returns:
        The records in their order; what was swapped has lost its pseudo mask, which belongs to other boxes.

    Raises:
        ValueError: `share` is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    order = sorted(
        (i for i, record in enumerate(records) if record.boxes),
        key=lambda i: (image_rng(seed, records[i].image).random(), records[i].image),
    )
    chosen = order[: round(share * len(order))]
    # Each takes those of the next, the last those of the first; one alone those of an image that keeps its own.
    donors = [*chosen[1:], *(chosen[:1] if len(chosen) > 1 else order[1:2])]
    result = list(records)
    for i, j in zip(chosen, donors, strict=False):
        own, donor = records[i], records[j]
        boxes = rescaled(donor.boxes, (donor.width, donor.height), (own.width, own.height))
        result[i] = replace(own, boxes=boxes, pseudo=None)
    return result


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
                elif (record.boxes or record.seconds is not None or record.skipped) and not overwrite:
                    kept += 1
                else:
                    chosen.append(record)
            changed = []
            for record, (boxes, ratio) in zip(chosen, pool.map(made, chosen), strict=True):
                if not boxes:
                    empty.append(record.image)
                    continue
                # The time was spent on the boxes that are replaced here.
                changed.append(replace(annotated(record, boxes=boxes, label="tampered"), seconds=None))
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
