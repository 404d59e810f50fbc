"""The endpoints that Label Studio and its SDK expect of an ML backend."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import JSONResponse

from boxpromptiml.errors import BoxPromptError, MissingExtraError
from boxpromptiml.http.errors import HttpError, error_response, install_error_handlers
from boxpromptiml.web.label_studio.backend import Backend
from boxpromptiml.web.security import secure
from boxpromptiml.web.settings import WebSettings

_log = logging.getLogger("boxpromptiml.web.label_studio")

Json = Annotated[dict[str, Any], Body()]

_NO_TRAINING = (
    "nothing is trained here; export the annotations and train from the command line:  "
    "boxpromptiml import EXPORT.json -o DATASET  and  boxpromptiml train"
)


def create_backend_app(backend: Backend, settings: WebSettings) -> FastAPI:
    """The application that serves a backend, behind the same checks as every page of this package."""
    app = FastAPI(title="BoxPromptIML for Label Studio", docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(app)
    app.add_exception_handler(BoxPromptError, _said)
    app.include_router(router(backend))
    # Tasks may hold their images, and the masks that were painted on them.
    secure(app, settings, json_bytes=settings.max_upload_bytes)
    return app


def router(backend: Backend) -> APIRouter:
    """The routes; shapes as in ``label_studio_ml/api.py`` (SDK) and ``label_studio/ml/api_connector.py`` (caller)."""
    routes = APIRouter()

    @routes.get("/")
    @routes.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "UP", "model_class": "BoxPromptIML", "model_version": backend.version}

    @routes.get("/versions")
    def versions() -> dict[str, Any]:
        return {"versions": [backend.version]}

    @routes.post("/setup")
    def setup(request: Json) -> dict[str, Any]:
        return backend.setup(request)

    @routes.post("/predict")
    def predict(request: Json) -> dict[str, Any]:
        return {"results": backend.predict(request), "model_version": backend.version}

    @routes.post("/webhook")
    def webhook(request: Json) -> JSONResponse:
        action = request.get("action")
        if action == "START_TRAINING":
            raise HttpError(501, _NO_TRAINING)
        # Label Studio reports every change of the project here, whether anybody wants to know or not.
        return JSONResponse({"status": "ignored", "action": str(action), "detail": _NO_TRAINING}, 200)

    @routes.post("/train")
    def train() -> None:
        raise HttpError(501, _NO_TRAINING)

    return routes


def _said(request: Request, error: Exception) -> JSONResponse:
    """Answer what can be mended with one line, and say it on the console: Label Studio shows the status alone."""
    assert isinstance(error, BoxPromptError)
    status = error.status if isinstance(error, HttpError) else 503 if isinstance(error, MissingExtraError) else 400
    _log.warning("%s %s: %d: %s", request.method, request.url.path, status, " ".join(str(error).split()))
    return error_response(status, str(error))
