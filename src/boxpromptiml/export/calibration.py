"""Images of a dataset for quantisation: some to take ranges from, others to measure on what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError
from boxpromptiml.images import decode_photo, open_mask, read_image_file
from boxpromptiml.metrics import confusion, f1_score
from boxpromptiml.preprocessing import Fed, PreprocessingSpec, resize_nearest
from boxpromptiml.progress import track
from boxpromptiml.runtime import Localizer

_MASK_LEVEL = 127  # a mask pixel above it is tampered


@dataclass(frozen=True, slots=True)
class F1Loss:
    """What a file of lower precision costs on validation images.

    Attributes:
        images: tampered images that were measured.
        before: mean F1 over them at the model's threshold, at full precision.
        after: of the file.
        flipped: share of the pixels whose verdict changes.
        before_ms, after_ms: of an image in the network alone; median.
        truth: what the masks are: ``mask`` (true ones), or ``pseudo mask``.
    """

    images: int
    before: float
    after: float
    flipped: float
    before_ms: float
    after_ms: float
    truth: str

    @property
    def loss(self) -> float:
        """Of F1; negative where the file happens to be better."""
        return self.before - self.after


def calibration_images(dataset: Dataset, spec: PreprocessingSpec, count: int) -> list[NDArray[np.uint8]]:
    """Network inputs, uint8 (3, H, W), of images drawn from the train split; from val where there is no train.

    Never from test: what a model is tested on must not shape it. Always the same for the same dataset.

    Raises:
        DatasetError: neither split has an image.
    """
    names = next((names for split in ("train", "val") if (names := _names(dataset, split))), None)
    if names is None:
        raise DatasetError(f"{dataset.root}: no image in train or val; make splits with  boxpromptiml split")
    order = np.random.default_rng(0).permutation(len(names))[:count]
    chosen = track((names[index] for index in sorted(order)), "calibration images", len(order))
    return [_fed(dataset.path(name), spec).pixels for name in chosen]


def f1_loss(dataset: Dataset, before: Localizer, after: Localizer, limit: int) -> F1Loss:
    """Compare two files of a model on the tampered images of the val split.

    F1 is that of the benchmarks (preset ``imdlbenco``): on the network's grid, a mean over images. Truth is the true
    mask where at least one image has one, otherwise the pseudo mask.

    Args:
        dataset: with a val split.
        before: the model at full precision.
        after: the file in question.
        limit: images at most, the same ones always.

    Raises:
        DatasetError: no tampered image of val has a mask.
    """
    records = [record for record in dataset.records(split="val") if record.label == "tampered"]
    pairs, truth = _with_masks(dataset, records)
    if not pairs:
        raise DatasetError(
            f"{dataset.root}: no tampered image of val has a mask, so no F1 can be measured; "
            "make splits with  boxpromptiml split  and masks with  boxpromptiml pseudo-label, or name another dataset"
        )
    if len(pairs) > limit:
        order = np.random.default_rng(0).permutation(len(pairs))[:limit]
        pairs = [pairs[index] for index in sorted(order)]
    scores, flipped, times = [], [], []
    threshold = before.config.decision.threshold
    for name, mask in track(pairs, "F1 on val", len(pairs)):
        fed = _fed(dataset.path(name), before.config.preprocessing)
        found = [_timed(localizer, fed) for localizer in (before, after)]
        maps = [values > threshold for values, _ in found]
        expected = resize_nearest(open_mask(mask) > _MASK_LEVEL, *maps[0].shape)
        scores.append([f1_score(confusion(prediction, expected)) for prediction in maps])
        flipped.append(float(np.mean(maps[0] != maps[1])))
        times.append([1000 * seconds for _, seconds in found])
    (f1_before, f1_after), (ms_before, ms_after) = np.mean(scores, axis=0), np.median(times, axis=0)
    return F1Loss(
        len(pairs), float(f1_before), float(f1_after), float(np.mean(flipped)), float(ms_before), float(ms_after), truth
    )


def _fed(path: Path, spec: PreprocessingSpec) -> Fed:
    return spec.feed(decode_photo(read_image_file(path), path, enough=spec.enough))


def _names(dataset: Dataset, split: str) -> list[str]:
    return [record.image for record in dataset.records(split=split)]


def _with_masks(dataset: Dataset, records: Sequence[ImageRecord]) -> tuple[list[tuple[str, Path]], str]:
    true = [(record.image, dataset.path(record.mask)) for record in records if record.mask is not None]
    if true:
        return true, "mask"
    return list(_pseudo(dataset, records)), "pseudo mask"


def _pseudo(dataset: Dataset, records: Sequence[ImageRecord]) -> Iterator[tuple[str, Path]]:
    for record in records:
        if record.pseudo is not None:
            yield record.image, dataset.path(record.pseudo.path)


def _timed(localizer: Localizer, fed: Fed) -> tuple[NDArray[np.float32], float]:
    start = time.perf_counter()
    (values,) = localizer.maps([fed])
    return values, time.perf_counter() - start
