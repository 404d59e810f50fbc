"""From a network's own map of a photo to the model's: adapted, calibrated, and with what the picture itself tells."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.model_config import DecisionRule
from boxpromptiml.preprocessing import Fed
from boxpromptiml.runtime.marking import all_small, mark_copies

Map = NDArray[np.float32]


def finish(values: Map, fed: Fed, rule: DecisionRule, threads: int, whole: Map | None = None) -> Map:
    """A finished map, float32 (rows, columns) in [0, 1].

    Args:
        values: what the network says, float32 (rows, columns) in [0, 1].
        fed: the photo as a whole.
        rule: of the model.
        threads: of OpenCV, where it is needed.
        whole: what the network says of the photo as a whole, where `values` is a map with tiles.
    """
    student = finished = rule.finished(values, whole)
    if rule.completion and all_small(fed.copies):  # larger ones say where they end
        from boxpromptiml.runtime.completing import complete  # OpenCV takes a tenth of a second to import

        finished = complete(student, fed.picture, rule.threshold, threads)
    return mark_copies(finished, fed.copies, student)


def finish_all(maps: Sequence[Map], fed: Sequence[Fed], rule: DecisionRule, threads: int) -> list[Map]:
    """The finished maps of several photos, see `finish`; completed side by side."""

    def one(values: Map, item: Fed) -> Map:
        return finish(values, item, rule, threads)

    workers = min(len(fed), threads) if rule.completion else 1
    if workers < 2:
        return list(map(one, maps, fed))
    with ThreadPoolExecutor(workers) as pool:  # OpenCV lets others run meanwhile
        return list(pool.map(one, maps, fed))
