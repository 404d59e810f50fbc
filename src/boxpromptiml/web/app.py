"""The application: the routes of every feature that is there, the page's files, security around everything."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from boxpromptiml.web.errors import install_error_handlers
from boxpromptiml.web.security import secure
from boxpromptiml.web.settings import WebState

STATIC = Path(__file__).with_name("static")

# Each module defines router(state).
_WITH_DATASET = ("records", "pictures", "preview", "review", "suggest")
_ALWAYS = ("session", "localize")


def create_app(state: WebState) -> FastAPI:
    """The application over a state: API, page, security.

    Args:
        state: without a dataset the routes that need one are left out.
    """
    app = FastAPI(title="BoxPromptIML", openapi_url=None, redirect_slashes=False)
    install_error_handlers(app)
    for name in (*(_WITH_DATASET if state.dataset is not None else ()), *_ALWAYS):
        if find_spec(f"boxpromptiml.web.{name}") is not None:
            app.include_router(import_module(f"boxpromptiml.web.{name}").router(state))

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    secure(app, state.settings)
    return app


__all__ = ["WebState", "create_app"]
