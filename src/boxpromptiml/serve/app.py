"""The application: routes, errors, keys, and the service behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from boxpromptiml import __version__
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import install_error_handlers, known_response
from boxpromptiml.runtime import Localizer
from boxpromptiml.serve.guarding import KeyGuard
from boxpromptiml.serve.observing import Observer, is_localize
from boxpromptiml.serve.routes import answer_localize, router
from boxpromptiml.serve.service import Service
from boxpromptiml.serve.settings import ServeSettings

_DESCRIPTION = (
    "Finds the tampered pixels of photographs: splices, clones, removals, retouching. Photos are held in memory until "
    "they are answered, and are not written anywhere. A map is evidence for an expert to weigh, not proof."
)


def create_app(
    settings: ServeSettings,
    load: Callable[[], Localizer],
    failed: Callable[[BoxPromptError], None] = lambda error: None,
) -> ASGIApp:
    """The application of a service. The model is loaded while it already answers ``/healthz``.

    Args:
        settings: see `ServeSettings`.
        load: loads the model, such as a `ModelSource`.
        failed: told, from a thread, why the model could not be loaded.
    """
    return app_of(Service(settings, load), failed)


def app_of(service: Service, failed: Callable[[BoxPromptError], None] = lambda error: None) -> ASGIApp:
    """The application of a service that is there already; see `create_app`.

    Photos go straight to their handler: the framework's layers, which every other route goes through, cost a twentieth
    of what a small network does.
    """
    api = _api_of(service, failed)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if not is_localize(scope):
            # HEAD is GET without a body, which the server leaves out: the framework's routes know GET alone.
            asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await api(asked, receive, send)
            return
        try:
            response = await answer_localize(service, Request(scope, receive))
        except BoxPromptError as error:
            response = known_response(error)
        await response(scope, receive, send)

    observed = Observer(KeyGuard(route, service.settings), service.metrics, service.admission)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (observed if scope["type"] == "http" else api)(scope, receive, send)

    return app


def _api_of(service: Service, failed: Callable[[BoxPromptError], None]) -> FastAPI:
    """All routes, with their description."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running(failed):
            yield

    # No pages of the framework's own: they load scripts from elsewhere.
    app = FastAPI(
        title="BoxPromptIML",
        description=_DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    install_error_handlers(app)
    app.include_router(router(service))
    return app
