"""Routes of the dataset's records: pages of images, one image's record, what is done and what is left."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from boxpromptiml.dataset import Dataset, ImageRecord, Label, Order, PseudoMask, ReviewState, State
from boxpromptiml.errors import ConflictError, ImageError
from boxpromptiml.http.errors import HttpError, error_response
from boxpromptiml.images import open_mask
from boxpromptiml.pseudolabels.staleness import is_stale
from boxpromptiml.regions import Box
from boxpromptiml.web.settings import WebState

# A mask drawn by hand takes 23 minutes (the paper's user study).
MASK_SECONDS = 23 * 60

# SQLite's largest number.
_MAX_NUMBER = 2**63 - 1

StateFilter = Annotated[State | None, Query(alias="state", description="Only images in this state.")]
ReviewFilter = Annotated[ReviewState | None, Query(description="Only images whose review is in this state.")]
Contains = Annotated[str | None, Query(max_length=500, description="Only images whose path contains this text.")]
Image = Annotated[str, Query(max_length=4096, description="An image of the dataset, as its record names it.")]


class Annotation(BaseModel):
    """What a person says of one image."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    version: StrictInt = Field(ge=0, le=_MAX_NUMBER)
    boxes: list[tuple[StrictInt, StrictInt, StrictInt, StrictInt]] = Field(max_length=10_000)
    label: Label | None
    skipped: StrictBool = False
    add_seconds: float = Field(default=0.0, ge=0)


def dataset_of(state: WebState) -> Dataset:
    """The server's dataset.

    Raises:
        HttpError: 503, it has none.
    """
    if state.dataset is None:
        raise HttpError(503, "no dataset: start the server with  boxpromptiml annotate DATASET")
    return state.dataset


def find_record(state: WebState, image: str) -> ImageRecord:
    """The record that a request names; no other file can be named by any request.

    Raises:
        HttpError: 404, the dataset does not know the image.
    """
    check_name(image)
    return dataset_of(state).get(image)


def check_name(image: str) -> None:
    """Refuse what cannot be the name of an image, before a database is asked.

    Raises:
        HttpError: 404, it has a NUL, or half of a surrogate pair, or nothing.
    """
    if not image or "\0" in image or any("\ud800" <= character <= "\udfff" for character in image):
        raise HttpError(404, f"the dataset has no image {image!r}")


def require_writable(state: WebState) -> Dataset:
    """The server's dataset, to change it.

    Raises:
        HttpError: 403, the server was started for reading only.
    """
    if state.settings.read_only:
        raise HttpError(403, "this server was started with --read-only")
    return dataset_of(state)


def mask_id(pseudo: PseudoMask) -> str:
    """What tells a pseudo mask from others of the same image."""
    # The name of its file is of one mask only, whose pixels never change.
    return hashlib.sha256(pseudo.path.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def record_json(record: ImageRecord) -> dict[str, Any]:
    """A record as the page sees it."""
    pseudo = record.pseudo
    return {
        "image": record.image,
        "width": record.width,
        "height": record.height,
        "label": record.label,
        "state": record.state,
        "skipped": record.skipped,
        "boxes": [list(box) for box in record.boxes],
        "seconds": record.seconds,
        "review": record.review,
        "split": record.split,
        "group": record.group,
        "kind": record.kind,
        "version": record.version,
        "has_mask": record.mask is not None,
        "pseudo": None
        if pseudo is None
        else {
            "id": mask_id(pseudo),
            "teacher": pseudo.teacher,
            "flags": pseudo.flags,
            "qualities": pseudo.qualities,
            "fallbacks": pseudo.fallbacks,
            "suspicion": pseudo.suspicion,
            "stale": is_stale(record),
        },
    }


def conflict(state: WebState, image: str, error: ConflictError) -> Response:
    """The answer to a change of what somebody else has changed: 409 with the record as it is now."""
    return error_response(409, str(error), record=record_json(find_record(state, image)))


def router(state: WebState) -> APIRouter:
    """The routes over one server's dataset."""
    routes = APIRouter()

    @routes.get("/api/images")
    def images(
        offset: Annotated[int, Query(ge=0, le=_MAX_NUMBER)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 200,
        order: Order = "image",
        state_: StateFilter = None,
        review: ReviewFilter = None,
        contains: Contains = None,
    ) -> dict[str, Any]:
        dataset = dataset_of(state)
        page = dataset.page(state=state_, review=review, contains=contains, order=order, offset=offset, limit=limit)
        total = dataset.total(state=state_, review=review, contains=contains)
        return {"total": total, "offset": offset, "items": [_item(record) for record in page]}

    @routes.get("/api/position")
    def position(
        image: Image,
        order: Order = "image",
        state_: StateFilter = None,
        review: ReviewFilter = None,
        contains: Contains = None,
    ) -> dict[str, Any]:
        check_name(image)
        dataset = dataset_of(state)
        place = dataset.position(image, state=state_, review=review, contains=contains, order=order)
        return {"position": place, "total": dataset.total(state=state_, review=review, contains=contains)}

    @routes.get("/api/next")
    def following(
        image: Annotated[str | None, Query(max_length=4096, description="Left out: the first one.")] = None,
        direction: Annotated[Literal[1, -1], BeforeValidator(int)] = 1,
        wrap: bool = False,
        order: Order = "image",
        state_: StateFilter = None,
        review: ReviewFilter = None,
        contains: Contains = None,
    ) -> dict[str, Any]:
        dataset = dataset_of(state)
        if image is None:
            first = dataset.page(state=state_, review=review, contains=contains, order=order, offset=0, limit=1)
            return {"image": first[0].image if first else None}
        check_name(image)
        return {
            "image": dataset.neighbour(
                image,
                state=state_,
                review=review,
                contains=contains,
                order=order,
                forward=direction == 1,
                wrap=wrap,
            )
        }

    @routes.get("/api/record")
    def read(image: Image) -> dict[str, Any]:
        return record_json(find_record(state, image))

    @routes.put("/api/record", response_model=None)
    def write(image: Image, body: Annotation) -> dict[str, Any] | Response:
        dataset = require_writable(state)
        check_name(image)
        if body.label == "authentic":
            _check_authentic(state, image)
        try:
            return record_json(
                dataset.annotate(
                    image,
                    boxes=[Box(*box) for box in body.boxes],
                    label=body.label,
                    skipped=body.skipped,
                    add_seconds=body.add_seconds,
                    expected_version=body.version,
                )
            )
        except ConflictError as error:
            return conflict(state, image, error)

    @routes.get("/api/stats")
    def stats() -> dict[str, Any]:
        dataset = dataset_of(state)
        counts, timing = dataset.counts(), dataset.timing()
        done = counts.boxed + counts.authentic
        median = timing.median_seconds
        return {
            "images": counts.images,
            "done": done,
            "todo": counts.todo,
            "boxed": counts.boxed,
            "authentic": counts.authentic,
            "skipped": counts.skipped,
            "median_seconds": median,
            "total_seconds": timing.total_seconds,
            "eta_seconds": None if median is None else median * counts.todo,
            # Of the images that have a time, so that both costs are about the same ones.
            "mask_seconds": timing.images * MASK_SECONDS,
        }

    return routes


def _check_authentic(state: WebState, image: str) -> None:
    """Refuse to call an image authentic whose true mask marks something: one of the two is wrong."""
    record = find_record(state, image)
    if record.label == "authentic" or record.mask is None:
        return
    try:
        marked = bool((open_mask(dataset_of(state).path(record.mask)) > 127).any())
    except ImageError:
        return  # `boxpromptiml validate` tells of masks that cannot be read
    if marked:
        raise HttpError(400, f"{image}: has a true mask that marks tampered pixels; skip it, or correct the mask")


def _item(record: ImageRecord) -> dict[str, Any]:
    return {
        "image": record.image,
        "width": record.width,
        "height": record.height,
        "state": record.state,
        "label": record.label,
        "boxes": len(record.boxes),
        "review": record.review,
        "suspicion": 0.0 if record.pseudo is None else record.pseudo.suspicion,
        "version": record.version,
    }
