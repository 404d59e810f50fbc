"""The threads that decode, infer and finish, and the batches that form while the network is busy.

Every thread does whatever comes first: finishing an answer, an inference that is due, decoding the next image. So
there are never more threads at work than cores, nothing is handed to a thread for its own sake, and a lone image goes
straight through.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import BoxPromptError, ModelError
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.preparing import Prepared, prepare
from boxpromptiml.serve.job import Job, warm
from boxpromptiml.serve.metrics import Metrics
from boxpromptiml.serve.settings import ServeSettings

_log = logging.getLogger("boxpromptiml.serve")

# Of a new image's time in the running mean.
_PACE_SHARE = 0.05
# Seconds to wait for a model that is still being loaded when all shall end.
_PATIENCE = 5.0


class Engine:
    """Localizes images that come one by one.

    What it holds is bounded by what it is given: it takes any job. Of prepared images no more than the next inferences
    need are ever made.

    Args:
        load: loads the model; called in a thread of the engine.
        settings: see `ServeSettings`.
        metrics: told what happens.
    """

    def __init__(self, load: Callable[[], Localizer], settings: ServeSettings, metrics: Metrics) -> None:
        self._load = load
        self._settings = settings
        self._metrics = metrics
        self._localizer: Localizer | None = None
        self._large = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._fed: dict[tuple[int, ...], deque[Job]] = {}
        self._finishing: deque[Job] = deque()
        self._decoding = 0
        self._inferring = 0
        self._ahead = settings.max_batch * settings.lanes + settings.threads
        # Nothing is shared: an image is then handed on between threads for nothing.
        self._straight = settings.max_batch == 1 and settings.lanes == settings.threads
        self._closed = False
        self._threads: list[threading.Thread] = []
        self.error: BoxPromptError | None = None
        self.pace = 0.05
        """Seconds that an image takes at present, with all threads at work; a running mean."""

    @property
    def localizer(self) -> Localizer | None:
        """The model; None until it is loaded and warm."""
        return self._localizer

    @property
    def queued(self) -> int:
        """Images that nothing has been done with yet."""
        return len(self._waiting)

    def start(self, failed: Callable[[BoxPromptError], None]) -> None:
        """Load and warm the model in the background, then begin.

        Args:
            failed: told, from a thread, why the model could not be loaded.
        """
        thread = threading.Thread(target=self._begin, args=(failed,), name="serve-0", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Finish what is there, take nothing more, end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(None if self._localizer is not None else _PATIENCE)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have images looked at, in their order as far as possible."""
        now = time.perf_counter()
        for job in jobs:
            job._times.append(now)
        with self._changed:
            self._waiting.extend(jobs)
            self._metrics.queue.inc(len(jobs))
            self._changed.notify(len(jobs))

    def drop(self, jobs: Sequence[Job]) -> None:
        """Forget images: what has not begun never will, and nothing of it is kept."""
        with self._changed:
            for job in jobs:
                job.dropped = True
            self._metrics.dropped.inc(len(jobs))
            self._metrics.queue.dec(sum(job.dropped for job in self._waiting))
            for queue in (self._waiting, self._finishing, *self._fed.values()):
                kept = [job for job in queue if not job.dropped]
                if len(kept) < len(queue):
                    queue.clear()
                    queue.extend(kept)
            self._fed = {shape: queue for shape, queue in self._fed.items() if queue}

    def _begin(self, failed: Callable[[BoxPromptError], None]) -> None:
        try:
            localizer = self._load()
            warm(localizer, self._settings.max_batch)
        except BoxPromptError as error:
            self.error = error
            failed(error)
            return
        except Exception as error:  # whatever a runtime's library raises
            _log.exception("the model could not be loaded")
            self.error = ModelError(f"the model could not be loaded: {' '.join(str(error).split())[:200]}")
            failed(self.error)
            return
        self._metrics.model(localizer)
        with self._changed:
            self._localizer = localizer
            if not self._closed:
                for number in range(1, self._settings.threads):
                    thread = threading.Thread(target=self._run, name=f"serve-{number}", daemon=True)
                    self._threads.append(thread)
                    thread.start()
        self._run()

    def _run(self) -> None:
        while (step := self._next()) is not None:
            try:
                step()
            except (
                Exception
            ):  # each step answers for its jobs; what gets here is a fault of ours, and no thread is lost
                _log.exception("a step failed")

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None: the end."""
        with self._changed:
            while True:
                if self._finishing:
                    job = self._finishing.popleft()
                    return lambda: self._finish(job)
                wait: float | None = None
                if self._inferring < self._settings.lanes and self._fed:
                    batch, wait = self._due()
                    if batch:
                        self._inferring += 1
                        self._changed.notify(self._settings.threads)  # there is room to decode again
                        return lambda: self._infer(batch)
                first = self._waiting[0] if self._waiting else None
                if first is not None and (self._straight or first.detail or first.tta):
                    if self._straight or self._inferring < self._settings.lanes:
                        self._waiting.popleft()
                        self._metrics.queue.dec()
                        self._inferring += not self._straight
                        return lambda: self._through(first)
                elif first is not None and self._decoding + sum(map(len, self._fed.values())) < self._ahead:
                    self._waiting.popleft()
                    self._metrics.queue.dec()
                    self._decoding += 1
                    return lambda: self._prepare(first)
                if self._closed and not (self._waiting or self._fed or self._decoding or self._inferring):
                    self._changed.notify_all()
                    return None
                self._changed.wait(wait)

    def _due(self) -> tuple[list[Job], float | None]:
        """A batch that shall wait no longer, or how long the next one may."""
        oldest = min(self._fed, key=self._oldest)
        left = self._oldest(oldest) + self._settings.max_wait - time.perf_counter()
        full = next((shape for shape, queue in self._fed.items() if len(queue) >= self._settings.max_batch), None)
        if left > 0 and full is None and (self._waiting or self._decoding):
            return [], left
        chosen = oldest if left <= 0 or full is None else full
        queue = self._fed[chosen]
        batch = [queue.popleft() for _ in range(min(len(queue), self._settings.max_batch))]
        if not queue:
            del self._fed[chosen]
        return batch, None

    def _oldest(self, shape: tuple[int, ...]) -> float:
        return self._fed[shape][0]._times[-1]

    def _through(self, job: Job) -> None:
        """All of an image that shares no inference, or is looked at many times: one thread, one go."""
        assert self._localizer is not None
        times = job._times
        times.append(time.perf_counter())
        answer, error = None, None
        try:
            prepared = self._decoded(job)  # with detail this is nearly all of it
            times += [time.perf_counter()] * 2  # decoded, and not waiting for others
            values = prepared.values
            if values is None:
                (values,) = self._localizer.maps([prepared.fed], tta=job.tta)
                self._metrics.batch_size.observe(1)
            times += [time.perf_counter()] * 2
            job._busy = times[-1] - times[1]
            answer = self._rendered(job, prepared, values)
        except Exception as caught:
            error = caught
        job.data = b""
        times.append(time.perf_counter())
        job._busy = times[-1] - times[1]
        if not self._straight:
            with self._changed:
                self._inferring -= 1
                self._changed.notify()
        self._answer(job, answer, error)

    def _decoded(self, job: Job) -> Prepared:
        assert self._localizer is not None
        return prepare(
            self._localizer,
            job.data,
            job.name,
            max_pixels=self._settings.max_pixels,
            preview=job.preview,
            large=self._large,
            detail=job.detail,
            tta=job.tta,
            max_tiles=self._settings.max_tiles,
            proceed=job.check,
        )

    def _rendered(self, job: Job, prepared: Prepared, values: NDArray[np.float32]) -> Any:
        assert self._localizer is not None
        begun = time.perf_counter()
        found = self._localizer.result(
            values,
            prepared.width,
            prepared.height,
            threshold=job.threshold,
            image=job.name,
            sha256=prepared.sha256,
            detail=job.detail,
            tta=job.tta,
            copies=prepared.fed.copies,
        )
        found.seconds = job._busy + time.perf_counter() - begun
        answer = job.render(found, prepared.preview)
        self._metrics.images[found.verdict].inc()
        return answer

    def _prepare(self, job: Job) -> None:
        begun = time.perf_counter()
        prepared, error = None, None
        try:
            if not job.dropped:
                prepared = self._decoded(job)
        except Exception as caught:
            error = caught
        job.data = b""
        ended = time.perf_counter()
        job._times += [begun, ended]
        job._busy += ended - begun
        with self._changed:
            self._decoding -= 1
            if prepared is not None and not job.dropped:
                job._prepared = prepared
                self._fed.setdefault(prepared.fed.pixels.shape, deque()).append(job)
            # This thread looks next for what it has made; another one may wait for batches, or room to decode.
            self._changed.notify()
        if error is not None:
            self._answer(job, None, error)

    def _infer(self, batch: list[Job]) -> None:
        assert self._localizer is not None
        begun = time.perf_counter()
        error: Exception | None = None
        try:
            maps = self._localizer.maps([job._prepared.fed for job in batch if job._prepared is not None])
            for job, values in zip(batch, maps, strict=True):
                job._map = values
        except Exception as caught:
            error = caught
        ended = time.perf_counter()
        for job in batch:
            job._times += [begun, ended]
            job._busy += (ended - begun) / len(batch)
        self._metrics.batch_size.observe(len(batch))
        with self._changed:
            self._inferring -= 1
            if error is None:
                self._finishing.extend(job for job in batch if not job.dropped)
            self._changed.notify(len(batch))
        if error is not None:
            for job in batch:
                self._answer(job, None, error)

    def _finish(self, job: Job) -> None:
        assert job._prepared is not None
        assert job._map is not None
        begun = time.perf_counter()
        answer, error = None, None
        try:
            answer = self._rendered(job, job._prepared, job._map)
        except Exception as caught:
            error = caught
        ended = time.perf_counter()
        job._busy += ended - begun
        job._times += [begun, ended]
        job._prepared = job._map = None
        self._answer(job, answer, error)

    def _answer(self, job: Job, answer: Any, error: Exception | None) -> None:
        self.pace += _PACE_SHARE * (job._busy / self._settings.threads - self.pace)
        self._metrics.stages(job._times)
        if error is not None and not job.dropped:
            self._metrics.images["error"].inc()
        if not job.dropped:
            job.done(answer, error)
