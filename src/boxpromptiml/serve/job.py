"""What the engine works on: one image of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.runtime import Localization, Localizer
from boxpromptiml.runtime.preparing import Prepared


@dataclass(eq=False, slots=True)
class Job:
    """One image to look at.

    Attributes:
        data: its encoded bytes.
        name: for errors and the answer.
        threshold: for pixels and verdict; None takes the model's.
        preview: whether `render` needs a copy to draw on.
        render: makes the answer, in a thread of the engine.
        detail, tta: see `Localizer.localize`.
        done: told the answer or what went wrong, from such a thread; never called for a job that was dropped.
        dropped: nobody waits for it any more.
    """

    data: bytes
    name: str
    threshold: float | None
    preview: bool
    render: Callable[[Localization, NDArray[np.uint8] | None], Any]
    done: Callable[[Any, Exception | None], object]
    detail: bool = False
    tta: bool = False
    dropped: bool = False
    _times: list[float] = field(default_factory=list)
    _prepared: Prepared | None = None
    _map: NDArray[np.float32] | None = None
    _busy: float = 0.0

    def check(self) -> None:
        """Raise where nobody waits for it any more."""
        if self.dropped:
            raise DroppedError


class DroppedError(Exception):
    """Of a job that nobody waits for: its answer is not told."""


def warm(localizer: Localizer, max_batch: int) -> None:
    """Run a model once for each size of batch that matters, from bytes to an answer: the first request is quick.

    Raises:
        ModelError: the network failed.
    """
    from boxpromptiml.images import encode_png

    spec = localizer.config.preprocessing
    localizer.localize(encode_png(np.zeros((spec.height, spec.width, 3), np.uint8)))
    for size in sorted({1, max_batch}):
        localizer.probabilities(np.zeros((size, 3, spec.height, spec.width), np.uint8))
