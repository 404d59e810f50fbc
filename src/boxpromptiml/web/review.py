"""Routes of the review: pseudo masks, verdicts, another try of a teacher, masks painted by hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from PIL import Image as Pillow
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.records import check_record
from boxpromptiml.errors import ConflictError, DatasetError, ImageError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.images import encode_png, open_mask
from boxpromptiml.images.painted import decode_grey_png
from boxpromptiml.pseudolabels import Job, Verdict, is_stale, store_correction, store_verdict
from boxpromptiml.pseudolabels.files import PERSON
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Point
from boxpromptiml.web.preview import Boxes, ImageName, Points, TeacherName, checked_teacher, pool_of
from boxpromptiml.web.records import Image, check_name, conflict, find_record, mask_id, record_json, require_writable
from boxpromptiml.web.settings import WebState
from boxpromptiml.web.teacher_pool import TeacherPool, UnavailableError

_VIEW_SIDE = 2048
# Masks that people wait for; each waits for a teacher's own thread.
_WAITING = 8

Version = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]


class ReviewRequest(BaseModel):
    """A verdict on the pseudo mask of the version that the person saw.

    With `mask`, the `id` of that mask, a request may be sent again after its answer was lost.
    """

    model_config = ConfigDict(extra="forbid")
    image: ImageName
    version: Version
    verdict: Verdict | None
    mask: Annotated[str | None, Field(max_length=64)] = None


class RelabelRequest(BaseModel):
    """Another try: with another teacher, other boxes, points. Left out: as they are, or the default teacher."""

    model_config = ConfigDict(extra="forbid")
    image: ImageName
    version: Version
    teacher: TeacherName = None
    boxes: Boxes | None = None
    points: Points | None = None


async def _body(request: Request) -> bytes:
    return await request.body()


def router(state: WebState) -> APIRouter:
    """``GET`` and ``PUT /api/pseudo``, ``POST /api/review``, ``POST /api/relabel``."""
    routes = APIRouter()
    lane = state.lane("relabel", _WAITING)

    @routes.get("/api/pseudo")
    def read(request: Request, image: Image, size: Literal["view", "full"] = "view") -> Response:
        record = find_record(state, image)
        if record.pseudo is None:
            raise HttpError(404, f"{image}: has no pseudo mask; make one with  boxpromptiml pseudo-label")
        assert state.dataset is not None
        path = state.dataset.path(record.pseudo.path)
        try:
            status = path.stat()
        except OSError as error:
            raise HttpError(
                404, f"{image}: its pseudo mask {record.pseudo.path} is gone; run the teacher again"
            ) from error
        identity = f"{record.pseudo.path} {status.st_mtime_ns} {status.st_size} {size}"
        tag = f'"{hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        mask = open_mask(path, max_pixels=state.settings.max_pixels)
        if mask.shape != (record.height, record.width):
            raise ImageError(path, f"is {mask.shape[1]} x {mask.shape[0]}, the image {record.width} x {record.height}")
        return Response(encode_png(mask if size == "full" else _shrunk(mask)), media_type="image/png", headers=headers)

    @routes.post("/api/review", response_model=None)
    def judge(body: ReviewRequest) -> dict[str, Any] | Response:
        dataset = require_writable(state)
        check_name(body.image)
        if find_record(state, body.image).label == "authentic":
            raise HttpError(400, f"{body.image}: is authentic, there is no mask to judge")
        try:
            return record_json(store_verdict(dataset, body.image, body.verdict, expected_version=body.version))
        except ConflictError as error:
            stored = find_record(state, body.image)
            # Its answer was lost, or somebody else said the same of the same mask.
            if stored.pseudo is not None and (stored.review, mask_id(stored.pseudo)) == (body.verdict, body.mask):
                return record_json(stored)
            return conflict(state, body.image, error)

    @routes.post("/api/relabel", response_model=None)
    async def relabel(body: RelabelRequest) -> dict[str, Any] | Response:
        return await lane.run(made_again, body)

    def made_again(body: RelabelRequest) -> dict[str, Any] | Response:
        dataset, pool = require_writable(state), pool_of(state)
        record = find_record(state, body.image)
        try:
            if record.version != body.version:
                if _is_made(dataset, pool, record, body):  # by this very request, whose answer was lost
                    return record_json(record)
                raise ConflictError(f"{body.image}: somebody else changed it; load it again and redo")
            return record_json(_relabelled(dataset, pool, record, body))
        except ConflictError as error:
            return conflict(state, body.image, error)
        except UnavailableError as error:
            raise HttpError(503, str(error)) from error

    @routes.put("/api/pseudo", response_model=None)
    def paint(
        image: Image,
        version: Annotated[int, Query(ge=0, le=2**63 - 1)],
        data: Annotated[bytes, Depends(_body)],
    ) -> dict[str, Any] | Response:
        dataset = require_writable(state)
        find_record(state, image)
        mask = decode_grey_png(data, f"the mask of {image}", max_pixels=state.settings.max_pixels)
        try:
            return record_json(store_correction(dataset, image, mask, expected_version=version))
        except ConflictError as error:
            stored = find_record(state, image)
            if _is_stored(dataset, stored, mask):  # by this very request, whose answer was lost
                return record_json(stored)
            return conflict(state, image, error)

    return routes


def _is_stored(dataset: Dataset, record: ImageRecord, mask: np.ndarray[Any, np.dtype[np.uint8]]) -> bool:
    """Whether a painted mask is what the record says already, accepted, and of the boxes that it has now."""
    pseudo = record.pseudo
    if pseudo is None or pseudo.teacher != PERSON or record.review != "accepted" or is_stale(record):
        return False
    try:
        return np.array_equal(open_mask(dataset.path(pseudo.path)), mask)
    except ImageError:
        return False


def _is_made(dataset: Dataset, pool: TeacherPool, record: ImageRecord, body: RelabelRequest) -> bool:
    """Whether the record has the mask that a request asks for, of the boxes and points in it, and no verdict yet."""
    pseudo = record.pseudo
    if body.boxes is None or body.points is None:
        return False  # it means those that were there: nobody knows them any more
    if pseudo is None or record.review is not None or record.boxes != tuple(Box(*box) for box in body.boxes):
        return False
    job = Job(dataset.root, pool.teacher(checked_teacher(pool, body.teacher, points=bool(body.points))))
    settings = job.settings(record, [Point(*point) for point in body.points])
    return (pseudo.teacher, pseudo.settings) == (job.teacher.name, settings)


def _relabelled(dataset: Dataset, pool: TeacherPool, record: ImageRecord, body: RelabelRequest) -> ImageRecord:
    """Ask the teacher, write the mask, store boxes and mask in one transaction. The verdict is open again."""
    boxes = record.boxes if body.boxes is None else tuple(Box(*box) for box in body.boxes)
    if not boxes:
        raise DatasetError(f"{record.image}: has no boxes; draw one around each tampered region")
    wanted = replace(record, boxes=boxes, label=record.label or "tampered", review=None)
    check_record(wanted)
    name = checked_teacher(pool, body.teacher, points=bool(body.points))
    teacher = pool.teacher(name)
    job = Job(dataset.root, teacher)
    points = job.points(wanted) if body.points is None else tuple(Point(*point) for point in body.points)
    masks = pool.masks(dataset.root, wanted, points, teacher=name)
    pseudo = job.finish(wanted, masks, points)
    job.store(dataset, wanted, pseudo)
    return dataset.get(record.image)


def _shrunk(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    height, width = mask.shape
    if max(height, width) <= _VIEW_SIDE:
        return mask
    scale = _VIEW_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.BOX))
