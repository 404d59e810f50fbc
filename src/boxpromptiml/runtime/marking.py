"""What found copies do to a student's map and score.

Matching tells that something was copied, nearly for sure, but not in which direction; the student, which sees the
traces of pasting, is asked for that alone. What else it suspects in such an image counts less: most of it is the same
copy, seen dimly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.runtime.grid import on_grid
from boxpromptiml.scaling import Scaling

PASTED = 0.95  # probability of the pixels of a part that was pasted
EITHER = 0.6  # of both parts, where the student favours neither
SCORE = 0.95  # least score of an image with a copy: 0.7 of the copy-moves have one found, 0.005 of authentic photos
_TIMES = 3.0  # as tampered as the other part, in the mean: then a part is the pasted one
_FLOOR = 0.01  # added to both means
_ELSEWHERE = Scaling(bias=-3.0)  # of all other pixels: to be marked they need 20 times the odds

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Pasted = Literal[0, 1] | None


def mark_copies(values: Map, copies: Sequence[Copy]) -> Map:
    """A student's map, float32 (rows, columns) in [0, 1], with found copies marked; the map itself without any."""
    if not copies:
        return values
    certainty = np.zeros(values.shape, np.float32)
    for copy in copies:
        parts = _parts(copy, values.shape)
        pasted = _favoured(values, *parts)
        for index, part in enumerate(parts):
            if pasted is None or pasted == index:
                certainty[part] = np.maximum(certainty[part], np.float32(EITHER if pasted is None else PASTED))
    # Of two parts that could be either, the student's own values would single out one.
    marked = np.where(certainty == np.float32(PASTED), np.maximum(values, certainty), certainty)
    return np.asarray(np.where(certainty > 0, marked, _ELSEWHERE.apply(values)), np.float32)


def pasted_part(marked: Map, copy: Copy) -> Pasted:
    """Which part of a copy a map says was pasted, after `mark_copies`: 0 or 1; None: it could be either."""
    high = [
        part.any() and float(np.median(marked[part])) >= (PASTED + EITHER) / 2 for part in _parts(copy, marked.shape)
    ]
    if high[0] == high[1]:
        return None
    return 0 if high[0] else 1


def _favoured(values: Map, first: Mask, second: Mask) -> Pasted:
    means = [float(values[part].mean()) + _FLOOR if part.any() else _FLOOR for part in (first, second)]
    if means[0] >= _TIMES * means[1]:
        return 0
    return 1 if means[1] >= _TIMES * means[0] else None


def _parts(copy: Copy, shape: tuple[int, ...]) -> list[Mask]:
    return [on_grid(part, shape) for part in copy.parts]
