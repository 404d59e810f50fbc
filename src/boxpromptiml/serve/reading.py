"""The bodies of requests: raw bytes, forms with files, JSON with base64. In memory, bounded, never on disk."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from boxpromptiml.http.errors import HttpError
from boxpromptiml.http.headers import request_headers
from boxpromptiml.serve.admission import Visit
from boxpromptiml.serve.query import Asked

T = TypeVar("T")

# Bodies up to this size are taken apart in the event loop: that is quicker than handing them to a thread.
_SMALL = 64 * 1024
# What a body costs until it is taken apart, in its own sizes: JSON is held as bytes, text and decoded.
_COST = {"raw": 1, "form": 2, "json": 4}
_NAME_CHARACTERS = 255
_FORM_HINT = 'send a photo as  -F "file=@photo.jpg"'
_WAYS = "send image bytes (Content-Type: image/jpeg and so on), multipart/form-data, or JSON"


class EncodedImage(BaseModel):
    """An image in a batch."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(description="The image file, base64.")
    name: str = Field(
        "", max_length=_NAME_CHARACTERS, description="What it is called in the answer; images.0 and so on if empty."
    )


class Batch(BaseModel):
    """A request with images in JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[EncodedImage] = Field(min_length=1)


class Upload:
    """Images that came with a request.

    Attributes:
        images: name and bytes of each.
        single: whether it came as it is, so that the answer is one object and no list.
    """

    __slots__ = ("images", "single")

    def __init__(self, images: list[tuple[str, bytes]], *, single: bool) -> None:
        self.images = images
        self.single = single


async def read_upload(request: Request, visit: Visit, name: str, *, max_images: int, max_bytes: int) -> Upload:
    """Read the images of a request.

    Args:
        request: whose body has not been read.
        visit: pays for the memory.
        name: of an image that comes as it is.
        max_images: in one request.
        max_bytes: of the body.

    Raises:
        HttpError: 400, the body is no form or JSON, cut short, or without an image; 413, too many bytes or images; 415,
            another type of content; 422, JSON of another shape.
        RefusedError: no memory is left.
        ClientDisconnect: the client has gone.
    """
    headers = request_headers(request.scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError(415, "compressed bodies are not read; send it without Content-Encoding")
    if kind == "multipart/form-data":
        data = await _body(request, visit, _COST["form"], max_bytes)
        images = await _run(len(data), lambda: _form(headers, data, max_images))
        return Upload(images, single=False)
    if kind == "application/json" or kind.endswith("+json"):
        data = await _body(request, visit, _COST["json"], max_bytes)
        images = await _run(len(data), lambda: _json(data, max_images))
        return Upload(images, single=False)
    if kind.startswith("image/") or kind in ("application/octet-stream", ""):
        data = await _body(request, visit, _COST["raw"], max_bytes)
        if not data:
            raise HttpError(400, f"the body is empty; {_WAYS}")
        return Upload([(name, data)], single=True)
    raise HttpError(415, f"{kind[:80]} is not read; {_WAYS}")


async def _body(request: Request, visit: Visit, cost: int, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    most = min(max_bytes, visit.most_bytes // cost)  # what can never fit is not to be tried again later
    async for chunk in request.stream():
        if chunk:
            size += len(chunk)
            if size > most:
                # What is left of it is not read: the connection cannot be used again.
                closing = {"connection": "close"}
                raise HttpError(413, f"more than {most / 1e6:.3g} MB in one request", headers=closing)
            visit.hold_bytes(cost * len(chunk))
            chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _run(size: int, work: Any) -> list[tuple[str, bytes]]:
    result: list[tuple[str, bytes]] = work() if size <= _SMALL else await asyncio.to_thread(work)
    return result


class _Form(MultiPartParser):
    """Notices a form that is cut short, which the parser itself takes for one with fewer parts."""

    spool_max_size = 2**62  # what is in a photo is not for the disk
    complete = False

    def on_end(self) -> None:
        self.complete = True


def _form(headers: Headers, data: bytes, max_images: int) -> list[tuple[str, bytes]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield data

    parser = _Form(headers, stream(), max_files=max_images, max_fields=max_images, max_part_size=_SMALL)
    try:
        form: FormData = _finished(parser.parse())
    except MultiPartException as error:
        if error.message.startswith("Part exceeded"):  # its words would be taken for a limit of photos
            raise HttpError(400, f"the form has more than {_SMALL // 1024} kB in a text field; {_FORM_HINT}") from error
        status = 413 if error.message.startswith("Too many") else 400
        raise HttpError(status, f"the form cannot be read: {error.message}") from error
    try:
        if not parser.complete:
            raise HttpError(400, "the form is cut short: its last boundary is missing")
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise HttpError(400, f"the form has no file in it; {_FORM_HINT}")
        for name, value in form.multi_items():
            if isinstance(value, str) and name in Asked.model_fields:
                # Passed over, it would change the answer without a word.
                raise HttpError(
                    422, f"{name}: a form is for files; options go into the address, as  ?{name}={value:.40}"
                )
        return [
            (file.filename[:_NAME_CHARACTERS] if file.filename else f"images.{index}", file.file.read())
            for index, file in enumerate(files)
        ]
    finally:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                value.file.close()


def _finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing: everything it reads and writes is in memory."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("the form's parser wanted to wait")


def _json(data: bytes, max_images: int) -> list[tuple[str, bytes]]:
    try:
        batch = Batch.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise HttpError(400, f"the body is not JSON: {first['msg']}") from None
        place = ".".join(map(str, first["loc"]))
        raise HttpError(422, f"{place}: {first['msg']}" if place else str(first["msg"])) from None
    if len(batch.images) > max_images:
        raise HttpError(413, f"{len(batch.images)} images in one request; {max_images} are allowed")
    images = []
    for index, image in enumerate(batch.images):
        try:
            images.append((image.name or f"images.{index}", base64.b64decode(image.data, validate=True)))
        except (binascii.Error, ValueError):
            raise HttpError(422, f"images.{index}.data: is not base64") from None
        image.data = ""
    return images


__all__ = ["Batch", "ClientDisconnect", "EncodedImage", "Upload", "read_upload"]
