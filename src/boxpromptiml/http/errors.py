"""Every error as JSON: ``{"error": "one line"}`` with the status that says whose fault it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from boxpromptiml.errors import (
    BoxPromptError,
    ConflictError,
    DatasetError,
    ImageError,
    ImageTooLargeError,
    MissingExtraError,
    ModelError,
    UnknownImageError,
)

# The first that fits counts: the exceptions are a tree.
_STATUS: tuple[tuple[type[BoxPromptError], int], ...] = (
    (ConflictError, 409),
    (DatasetError, 400),
    (MissingExtraError, 503),
    (ModelError, 503),
)


class HttpError(BoxPromptError):
    """A request that is refused.

    Attributes:
        status: of the answer.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, str(self)), {"headers": self.headers}


def error_response(status: int, message: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """An answer ``{"error": message, **more}``, the message on one line."""
    line = " ".join(message.split()).encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
    return JSONResponse({"error": line, **more}, status_code=status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make an app answer every error as `error_response` does."""
    app.add_exception_handler(BoxPromptError, _known)
    app.add_exception_handler(OSError, _not_written)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)


def describe(error: BoxPromptError) -> tuple[int, str]:
    """Status and message of an error. A file is named without its folders: those are nobody's business."""
    if isinstance(error, HttpError):
        return error.status, str(error)
    if isinstance(error, UnknownImageError):
        return 404, "the dataset has no such image"
    if isinstance(error, ImageError):
        return 413 if isinstance(error, ImageTooLargeError) else 415, f"{error.path.name}: {error.reason}"
    if isinstance(error.__cause__, sqlite3.Error):  # a full disk, another program that is writing: try again later
        return 503, str(error)
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400), str(error)


def known_response(error: BoxPromptError) -> JSONResponse:
    """The answer to a request that ended in an error of ours."""
    status, message = describe(error)
    return error_response(status, message, headers=error.headers if isinstance(error, HttpError) else None)


def _known(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BoxPromptError)
    return known_response(error)


def _not_written(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    return error_response(
        503, f"the server cannot read or write a file ({error.strerror or error}); make room and try again"
    )


def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    message = str(first["msg"]).removeprefix("Value error, ")
    return error_response(422, f"{place}: {message}" if place else message)


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), headers=error.headers)
