"""What is found in one image: map, score, verdict, mask and regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.copymove import Copy
from boxpromptiml.model_config import DecisionRule
from boxpromptiml.preprocessing import resize_map
from boxpromptiml.regions import Box, Mask, component_runs, mask_box
from boxpromptiml.rle import Rle, from_runs
from boxpromptiml.runtime.marking import SCORE, Pasted, pasted_part
from boxpromptiml.scaling import highest, logit, sigmoid

Verdict = Literal["tampered", "authentic"]

_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalizedRegion:
    """One connected region of a mask.

    Attributes:
        box: its bounding box in the upright image, half-open pixels.
        area: its number of pixels.
        score: mean probability over its pixels (each takes that of the cell of the network's grid it falls in).
        rle: its pixels, COCO run-length encoding at the image's own size.
    """

    box: Box
    area: int
    score: float
    rle: Rle

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``results.jsonl``."""
        return {"box": list(self.box), "area": self.area, "score": round(self.score, 6), "rle": self.rle}


@dataclass(frozen=True, slots=True)
class LocalizedCopy:
    """A part of an image that is there twice.

    Attributes:
        boxes: bounding boxes of the two parts in the upright image, half-open pixels.
        pasted: which of them the map says was pasted, 0 or 1; None: it could be either, and both are marked.
        matrix: affine map from the first part to the second: two rows of three, pixels of the upright image, whose
            centres are at whole numbers (that of the first one is 0, 0).
        similarity: median correlation of the two, in [0, 1].
        matches: keypoints that both have; 0 where their grain alone agrees.
    """

    boxes: tuple[Box, Box]
    pasted: Pasted
    matrix: list[list[float]]
    similarity: float
    matches: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``results.jsonl``."""
        return {
            "boxes": [list(box) for box in self.boxes],
            "pasted": self.pasted,
            "matrix": [[round(value, 4) for value in row] for row in self.matrix],
            "similarity": round(self.similarity, 4),
            "matches": self.matches,
        }


@dataclass(eq=False)
class Localization:
    """The answer for one image.

    Attributes:
        image: path as given; None for arrays and bytes.
        sha256: of the file's bytes; None for arrays.
        width: of the upright image, pixels.
        height: of the upright image, pixels.
        score: how tampered the image is, in [0, 1]; see `image_score`. Of a calibrated model it is a probability.
        verdict: ``tampered`` where the score is above the threshold.
        threshold: for pixels and for the score.
        regions: connected regions of the mask, largest first.
        map: probability that a pixel is tampered, float32 (H, W) in [0, 1] on the network's grid, with `detail` on a
            finer one.
        model: id of the model, the first 16 digits of the SHA-256 of its weights.
        seconds: time spent on this image, from reading it to its regions.
        detail: whether tiles at the photo's own size were looked at too, and smaller copies looked for.
        tta: whether all was looked at four times, mirrored.
        copies: parts that are there twice, where the model looks for them.
    """

    image: str | None
    sha256: str | None
    width: int
    height: int
    score: float
    verdict: Verdict
    threshold: float
    regions: list[LocalizedRegion]
    map: NDArray[np.float32]
    model: str
    seconds: float
    detail: bool = False
    tta: bool = False
    copies: list[LocalizedCopy] = field(default_factory=list)

    @cached_property
    def mask(self) -> Mask:
        """Boolean mask (height, width) at the image's own size: the resized map is above the threshold."""
        return native_mask(self.map, self.threshold, self.height, self.width)

    @property
    def map16(self) -> NDArray[np.uint16]:
        """The map as it is saved: probability x 65535, rounded."""
        levels: NDArray[np.uint16] = np.rint(self.map * 65535.0).astype(np.uint16)
        return levels

    def to_json(self) -> dict[str, Any]:
        """Everything but map and mask, ready for `json.dumps`; `detail` and `tta` where true, `copies` where any."""
        return {
            "image": self.image,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "score": round(self.score, 6),
            "verdict": self.verdict,
            "threshold": self.threshold,
            "regions": [region.to_json() for region in self.regions],
            "model": self.model,
            **({"detail": True} if self.detail else {}),
            **({"tta": True} if self.tta else {}),
            **({"copies": [copy.to_json() for copy in self.copies]} if self.copies else {}),
            "seconds": round(self.seconds, 4),
        }


def image_score(values: NDArray[np.float32], rule: DecisionRule, copies: Sequence[Copy] = ()) -> float:
    """Score of an image by its map: the mean of the highest pixels (at least one), calibrated, in [0, 1].

    Between the maximum, which one stray pixel decides, and the mean, in which a small edit drowns. What the mean is of
    and how many pixels are the highest is in the rule. With a copy it is `boxpromptiml.runtime.marking.SCORE` at least.
    """
    least = SCORE if copies else 0.0
    top = highest(values, rule.score_fraction)
    if rule.score_pooling == "logit":
        scaling = rule.score_scaling
        return max(least, float(sigmoid(scaling.slope * logit(top).mean() + scaling.bias)))
    pooled = top.mean(dtype=np.float64)
    return max(least, float(pooled if rule.score_scaling.is_identity else rule.score_scaling.forward(pooled)))


def describe_copy(copy: Copy, values: NDArray[np.float32], width: int, height: int) -> LocalizedCopy:
    """A copy in an image of width x height pixels, of which `values` is the map, in the image's own pixels."""
    rows, columns = copy.parts[0].shape
    x, y = width / columns, height / rows
    # Pixels have whole numbers at their centres: what is scaled by its corners lies half a pixel off on either grid.
    grid = np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]])
    matrix: list[list[float]] = (grid[:2] @ np.vstack([copy.matrix, [0, 0, 1]]) @ np.linalg.inv(grid)).tolist()
    first, second = (_native_box(part, x, y, width, height) for part in copy.parts)
    return LocalizedCopy((first, second), pasted_part(values, copy), matrix, copy.similarity, copy.matches)


def _native_box(part: Mask, x: float, y: float, width: int, height: int) -> Box:
    box = mask_box(part)
    if box is None:
        return Box(0, 0, 0, 0)
    return Box(
        math.floor(box.x0 * x),
        math.floor(box.y0 * y),
        min(width, math.ceil(box.x1 * x)),
        min(height, math.ceil(box.y1 * y)),
    )


def native_mask(values: NDArray[np.float32], threshold: float, height: int, width: int) -> Mask:
    """``resize_map(values, height, width) > threshold``, boolean (height, width), without a float map of that size.

    Only the part that can be above the threshold is resized, strip by strip: a weighted mean never exceeds the
    highest of the values that go into it.
    """
    rows, columns = values.shape
    if height < rows or width < columns:  # shrinking mixes many cells; such images are small
        return resize_map(values, height, width) > threshold
    mask = np.zeros((height, width), dtype=bool)
    above = values > threshold
    if not above.any():
        return mask
    marked_rows, marked_columns = np.nonzero(above)
    top, bottom = _reach(marked_rows, rows, height)
    left, right = _reach(marked_columns, columns, width)
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    x_scale, y_scale = columns / width, rows / height
    step = max(1, _STRIP_PIXELS // (right - left))
    for start in range(top, bottom, step):
        end = min(start + step, bottom)
        box = (left * x_scale, start * y_scale, right * x_scale, end * y_scale)
        strip = picture.resize((right - left, end - start), Image.Resampling.BILINEAR, box)
        mask[start:end, left:right] = np.asarray(strip) > threshold
    return mask


def find_regions(mask: Mask, values: NDArray[np.float32]) -> list[LocalizedRegion]:
    """The connected regions of a native mask (height, width), largest first, scored by the network's map."""
    components = component_runs(mask)
    if not components:
        return []
    height, width = mask.shape
    rows, columns = values.shape
    # Sums of the map's cells down every column of the grid, one row per row of the image.
    sums = np.zeros((height + 1, columns))
    np.cumsum(values[np.arange(height) * rows // height], axis=0, dtype=np.float64, out=sums[1:])
    regions = []
    for component, starts, ends in components:
        x, y0 = np.divmod(starts, height)
        cells = x * columns // width
        total = float((sums[y0 + (ends - starts), cells] - sums[y0, cells]).sum())
        score = min(1.0, max(0.0, total / component.area))
        regions.append(LocalizedRegion(component.box, component.area, score, from_runs(starts, ends, height, width)))
    return regions


def _reach(cells: NDArray[np.intp], count: int, size: int) -> tuple[int, int]:
    """First and last (exclusive) of `size` pixels that any of `cells`, of `count`, has a share in, enlarging."""
    scale = size / count
    first, last = math.floor((int(cells.min()) - 1) * scale), math.ceil((int(cells.max()) + 2) * scale)
    return max(0, first), min(size, last)
