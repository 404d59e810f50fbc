"""The page says with each request which dataset it is about: another one may be served at its address by now."""

from __future__ import annotations

import hashlib
import os

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from boxpromptiml.dataset import Dataset
from boxpromptiml.http.errors import error_response


def dataset_id(dataset: Dataset) -> str:
    """What tells a dataset from others that are, were or will be served at the same address."""
    return hashlib.sha256(os.fsencode(dataset.root.resolve())).hexdigest()[:16]


class SameDataset:
    """Answers 412 to requests whose query names another ``dataset`` than the one that is served.

    Images of two datasets often have the same names: a page that was left open would write its boxes into the other
    one. Programs that name no dataset mean the one that is there.

    Args:
        app: what is asked otherwise.
        dataset: that is served, if any.
    """

    def __init__(self, app: ASGIApp, dataset: Dataset | None) -> None:
        self._app = app
        self._id = None if dataset is None else dataset_id(dataset)
        served = "no dataset" if dataset is None else f"another dataset ({dataset.root.resolve().name})"
        self._message = f"{served} is served here; load this page again, or start the server with the page's own"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            named = QueryParams(scope["query_string"].decode("latin-1")).get("dataset")
            if named is not None and named != self._id:
                await error_response(412, self._message)(scope, receive, send)
                return
        await self._app(scope, receive, send)
