"""Encoded images in, localizations out: the one operator of every engine."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.bulk.ahead import read_ahead
from boxpromptiml.bulk.containers import InputImage
from boxpromptiml.errors import ImageError
from boxpromptiml.images import DEFAULT_MAX_PIXELS
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.runtime.preparing import Prepared, prepare
from boxpromptiml.runtime.result import Localization
from boxpromptiml.storage import is_url

Answer = TypeVar("Answer")

_READERS = 8  # threads that wait for a network; they hold encoded bytes only


@dataclass(frozen=True)
class Failed:
    """An image that could not be read.

    Attributes:
        error: why.
        sha256: of its encoded bytes, where there were any.
    """

    error: str
    sha256: str | None = None


class Operator:
    """Localizes streams of images: decoding, the network and what follows overlap; order is kept, memory bounded.

    Attributes:
        localizer: the model.
        threshold: for pixels and verdict, in [0, 1].
    """

    def __init__(
        self,
        localizer: Localizer,
        *,
        threshold: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        previews: bool = False,
        base: str = "",
        large: AbstractContextManager[Any] | None = None,
        detail: bool = False,
        tta: bool = False,
        digests: bool = True,
    ) -> None:
        """Put a model to work.

        Args:
            localizer: the model.
            threshold: for pixels and verdict; None takes the model's.
            max_pixels: larger images fail before they are decoded.
            previews: make copies to draw on.
            base: folder that relative paths are relative to; empty for the working folder.
            large: a lock that is held while an image above 50 megapixels is decoded; None for one of the operator's.
            detail: look at tiles of each photo at its own size too, and for smaller copies, see `Localizer.localize`.
                The network then runs in the workers' threads, so that no more photos are held at full size than there
                are workers.
            tta: look at everything four times, mirrored, and average.
            digests: take the SHA-256 of every image, 5 % of the work on large photos; without it that of an image is
                empty, and `run` asks for no earlier answer.
        """
        self.localizer = localizer
        self.threshold = localizer.config.decision.threshold if threshold is None else threshold
        self._max_pixels = max_pixels
        self._previews = previews
        self._base = base
        self._large = threading.Lock() if large is None else large
        self._detail = detail
        self._tta = tta
        self._digests = digests

    def prepare(self, image: InputImage, data: bytes, digest: str | None = None) -> Prepared:
        """Decode and resize one image; with `detail`, run the network on it too.

        Raises:
            ImageError: it cannot be decoded.
            ModelError: the network failed.
        """
        return prepare(
            self.localizer,
            data,
            image.name,
            digest=digest,
            max_pixels=self._max_pixels,
            preview=self._previews,
            large=self._large,
            detail=self._detail,
            tta=self._tta,
        )

    def maps(self, batch: Sequence[Prepared]) -> list[NDArray[np.float32]]:
        """Per image its map, float32 (rows, columns): runs the network on those that have none yet."""
        waiting = [item.fed for item in batch if item.values is None]
        found = iter(self.localizer.maps(waiting, tta=self._tta))
        return [next(found) if item.values is None else item.values for item in batch]

    def localization(self, image: InputImage, item: Prepared, values: NDArray[np.float32]) -> Localization:
        """The answer for an image, from its map."""
        return self.localizer.result(
            values,
            item.width,
            item.height,
            threshold=self.threshold,
            image=image.name,
            sha256=item.sha256,
            detail=self._detail,
            tta=self._tta,
            copies=item.fed.copies,
        )

    def run(
        self,
        images: Iterable[InputImage],
        finish: Callable[[InputImage, Prepared | Failed, Localization | None], Answer],
        *,
        batch_size: int = 4,
        workers: int = 1,
        known: Callable[[InputImage, str], Answer | None] = lambda image, digest: None,
    ) -> Iterator[Answer]:
        """Localize a stream of images.

        Memory holds the images that the workers are busy with, and about two batches more, encoded or shrunk, however
        many images there are.

        Args:
            images: what to look at.
            finish: makes the answer for one image; called in the workers' threads, without a localization for an image
                that failed.
            batch_size: images per inference.
            workers: threads that decode and finish.
            known: an answer that is there already, by the SHA-256 of the image's bytes; None: there is none.

        Yields:
            The answers, in the order of `images`.

        Raises:
            ModelError: the network failed.
            BoxPromptError: whatever `finish` raises.
        """
        upcoming = read_ahead(images, batch_size + workers)
        decoding: deque[tuple[InputImage, Future[Prepared | Failed | _Known[Answer]]]] = deque()
        finishing: deque[Future[Answer]] = deque()
        with (
            closing(upcoming),
            ThreadPoolExecutor(_READERS, "read") as readers,
            ThreadPoolExecutor(workers, "localize") as pool,
        ):
            try:
                while True:
                    while len(decoding) < batch_size + workers and (image := next(upcoming, None)) is not None:
                        # Files are read by the thread that decodes them; a network is waited for by many more.
                        remote = image.data is None and is_url(image.location or image.name)
                        reading = readers.submit(image.read, self._base) if remote else None
                        decoding.append((image, pool.submit(self._load, image, reading, known)))
                    if not decoding:
                        break
                    batch = [decoding.popleft() for _ in range(min(batch_size, len(decoding)))]
                    finishing.extend(self._infer([(image, future.result()) for image, future in batch], finish, pool))
                    # Whatever is done, and enough of the rest that no more than a batch waits to be finished.
                    while finishing and (finishing[0].done() or len(finishing) > batch_size + workers):
                        yield finishing.popleft().result()
                while finishing:
                    yield finishing.popleft().result()
            finally:
                for future in [future for _, future in decoding] + list(finishing):
                    future.cancel()

    def _load(
        self,
        image: InputImage,
        reading: Future[bytes] | None,
        known: Callable[[InputImage, str], Answer | None],
    ) -> Prepared | Failed | _Known[Answer]:
        """Bytes, digest, and, unless the answer is known by these, pixels; runs in the pool."""
        start = time.perf_counter()
        digest = None
        try:
            data = image.read(self._base) if reading is None else reading.result()
            if self._digests:
                digest = hashlib.sha256(data).hexdigest()
                answer = known(image, digest)
                if answer is not None:
                    return _Known(answer)
            prepared = self.prepare(image, data, digest or "")
        except ImageError as error:
            return Failed(error.reason, digest)
        return replace(prepared, seconds=time.perf_counter() - start)

    def _infer(
        self,
        batch: Sequence[tuple[InputImage, Prepared | Failed | _Known[Answer]]],
        finish: Callable[[InputImage, Prepared | Failed, Localization | None], Answer],
        pool: ThreadPoolExecutor,
    ) -> list[Future[Answer]]:
        """Run the network on a batch and hand its answers to the pool; the order is the batch's."""
        ready = [item for _, item in batch if isinstance(item, Prepared)]
        start = time.perf_counter()
        maps = iter(self.maps(ready) if ready else ())
        seconds = (time.perf_counter() - start) / max(1, len(ready))

        def finished(image: InputImage, item: Prepared, values: NDArray[np.float32]) -> Answer:
            start = time.perf_counter()
            found = self.localization(image, item, values)
            found.seconds = item.seconds + seconds + time.perf_counter() - start
            return finish(image, item, found)

        futures: list[Future[Answer]] = []
        for image, item in batch:
            if isinstance(item, Prepared):
                futures.append(pool.submit(finished, image, item, next(maps)))
            elif isinstance(item, Failed):
                futures.append(pool.submit(finish, image, item, None))
            else:
                done: Future[Answer] = Future()
                done.set_result(item.answer)
                futures.append(done)
        return futures


@dataclass(frozen=True)
class _Known(Generic[Answer]):
    """An answer that was there already."""

    answer: Answer
