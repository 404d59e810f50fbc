"""How much may be inside at once: what does not fit is refused at the door, and nothing ever piles up behind it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from boxpromptiml.http.errors import HttpError


class RefusedError(HttpError):
    """A request that is turned away for now.

    Args:
        status: 429 or 503.
        reason: in one word, for metrics.
        retry_after: seconds after which it is worth another try.
        message: for people.
    """

    def __init__(self, status: int, reason: str, retry_after: int, message: str) -> None:
        super().__init__(status, message, headers={"retry-after": str(retry_after)})
        self.reason = reason
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.reason, self.retry_after, str(self))


class Admission:
    """Counts images and the bytes of bodies. Of one event loop: nothing here waits or locks.

    Args:
        max_images: inside at once.
        max_bytes: of bodies, all together.
        pace: tells how many seconds an image takes at present, for advice on when to come back.
        changed: told by how many the images have become more or fewer.
    """

    def __init__(
        self, max_images: int, max_bytes: int, pace: Callable[[], float], changed: Callable[[int], None]
    ) -> None:
        self._changed = changed
        self.max_images = max_images
        self.max_bytes = max_bytes
        self._pace = pace
        self.images = 0
        self.bytes = 0

    def visit(self) -> Visit:
        """The share of one request; leave it when the answer has gone."""
        return Visit(self)

    def retry_after(self) -> int:
        """Seconds, 1 to 60, in which about a half of what is inside will be done."""
        return min(60, max(1, math.ceil(self.images * self._pace() / 2)))

    def check_images(self, count: int) -> None:
        """Refuse what there would be no room for now, without taking any.

        Raises:
            RefusedError: 429, there are too few places at present.
        """
        if self.images + count > self.max_images:
            raise RefusedError(
                429, "queue_full", self.retry_after(), f"{self.images} images are waiting already; try again later"
            )

    def take_images(self, count: int) -> None:
        self.check_images(count)
        self.images += count
        self._changed(count)

    def take_bytes(self, count: int) -> None:
        if self.bytes + count > self.max_bytes:
            raise RefusedError(
                503, "memory_full", self.retry_after(), "no memory is left for the bodies of requests; try again later"
            )
        self.bytes += count

    def give_back(self, images: int, count: int) -> None:
        self.images -= images
        self.bytes -= count
        self._changed(-images)


class Visit:
    """What one request holds of an `Admission`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._images = 0
        self._bytes = 0

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.give_back(self._images, self._bytes)
        self._images = self._bytes = 0

    @property
    def most_bytes(self) -> int:
        """Memory that there is for all bodies together."""
        return self._admission.max_bytes

    def hold_images(self, count: int) -> None:
        """Hold places for so many images, those held before included.

        Raises:
            HttpError: 413, more than there are places; 429, there are too few at present.
        """
        if count > self._admission.max_images:
            raise HttpError(413, f"more than {self._admission.max_images} images in one request")
        self._admission.take_images(count - self._images)
        self._images = count

    def hold_bytes(self, count: int) -> None:
        """Hold memory for so many more bytes.

        Raises:
            RefusedError: 503, there is none.
        """
        self._admission.take_bytes(count)
        self._bytes += count
