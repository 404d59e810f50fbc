"""The student's map of a dataset image as a suggestion: what to look at, and boxes to start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.regions import Box, boxes_from_mask, loosened
from boxpromptiml.runtime import Localization, Localizer
from boxpromptiml.web.answers import map_base64
from boxpromptiml.web.byte_cache import ByteCache
from boxpromptiml.web.lanes import Visitor
from boxpromptiml.web.localize import localizer_of
from boxpromptiml.web.picture_store import OneAtATime
from boxpromptiml.web.records import Image, find_record
from boxpromptiml.web.settings import WebState

# What `boxpromptiml boxes` takes for a person's looseness.
_LOOSEN = 0.1
# Of the memory for pictures: a map has 200 kB at 224 x 224, and 4 MB where the network sees 1024 x 1024.
_SHARE = 8
# Networks use the cores that there are; more of them at once would only take memory.
_AT_ONCE = 2


class Suggestions:
    """The student's maps of a dataset's images; each image is looked at once, until its file changes.

    Args:
        dataset: whose images.
        localizer: the student.
        max_pixels: larger images are refused before they are decoded.
        limit: bytes of maps that are kept.
    """

    def __init__(self, dataset: Dataset, localizer: Localizer, max_pixels: int, limit: int) -> None:
        self._dataset = dataset
        self._localizer = localizer
        self._max_pixels = max_pixels
        self._kept: ByteCache[Localization] = ByteCache(limit)
        self._running = OneAtATime()

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
            key = image, stat.st_mtime_ns, stat.st_size
        except OSError:  # reading it says what is wrong
            key = image, 0, 0
        with self._running.of(image):
            kept = self._kept.get(key)
            if kept is None:
                # Copies, here and below: a mask, made when it is first asked for, has every pixel, and is not kept.
                kept = replace(self._localizer.localize(path, max_pixels=self._max_pixels))
                self._kept.put(key, kept, kept.map.nbytes + sum(len(region.rle["counts"]) for region in kept.regions))
        return replace(kept)


def suggested_boxes(found: Localization) -> list[Box]:
    """Boxes around the regions of the student's mask, a bit loose, as people draw them; specks join a neighbour."""
    return [loosened(box, _LOOSEN, found.width, found.height) for box in boxes_from_mask(found.mask)]


def router(state: WebState) -> APIRouter:
    """``GET /api/suggestion``."""
    routes = APIRouter()
    suggestions = (
        Suggestions(state.dataset, state.localizer, state.settings.max_pixels, state.settings.cache_bytes // _SHARE)
        if state.dataset is not None and state.localizer is not None
        else None
    )

    lane = state.lane("suggestions", _AT_ONCE)

    @routes.get("/api/suggestion")
    async def suggestion(image: Image, request: Request) -> dict[str, Any]:
        # Who goes through images quickly has given most of them up before they are looked at.
        return await lane.run_for(Visitor(request), suggested, image)

    def suggested(image: str) -> dict[str, Any]:
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
