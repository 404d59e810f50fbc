"""What a person drew in Label Studio: boxes and clicks for the teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from boxpromptiml.regions import Box
from boxpromptiml.web.errors import HttpError

_BOXES = ("rectanglelabels", "rectangle")
_POINTS = ("keypointlabels", "keypoint")
_MAX_REGIONS = 256


@dataclass(frozen=True, slots=True)
class Point:
    """A click.

    Attributes:
        x: pixels from the left edge of the upright image, in [0, width].
        y: pixels from its top, in [0, height].
        positive: whether it says "this belongs to it", or "this does not".
    """

    x: float
    y: float
    positive: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one mask is asked for with.

    Attributes:
        box: in pixels of the upright image, half-open; None for clicks alone.
        points: clicks that go with it.
        label: what the person chose; None where it is not told.
    """

    box: Box | None
    points: tuple[Point, ...]
    label: str | None


@dataclass(frozen=True)
class Interaction:
    """Everything that a person drew on one image before the backend was asked.

    Attributes:
        image: name of the image tag; None where the regions do not tell.
        size: (width, height) of the upright image as the browser sees it.
        prompts: one a mask that is wanted.
    """

    image: str | None
    size: tuple[int, int]
    prompts: tuple[Prompt, ...] = field(default=())


def read_interaction(context: object) -> Interaction | None:
    """Read the ``context`` of a /predict request.

    Label Studio sends every smart region that was drawn in one go: a box, or the clicks so far. A click goes with the
    smallest box that it lies in; a negative one outside all boxes goes with the nearest. Other kinds of regions are
    left alone.

    Returns:
        None where nobody drew anything (Label Studio asks for pre-annotations).

    Raises:
        HttpError: regions that are malformed, rotated images, images of several sizes.
    """
    if not isinstance(context, dict) or not context.get("result"):
        return None
    regions = context["result"]
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        raise HttpError(400, "params.context.result is not a list of regions")
    if len(regions) > _MAX_REGIONS:
        raise HttpError(400, f"{len(regions)} regions in one request; at most {_MAX_REGIONS} are taken")
    labels = {region.get("id"): _label(region, "labels") for region in regions if region.get("type") == "labels"}
    drawn = [region for region in regions if region.get("type") in _BOXES + _POINTS]
    if not drawn:
        kinds = ", ".join(sorted({str(region.get("type")) for region in regions}))
        raise HttpError(400, f"the regions drawn are {kinds}; boxes (<RectangleLabels>) or clicks (<KeyPointLabels>)")
    width, height = _size(drawn)
    boxes: list[tuple[Box, str | None]] = []
    points: list[tuple[Point, str | None]] = []
    for region in drawn:
        label = _label(region, str(region["type"])) or labels.get(region.get("id"))
        if region["type"] in _BOXES:
            boxes.append((_box(region, width, height), label))
        else:
            points.append((_point(region, width, height), label))
    name = drawn[0].get("to_name")
    image = name if isinstance(name, str) else None
    return Interaction(image, (width, height), tuple(_prompts(boxes, points)))


def _prompts(boxes: list[tuple[Box, str | None]], points: list[tuple[Point, str | None]]) -> list[Prompt]:
    if not boxes:
        # All clicks are about one thing: Label Studio starts a new group for the next.
        label = next((label for point, label in points if point.positive), points[0][1])
        return [Prompt(None, tuple(point for point, _ in points), label)]
    groups: list[list[Point]] = [[] for _ in boxes]
    for point, _ in points:
        # Within a box the distance is 0, and the smallest box is the one that is meant.
        nearest = min(range(len(boxes)), key=lambda i: (_distance(boxes[i][0], point), boxes[i][0].area))
        groups[nearest].append(point)
    return [Prompt(box, tuple(group), label) for (box, label), group in zip(boxes, groups, strict=True)]


def _distance(box: Box, point: Point) -> float:
    dx = max(box.x0 - point.x, point.x - box.x1, 0.0)
    dy = max(box.y0 - point.y, point.y - box.y1, 0.0)
    return math.hypot(dx, dy)


def _size(regions: list[dict[str, Any]]) -> tuple[int, int]:
    sizes = {(region.get("original_width"), region.get("original_height")) for region in regions}
    if len(sizes) != 1:
        raise HttpError(400, "the regions are of images of several sizes")
    width, height = sizes.pop()
    if type(width) is not int or type(height) is not int or width < 1 or height < 1:
        raise HttpError(400, "a region lacks original_width and original_height")
    if any(region.get("image_rotation") not in (None, 0) for region in regions):
        raise HttpError(400, "the image is rotated in Label Studio; turn it back, masks are painted upright")
    return width, height


def _box(region: dict[str, Any], width: int, height: int) -> Box:
    """A region's box in whole pixels, at least one pixel large; of a rotated rectangle the box around it."""
    x, w = _number(region, "x", width), _number(region, "width", width)
    y, h = _number(region, "y", height), _number(region, "height", height)
    angle = math.radians(_number(region, "rotation", 100.0, default=0.0))
    # Label Studio rotates clockwise around the corner (x, y).
    across, down = (w * math.cos(angle), w * math.sin(angle)), (-h * math.sin(angle), h * math.cos(angle))
    xs = [x, x + across[0], x + down[0], x + across[0] + down[0]]
    ys = [y, y + across[1], y + down[1], y + across[1] + down[1]]
    x0, y0 = min(max(round(min(xs)), 0), width - 1), min(max(round(min(ys)), 0), height - 1)
    return Box(x0, y0, min(max(round(max(xs)), x0 + 1), width), min(max(round(max(ys)), y0 + 1), height))


def _point(region: dict[str, Any], width: int, height: int) -> Point:
    x, y = _number(region, "x", width), _number(region, "y", height)
    # Alt-click makes a negative one. A click of an older Label Studio does not say which it is.
    positive = bool(region.get("is_positive", True))
    return Point(min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height)), positive)


def _number(region: dict[str, Any], key: str, scale: float, *, default: float | None = None) -> float:
    """A percentage of a region's value as a part of `scale`."""
    value = region.get("value")
    number = value.get(key, default) if isinstance(value, dict) else None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise HttpError(400, f"a region of type {region.get('type')} has no number {key!r}")
    return float(number) * scale / 100.0


def _label(region: dict[str, Any], key: str) -> str | None:
    value = region.get("value")
    names = value.get(key) if isinstance(value, dict) else None
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
