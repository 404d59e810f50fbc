"""From a request to its answer: room, body, engine, deadline, and a client that may go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import HttpError, describe
from boxpromptiml.runtime import Localizer
from boxpromptiml.serve.admission import Admission, RefusedError, Visit
from boxpromptiml.serve.answers import Answer, Output, renderer
from boxpromptiml.serve.engine import Engine
from boxpromptiml.serve.job import Job
from boxpromptiml.serve.metrics import Metrics
from boxpromptiml.serve.observing import FIELDS, VISIT
from boxpromptiml.serve.query import Asked
from boxpromptiml.serve.reading import Upload, read_upload
from boxpromptiml.serve.settings import ServeSettings

# Answers are handed to the network in such pieces, so that a slow reader holds one of them in the socket's buffer.
_PIECE = 64 * 1024
_GONE = 499  # as nginx calls it in logs: nobody is there to be answered
_LOADING_SECONDS = 2
_WATCH_SECONDS = 0.05

Outcome = tuple[Answer | None, Exception | None]


class Service:
    """What the routes share.

    Attributes:
        settings: see `ServeSettings`.
        metrics: what Prometheus is told.
        admission: the room that requests share.
        engine: the model and its threads.
        stopping: whether the end has been asked for.
    """

    def __init__(self, settings: ServeSettings, load: Callable[[], Localizer]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.engine = Engine(load, settings, self.metrics)
        self.admission = Admission(
            settings.max_queue, settings.body_bytes, lambda: self.engine.pace, self.metrics.inside.inc
        )
        self.stopping = False

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and warm, and the end has not been asked for."""
        return self.engine.localizer is not None and not self.stopping

    @asynccontextmanager
    async def running(self, failed: Callable[[BoxPromptError], None]) -> AsyncIterator[None]:
        """Load the model in the background and work until the block ends.

        Args:
            failed: told, from a thread, why the model could not be loaded.
        """
        self.engine.start(failed)
        try:
            yield
        finally:
            self.stop()
            await asyncio.to_thread(self.engine.close)

    def stop(self) -> None:
        """Say no to whoever asks whether it is ready; requests are still answered."""
        self.stopping = True
        self.metrics.ready.set(0)

    def model(self) -> Localizer:
        """The model.

        Raises:
            RefusedError: 503, it is still being loaded.
        """
        localizer = self.engine.localizer
        if localizer is None:
            raise RefusedError(503, "loading", _LOADING_SECONDS, "the model is being loaded; try again in a moment")
        return localizer

    async def localize(self, request: Request, asked: Asked, output: Output) -> Response:
        """Answer a request for localizations.

        Raises:
            HttpError: whatever is wrong with it, 408 or 504 where time ran out, 429 or 503 where there is no room.
        """
        if asked.detail and not self.settings.max_tiles:
            raise HttpError(422, "detail: this service looks at no tiles (--max-tiles 0)")
        visit: Visit = request.scope[VISIT]
        seconds = min(asked.timeout or self.settings.timeout, self.settings.timeout)
        reading = True
        try:
            async with asyncio.timeout(seconds):
                self.model()
                self.admission.check_images(1)  # no place yet: who sends nothing but headers would hold it for nothing
                upload = await read_upload(
                    request,
                    visit,
                    asked.name,
                    max_images=self.settings.max_images,
                    max_bytes=self.settings.max_upload_bytes,
                )
                reading = False
                visit.hold_images(len(upload.images))
                if output != "json" and len(upload.images) > 1:
                    raise HttpError(406, "a picture answers for one image; ask for JSON with include=mask instead")
                request.scope[FIELDS]["images"] = len(upload.images)
                outcomes = await self._look(request, upload, asked, output)
        except TimeoutError:
            if reading:
                # What is left of the body may take for ever.
                raise HttpError(
                    408, f"the body took longer than {seconds:g} s", headers={"connection": "close"}
                ) from None
            raise HttpError(504, f"not done within {seconds:g} s", headers=self._later()) from None
        except RefusedError as error:
            self.metrics.refused.labels(error.reason).inc()
            raise
        except ClientDisconnect:
            return Response(status_code=_GONE)
        return _single(*outcomes[0], output) if upload.single or output != "json" else _listed(upload, outcomes)

    async def _look(
        self,
        request: Request,
        upload: Upload,
        asked: Asked,
        output: Output,
    ) -> list[Outcome]:
        """Have all images of a request looked at, for as long as its client is there."""
        loop = asyncio.get_running_loop()
        render = renderer(output, asked.include)
        preview = output == "overlay" or "overlay" in asked.include
        outcomes = _Outcomes(len(upload.images), loop.create_future())
        jobs = []
        for index, (name, data) in enumerate(upload.images):
            settle: Callable[..., None] = partial(outcomes.settle, index)
            done = partial(loop.call_soon_threadsafe, settle)
            jobs.append(Job(data, name, asked.threshold, preview, render, done, asked.detail, asked.tta))
        upload.images = [(name, b"") for name, _ in upload.images]
        # Most answers are there before it is worth a task to see whether anybody waits for them.
        watch = loop.call_later(_WATCH_SECONDS, outcomes.watch, request)
        try:
            self.engine.submit(jobs)
            return await outcomes.all
        finally:
            watch.cancel()
            outcomes.end()
            unfinished = [job for job, outcome in zip(jobs, outcomes.each, strict=True) if outcome is None]
            if unfinished:
                self.engine.drop(unfinished)

    def _later(self) -> dict[str, str]:
        return {"retry-after": str(self.admission.retry_after())}


class PiecewiseResponse(Response):
    """A response that hands on its body in pieces: what the client has not taken yet is not copied to the network."""

    def __init__(
        self, content: bytes, status: int, kind: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        # Not the base's: it does for all kinds of content what is known here.
        self.status_code = status
        self.body = content
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(content)), (b"content-type", kind.encode("latin-1"))]
        self.raw_headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if len(self.body) <= _PIECE:
            await send({"type": "http.response.body", "body": self.body})
            return
        body = memoryview(self.body)
        for start in range(0, len(body), _PIECE):
            more = start + _PIECE < len(body)
            await send({"type": "http.response.body", "body": bytes(body[start : start + _PIECE]), "more_body": more})


class _Outcomes:
    """What becomes of the images of a request.

    Attributes:
        each: per image what came of it; None for nothing yet.
        all: done as soon as there is something for each, or the client has gone (`ClientDisconnect`).
    """

    def __init__(self, count: int, everything: asyncio.Future[list[Outcome]]) -> None:
        self.each: list[Outcome | None] = [None] * count
        self.all = everything
        self._left = count
        self._watching: asyncio.Task[None] | None = None

    def settle(self, index: int, answer: Answer | None, error: Exception | None) -> None:
        self.each[index] = answer, error
        self._left -= 1
        if not self._left and not self.all.done():
            self.all.set_result([outcome for outcome in self.each if outcome is not None])

    def watch(self, request: Request) -> None:
        """Notice when the client goes away, from now on."""
        self._watching = asyncio.ensure_future(self._watch(request))

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        if not self.all.done():
            self.all.set_exception(ClientDisconnect())


def _single(answer: Answer | None, error: Exception | None, output: Output) -> Response:
    if error is not None:
        raise error
    assert answer is not None
    kind = "application/json" if output == "json" else "image/png"
    return PiecewiseResponse(answer.content, 200, kind, answer.headers)


def _listed(upload: Upload, outcomes: list[Outcome]) -> Response:
    """The answers of a batch: an image that failed does not harm the others, but if all did, so did the request."""
    parts, statuses = [], []
    for (name, _), (answer, error) in zip(upload.images, outcomes, strict=True):
        if answer is not None:
            parts.append(answer.content)
            statuses.append(200)
            continue
        if not isinstance(error, BoxPromptError):
            assert error is not None
            raise error
        status, message = describe(error)
        statuses.append(status)
        line = " ".join(message.split()).encode("utf-8", "replace").decode()  # as `error_response` does
        parts.append(json.dumps({"image": name, "error": line, "status": status}).encode())
    status = 200 if 200 in statuses else statuses[0]
    return PiecewiseResponse(b'{"results":[' + b",".join(parts) + b"]}", status, "application/json")
