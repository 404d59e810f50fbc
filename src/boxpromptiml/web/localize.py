"""Routes of the localize view: a photo comes in; map, score, mask and regions go out. Nothing is written to disk."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response

from boxpromptiml.http.errors import HttpError
from boxpromptiml.images import encode_png
from boxpromptiml.images.shrinking import encoded_browser_type
from boxpromptiml.runtime import Localization, Localizer
from boxpromptiml.runtime.overlay import encode_overlay
from boxpromptiml.web.answers import Answer, Answers, look_at, map_base64
from boxpromptiml.web.lanes import Visitor
from boxpromptiml.web.settings import WebState

# More wait for a photo to be decoded, see `answers`.
_AT_ONCE = 4

Threshold = Annotated[float | None, Query(ge=0, le=1, description="For pixels and verdict; default: the model's.")]
Name = Annotated[str, Query(max_length=255, description="The photo's file name, for the result.")]


def localizer_of(state: WebState) -> Localizer:
    """The server's model.

    Raises:
        HttpError: 503, with the remedy: the server was started without one.
    """
    if state.localizer is None:
        raise HttpError(
            503, "no model: start the server with  --model FOLDER;  boxpromptiml demo  makes a small one in minutes"
        )
    return state.localizer


async def _body(request: Request) -> bytes:
    return await request.body()


def router(state: WebState) -> APIRouter:
    """``POST /api/localize`` and, for a while after it, the files of its answer at any threshold."""
    routes = APIRouter()
    answers = Answers(state.settings.cache_bytes)
    lane = state.lane("localize", _AT_ONCE)

    def answered(key: str) -> tuple[Localizer, Answer]:
        localizer, answer = localizer_of(state), answers.get(key)
        if answer is None:
            raise HttpError(404, "this result is no longer kept; open the photo again")
        return localizer, answer

    @routes.post("/api/localize")
    async def localize(
        request: Request,
        data: Annotated[bytes, Depends(_body)],
        threshold: Threshold = None,
        name: Name = "photo",
        detail: Annotated[
            bool, Query(description="Look at tiles of the photo at its own size too, and for smaller copies.")
        ] = False,
        tta: Annotated[bool, Query(description="Look four times, mirrored, and average.")] = False,
    ) -> dict[str, Any]:
        visitor = Visitor(request)
        return await lane.run_for(visitor, looked_at, visitor, data, threshold, name, detail, tta)

    def looked_at(
        visitor: Visitor, data: bytes, threshold: float | None, name: str, detail: bool, tta: bool
    ) -> dict[str, Any]:
        def check() -> None:
            state.check_serving()
            visitor.check()

        localizer, settings = localizer_of(state), state.settings
        if detail and not settings.max_tiles:
            raise HttpError(422, "detail: this server looks at no tiles (--max-tiles 0)")
        answer, found = look_at(
            localizer,
            data,
            name,
            threshold=threshold,
            max_pixels=settings.max_pixels,
            detail=detail,
            tta=tta,
            max_tiles=settings.max_tiles,
            detail_seconds=settings.detail_seconds,
            check=check,
        )
        check()  # an answer that nobody has the id of would only push others out
        return {
            "id": answers.add(answer),
            "name": name,
            **_summary(found),
            "map": map_base64(answer.map),
            # Whether a browser shows the file as the model saw it; if not, there is preview.jpg.
            "as_it_is": encoded_browser_type(data, name, max_pixels=settings.max_pixels) is not None,
        }

    @routes.get("/api/localize/{key}/result.json")
    def result(key: str, threshold: Threshold = None) -> Response:
        localizer, answer = answered(key)
        text = json.dumps(answer.at(localizer, threshold).to_json())
        return _file(text.encode(), "application/json", answer.name, "result.json")

    @routes.get("/api/localize/{key}/mask.png")
    def mask(key: str, threshold: Threshold = None) -> Response:
        localizer, answer = answered(key)
        pixels = answer.at(localizer, threshold).mask.view(np.uint8) * np.uint8(255)
        return _file(encode_png(pixels), "image/png", answer.name, "mask.png")

    @routes.get("/api/localize/{key}/map.png")
    def heat(key: str, threshold: Threshold = None) -> Response:
        localizer, answer = answered(key)
        return _file(encode_png(answer.at(localizer, threshold).map16), "image/png", answer.name, "map.png")

    @routes.get("/api/localize/{key}/overlay.png")
    def overlay(key: str, threshold: Threshold = None) -> Response:
        localizer, answer = answered(key)
        picture = answer.overlay_png(answer.at(localizer, threshold))
        return _file(picture, "image/png", answer.name, "overlay.png")

    @routes.get("/api/localize/{key}/preview.jpg")
    def preview(key: str) -> Response:
        # For photos that browsers cannot show (TIFF), or would show otherwise than the model saw them.
        _, answer = answered(key)
        return _file(encode_overlay(answer.preview), "image/jpeg", answer.name, "preview.jpg")

    return routes


def _summary(found: Localization) -> dict[str, Any]:
    """An answer without its masks: regions as boxes, areas and scores."""
    summary = found.to_json()
    for key in ("image", "sha256"):
        del summary[key]
    for region in summary["regions"]:
        del region["rle"]
    return summary


def _file(content: bytes, media_type: str, photo: str, suffix: str) -> Response:
    """A file whose name says which photo it belongs to: ``holiday-mask.png``."""
    name = quote(f"{PurePath(photo).stem or 'photo'}-{suffix}", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "Cache-Control": "no-store"}
    return Response(content, media_type=media_type, headers=headers)
