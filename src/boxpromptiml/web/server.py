"""Running the application."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from boxpromptiml.web.settings import WebSettings


def serve(app: FastAPI, settings: WebSettings, *, open_browser: bool = False) -> None:
    """Serve an app until SIGINT or SIGTERM."""
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")
