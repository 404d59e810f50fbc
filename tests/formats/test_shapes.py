from __future__ import annotations

import weakref

import numpy as np

from boxpromptiml.formats.shapes import Annotation, Mask, Shape, resolve
from boxpromptiml.regions import Box


def test_shapes_are_drawn_one_after_the_other() -> None:
    """A thousand polygons on a photo of 24 million pixels would be 24 GB at once."""
    alive: list[weakref.ref[Mask]] = []
    most = 0

    def column(x: int) -> Shape:
        def pixels(height: int, width: int) -> Mask:
            nonlocal most
            mask = np.zeros((height, width), bool)
            mask[:, x] = True
            alive.append(weakref.ref(mask))
            most = max(most, sum(reference() is not None for reference in alive))
            return mask

        return Shape(f"shapes[{x}]", (x, 0, x + 1, 4), pixels, drawn=False)

    resolved = resolve(Annotation(tuple(column(x) for x in range(0, 40, 2))), 40, 4)
    assert resolved.boxes == tuple(Box(x, 0, x + 1, 4) for x in range(0, 40, 2))
    assert resolved.mask is not None
    assert resolved.mask.sum() == 20 * 4
    assert most <= 2
