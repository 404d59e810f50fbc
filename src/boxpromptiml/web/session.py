"""What a page has to know before it shows anything."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from boxpromptiml import __version__
from boxpromptiml.web.same_dataset import dataset_id
from boxpromptiml.web.settings import WebState


def router(state: WebState) -> APIRouter:
    """``GET /api/session``."""
    routes = APIRouter()

    @routes.get("/api/session")
    def session() -> dict[str, Any]:
        dataset, pool, settings = state.dataset, state.teachers, state.settings
        counts = None if dataset is None else dataset.counts()
        return {
            "name": None if dataset is None else dataset.root.name,
            # Browsers keep unsent changes by address, and another dataset may be served there the next time.
            "id": None if dataset is None else dataset_id(dataset),
            "images": 0 if counts is None else counts.images,
            "counts": None if counts is None else asdict(counts),
            "teacher": None if pool is None else {"name": pool.default, "points": pool.takes_points(pool.default)},
            "teachers": [] if pool is None else list(pool.names),
            "points": {} if pool is None else {name: pool.takes_points(name) for name in pool.names},
            "model": _model(state),
            "read_only": settings.read_only,
            "version": __version__,
            "limits": {
                "upload_bytes": settings.max_upload_bytes,
                "pixels": settings.max_pixels,
                "tiles": settings.max_tiles,
            },
        }

    return routes


def _model(state: WebState) -> dict[str, Any] | None:
    localizer = state.localizer
    if localizer is None:
        return None
    return {
        "id": localizer.model_id,
        "name": localizer.folder.resolve().name,
        "threshold": localizer.config.decision.threshold,
    }
