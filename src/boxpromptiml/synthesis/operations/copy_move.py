"""Copy-move: something of the same photo, pasted elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.regions import Box, mask_box
from boxpromptiml.synthesis.compositing import Edge, Edit, Patch, cut_out, paste, transformed
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.synthesis.sampling import Unusable, chance, log_uniform, uniform
from boxpromptiml.synthesis.shapes import tight

_PLACES = 24


def copy_move(
    host: NDArray[np.uint8], region: NDArray[np.uint8], config: SynthesisConfig, rng: np.random.Generator
) -> Edit:
    """Paste `region` of the host elsewhere in the host; original and copy do not overlap.

    Args:
        host: uint8 (h, w, 3).
        region: uint8 (h, w), 255 inside: what is copied. The mask of the edit is the copy.
        config: settings.
        rng: source of every random choice.

    Raises:
        Unusable: there is no room for the copy beside the original.
    """
    height, width = region.shape
    transform = config.transform
    edge = Edge.draw(config.edge, max(height, width), rng)
    scale = log_uniform(rng, *transform.scale)
    scale = scale if chance(rng, transform.scale_probability) else 1.0
    degrees = uniform(rng, -transform.rotation, transform.rotation)
    degrees = degrees if chance(rng, transform.rotate_probability) else 0.0
    flip = chance(rng, transform.flip_probability)
    margin = int(np.ceil(edge.margin / min(scale, 1.0))) + 1
    patch = transformed(cut_out(host, region, tight(region, margin)), scale, degrees, flip)
    patch = Patch(patch.image, edge.apply(patch.alpha))
    box = mask_box(patch.alpha > 0.5)
    if box is None or box.height >= height or box.width >= width:
        raise Unusable("the copy does not fit into the photo")
    top, left = _room(region, patch, box, rng)
    source = mask_box(region)
    assert source is not None
    details = {
        "scale": round(scale, 4),
        "rotation": round(degrees, 2),
        "flip": flip,
        "feather": edge.sigma,
        "source_box": list(source),
    }
    return paste(host, patch, top, left, details)


def _room(region: NDArray[np.uint8], patch: Patch, box: Box, rng: np.random.Generator) -> tuple[int, int]:
    """Top left corner of the patch such that its tampered pixels are inside the image and off the original.

    Of several free places the one nearest in height to the original is taken half of the time: people copy a window
    next to a window, a boat onto the same water.
    """
    height, width = region.shape
    hard = patch.alpha[box.slices] > 0
    origin = mask_box(region)
    assert origin is not None
    level = rng.random() < 0.5
    ys = rng.integers(0, height - box.height + 1, _PLACES)
    xs = rng.integers(0, width - box.width + 1, _PLACES)
    free: list[tuple[int, int]] = []
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        there = region[y : y + box.height, x : x + box.width]
        if not (there[hard] > 0).any():
            free.append((y, x))
            if not level or len(free) == 6:
                break
    if not free:
        raise Unusable("no room for the copy beside the original")
    y, x = min(free, key=lambda place: abs(place[0] - origin.y0))
    return y - box.y0, x - box.x0
