"""The routes of the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from boxpromptiml.http.headers import request_headers
from boxpromptiml.serve import schema
from boxpromptiml.serve.answers import choose_output
from boxpromptiml.serve.metrics import CONTENT_TYPE
from boxpromptiml.serve.observing import LOCALIZE
from boxpromptiml.serve.query import read_query
from boxpromptiml.serve.service import Service


async def answer_localize(service: Service, request: Request) -> Response:
    """Answer a request that brings photos.

    Raises:
        BoxPromptError: whatever is wrong with it.
    """
    asked = read_query(request.scope["query_string"])
    chosen = choose_output(request_headers(request.scope).get("accept"), asked.output)
    return await service.localize(request, asked, chosen)


def router(service: Service) -> APIRouter:
    """``/v1/localize``, ``/v1/model``, ``/healthz``, ``/readyz``, ``/metrics``."""
    routes = APIRouter()

    @routes.post(
        LOCALIZE,
        response_class=Response,
        responses=schema.LOCALIZE_RESPONSES,
        openapi_extra=schema.LOCALIZE_REQUEST,
        tags=["localize"],
    )
    async def localize(request: Request) -> Response:
        """Find the tampered pixels of one photo or several.

        An image that comes as it is (`Content-Type: image/...`) is answered by one object; forms and JSON by
        `{"results": [...]}`, in their order, where an image that cannot be read has an `error` and a `status`.
        """
        return await answer_localize(service, request)

    @routes.get("/v1/model", response_model=schema.Model, tags=["localize"])
    async def model() -> dict[str, Any]:
        """What is served."""
        localizer = service.model()
        spec, rule, choice = localizer.config.preprocessing, localizer.config.decision, localizer.choice
        return {
            "id": localizer.model_id,
            "name": localizer.folder.resolve().name,
            "threshold": rule.threshold,
            "looks": rule.looks,
            "copies": rule.copies,
            "completion": rule.completion,
            "adaptive": rule.adaptive is not None,
            "input": spec.input_text,
            "runtime": choice.runtime,
            "precision": choice.precision,
            "device": choice.device,
            "limits": {
                "upload_bytes": service.settings.max_upload_bytes,
                "pixels": service.settings.max_pixels,
                "images": min(service.settings.max_images, service.settings.max_queue),
                "seconds": service.settings.timeout,
                "tiles": service.settings.max_tiles,
            },
        }

    @routes.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "alive"}

    @routes.get("/readyz", tags=["operation"], responses=schema.READY_RESPONSES)
    async def readyz() -> JSONResponse:
        """Whether the model is loaded and warm. Says no from the moment the service is told to stop."""
        if service.ready:
            return JSONResponse({"status": "ready"})
        reason = "stopping" if service.stopping else "loading the model"
        return JSONResponse({"status": "not ready", "error": reason}, 503, headers={"retry-after": "1"})

    @routes.get("/metrics", tags=["operation"], response_class=Response, responses=schema.METRICS_RESPONSES)
    def metrics() -> Response:
        """Figures in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return routes
