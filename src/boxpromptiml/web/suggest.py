"""The student's map of a dataset image as a suggestion: what to look at, and boxes to start from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.regions import Box, boxes_from_mask, loosened
from boxpromptiml.runtime import Localization, Localizer
from boxpromptiml.web.answers import map_base64
from boxpromptiml.web.localize import localizer_of
from boxpromptiml.web.records import Image, find_record
from boxpromptiml.web.settings import WebState

# What `boxpromptiml boxes` takes for a person's looseness.
_LOOSEN = 0.1
# Maps are small (200 kB at 224 x 224): these are enough for going back and forth.
_KEPT = 256


@dataclass(frozen=True, eq=False)
class _Seen:
    stamp: tuple[int, int]  # of the file: modified (ns), bytes
    found: Localization


class Suggestions:
    """The student's maps of a dataset's images; each image is looked at once, until its file changes.

    Args:
        dataset: whose images.
        localizer: the student.
        max_pixels: larger images are refused before they are decoded.
    """

    def __init__(self, dataset: Dataset, localizer: Localizer, max_pixels: int) -> None:
        self._dataset = dataset
        self._localizer = localizer
        self._max_pixels = max_pixels
        self._kept: OrderedDict[str, _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, record: ImageRecord) -> Localization:
        """The student's answer for an image of the dataset, at the model's threshold.

        Raises:
            ImageError: its file cannot be read.
            ModelError: the network failed.
        """
        image = record.image
        path = self._dataset.path(image)
        try:
            stat = path.stat()
            stamp = stat.st_mtime_ns, stat.st_size
        except OSError:  # reading it says what is wrong
            stamp = 0, 0
        with self._lock:
            seen = self._kept.get(image)
            if seen is not None and seen.stamp == stamp:
                self._kept.move_to_end(image)
                return replace(seen.found)
        found = self._localizer.localize(path, max_pixels=self._max_pixels)
        with self._lock:
            self._kept[image] = _Seen(stamp, replace(found))  # without the mask that it may make: maps are small
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def suggested_boxes(found: Localization) -> list[Box]:
    """Boxes around the regions of the student's mask, a bit loose, as people draw them; specks join a neighbour."""
    return [loosened(box, _LOOSEN, found.width, found.height) for box in boxes_from_mask(found.mask)]


def router(state: WebState) -> APIRouter:
    """``GET /api/suggestion``."""
    routes = APIRouter()
    suggestions = (
        Suggestions(state.dataset, state.localizer, state.settings.max_pixels)
        if state.dataset is not None and state.localizer is not None
        else None
    )

    @routes.get("/api/suggestion")
    def suggestion(image: Image) -> dict[str, Any]:
        localizer_of(state)
        record = find_record(state, image)
        assert suggestions is not None
        found = suggestions.get(record)
        return {
            "png": map_base64(found.map),
            "threshold": found.threshold,
            "score": round(found.score, 6),
            "boxes": [list(box) for box in suggested_boxes(found)],
            "model": found.model,
        }

    return routes
