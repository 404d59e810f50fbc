"""Routes of what helps while drawing: the teacher's mask of the boxes so far, and the next images made ready."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from boxpromptiml.errors import DatasetError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.images import encode_png
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Point
from boxpromptiml.web.records import check_name, dataset_of, find_record
from boxpromptiml.web.settings import WebState
from boxpromptiml.web.teacher_pool import TeacherPool, UnavailableError
from boxpromptiml.web.worker import SupersededError

# More is no drawing by hand, and every box takes a tenth of a second or more.
_MAX_BOXES, _MAX_POINTS = 200, 1000

# Each does nothing but wait for a teacher's own thread, and a page has one that still counts.
_WAITING = 32

ImageName = Annotated[str, Field(max_length=4096)]


def _few(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    if len(boxes) > _MAX_BOXES:
        raise ValueError(
            f"{len(boxes)}, and a mask is made here for {_MAX_BOXES} at most; run  boxpromptiml pseudo-label  instead"
        )
    return boxes


Boxes = Annotated[list[tuple[StrictInt, StrictInt, StrictInt, StrictInt]], AfterValidator(_few)]
Points = Annotated[list[tuple[StrictInt, StrictInt, StrictBool, StrictInt]], Field(max_length=_MAX_POINTS)]
TeacherName = Annotated[str | None, Field(max_length=100)]


class PreviewRequest(BaseModel):
    """Boxes and points to ask a teacher about."""

    model_config = ConfigDict(extra="forbid")
    image: ImageName
    boxes: Boxes
    points: Points = []
    teacher: TeacherName = None
    exact: StrictBool = False
    client: Annotated[str, Field(max_length=100)] = ""


class PrefetchRequest(BaseModel):
    """The images that come next, in their order."""

    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[ImageName], Field(max_length=100)]
    client: Annotated[str, Field(max_length=100)] = ""


def pool_of(state: WebState) -> TeacherPool:
    """The server's teachers.

    Raises:
        HttpError: 503, it has none.
    """
    if state.teachers is None:
        raise HttpError(503, "no teacher: start the server with  --teacher grabcut  or  --teacher sam --weights FOLDER")
    return state.teachers


def checked_teacher(pool: TeacherPool, name: str | None, *, points: bool) -> str:
    """The teacher that a request asks for.

    Raises:
        TeacherError: the server has no such teacher.
        HttpError: 400, there are points and it takes none.
    """
    chosen = name or pool.default
    if not pool.takes_points(chosen) and points:
        raise HttpError(400, f"the {chosen} teacher takes boxes only, no points")
    return chosen


def router(state: WebState) -> APIRouter:
    """``POST /api/preview`` and ``POST /api/prefetch``."""
    routes = APIRouter()
    lane = state.lane("previews", _WAITING)

    @routes.post("/api/preview")
    async def preview(body: PreviewRequest, request: Request) -> dict[str, Any]:
        return await lane.run(answer, body, _client(body.client, request))

    def answer(body: PreviewRequest, client: str) -> dict[str, Any]:
        pool, record = pool_of(state), find_record(state, body.image)
        try:
            found = pool.preview(
                dataset_of(state).root,
                record,
                [Box(*box) for box in body.boxes],
                [Point(*point) for point in body.points],
                teacher=checked_teacher(pool, body.teacher, points=bool(body.points)),
                client=client,
                exact=body.exact,
            )
        except SupersededError:
            return {"superseded": True}
        except UnavailableError as error:
            raise HttpError(503, str(error)) from error
        return {
            "png": base64.b64encode(encode_png(found.mask)).decode("ascii"),
            "width": record.width,
            "height": record.height,
            "flags": [box.flags for box in found.boxes],
            "qualities": [None if box.quality is None else round(box.quality, 4) for box in found.boxes],
            "fallbacks": [box.fallback for box in found.boxes],
            "draft": found.draft,
            "seconds": round(found.seconds, 3),
            "cached": found.cached,
        }

    @routes.post("/api/prefetch", status_code=202)
    def prefetch(body: PrefetchRequest, request: Request) -> Response:
        pool, dataset = pool_of(state), dataset_of(state)
        records = []
        for image in body.images:
            try:
                check_name(image)
                records.append(dataset.get(image))
            except (HttpError, DatasetError):
                continue  # Removed since the page was loaded: who opens it is told.
        pool.prefetch(dataset.root, records, client=_client(body.client, request))
        return Response(status_code=202)

    return routes


def _client(name: str, request: Request) -> str:
    return f"{'' if request.client is None else request.client.host} {name}"
