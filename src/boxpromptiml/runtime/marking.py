"""What found copies do to a student's map and score.

Matching tells that something was copied, nearly for sure, but not in which direction; the picture tells some of that
(`boxpromptiml.copymove.direction`), and the student, which sees the traces of pasting, is asked as well. What else it
suspects in such an image counts less: most of it is the same copy, seen dimly. But not where the copy is small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.runtime.grid import on_grid
from boxpromptiml.scaling import Scaling

PASTED = 0.95  # probability of the pixels of a part that was pasted
EITHER = 0.6  # of both parts, where neither is favoured
SOURCE = 0.4  # at most, of the part that the other one was copied from
SCORE = 0.95  # least score of an image with a copy: 0.75 of the copy-moves have one found, 0.006 of authentic photos
_DECIDED = math.log(9)  # log-odds: so much likelier than the other one, a part is the pasted one
# Of the student, fitted together with those of the picture. It is less sure of what it has never seen than it says: no
# difference counts more than two logits, which costs nothing on images like those of its training.
_STUDENT_WEIGHT = 1.87
_STUDENT_MOST = 2.0  # logits
_FLOOR = 1e-4  # added to probabilities and to their complements
_ELSEWHERE = Scaling(bias=-3.0)  # of all other pixels: to be marked they need 20 times the odds

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Pasted = Literal[0, 1] | None


def mark_copies(values: Map, copies: Sequence[Copy], student: Map | None = None) -> Map:
    """Mark found copies in a map.

    Args:
        values: float32 (rows, columns) in [0, 1].
        copies: what was found.
        student: what the student says of the same pixels, by which it is asked which part was pasted, where `values`
            is more than that; None where it is not.

    Returns:
        The map with the copies; `values` itself without any.
    """
    if not copies:
        return values
    student = values if student is None else student
    certainty = np.zeros(values.shape, np.float32)
    elsewhere = np.array(values) if all_small(copies) else _ELSEWHERE.apply(values)
    for copy in copies:
        parts = _parts(copy, values.shape)
        pasted = _favoured(student, parts, copy.direction)
        for index, part in enumerate(parts):
            if pasted is None or pasted == index:
                certainty[part] = np.maximum(certainty[part], np.float32(EITHER if pasted is None else PASTED))
            else:  # whatever the student makes of it
                elsewhere[part] = np.minimum(elsewhere[part], np.float32(SOURCE))
    # Of two parts that could be either, the student's own values would single out one.
    marked = np.where(certainty == np.float32(PASTED), np.maximum(values, certainty), certainty)
    return np.asarray(np.where(certainty > 0, marked, elsewhere), np.float32)


def all_small(copies: Sequence[Copy]) -> bool:
    """Whether the copies say nothing of what else is suspected in their image."""
    return all(copy.small for copy in copies)


def pasted_part(marked: Map, copy: Copy) -> Pasted:
    """Which part of a copy a map says was pasted, after `mark_copies`: 0 or 1; None: it could be either."""
    high = [
        part.any() and float(np.median(marked[part])) >= (PASTED + EITHER) / 2 for part in _parts(copy, marked.shape)
    ]
    if high[0] == high[1]:
        return None
    return 0 if high[0] else 1


def _favoured(values: Map, parts: tuple[Mask, Mask], direction: float) -> Pasted:
    suspected = [_logit(values[part]) if part.any() else _logit(np.zeros(1, np.float32)) for part in parts]
    student = min(max(suspected[1] - suspected[0], -_STUDENT_MOST), _STUDENT_MOST)
    odds = direction + _STUDENT_WEIGHT * student
    if abs(odds) < _DECIDED:
        return None
    return 1 if odds > 0 else 0


def _logit(values: NDArray[np.float32]) -> float:
    """The mean log-odds."""
    return float(np.log((values + _FLOOR) / (1 - values + _FLOOR)).mean())


def _parts(copy: Copy, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    first, second = copy.parts
    return on_grid(first, shape), on_grid(second, shape)
