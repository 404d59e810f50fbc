"""Who may ask for what."""

from __future__ import annotations

from fastapi import FastAPI

from boxpromptiml.web.settings import WebSettings


def secure(app: FastAPI, settings: WebSettings) -> None:
    """Put the checks and limits around an app."""
