"""The application: the routes of every feature that is there, the page's files, security around everything."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from boxpromptiml.http.errors import install_error_handlers
from boxpromptiml.web import localize, pictures, preview, records, review, session, suggest
from boxpromptiml.web.same_dataset import SameDataset
from boxpromptiml.web.security import secure
from boxpromptiml.web.settings import WebState

STATIC = Path(__file__).with_name("static")

_ALWAYS = (session, localize)
_WITH_DATASET = (records, pictures, preview, review, suggest)


def create_app(state: WebState) -> FastAPI:
    """The application over a state: API, page, security.

    Args:
        state: without a dataset the routes that need one are left out.
    """
    # No pages of the framework's own: they load scripts from elsewhere.
    app = FastAPI(title="BoxPromptIML", openapi_url=None, redirect_slashes=False)
    app.state.web = state
    install_error_handlers(app)
    for module in (*_ALWAYS, *(_WITH_DATASET if state.dataset is not None else ())):
        app.include_router(module.router(state))

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(SameDataset, dataset=state.dataset)
    secure(app, state.settings)
    return app


__all__ = ["WebState", "create_app"]
