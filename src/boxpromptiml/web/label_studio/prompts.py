"""What a person drew in Label Studio: boxes and clicks for the teacher."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boxpromptiml.http.errors import HttpError
from boxpromptiml.regions import Box
from boxpromptiml.teachers.prompts import Point

_BOXES = ("rectanglelabels", "rectangle")
_POINTS = ("keypointlabels", "keypoint")
_MAX_REGIONS = 256


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box that a person drew.

    Attributes:
        box: in whole pixels of the upright image.
        label: what the person chose; None where it is not told.
    """

    box: Box
    label: str | None


@dataclass(frozen=True, slots=True)
class Click:
    """A click of a person.

    Attributes:
        x: column of the pixel in the upright image.
        y: its row.
        positive: whether it says "this belongs to it", or "this does not".
        label: what the person chose; None where it is not told.
    """

    x: int
    y: int
    positive: bool
    label: str | None


@dataclass(frozen=True)
class Interaction:
    """Everything that a person drew on one image before the backend was asked.

    Attributes:
        image: name of the image tag; None where the regions do not tell.
        size: (width, height) of the upright image as the browser sees it.
        boxes: one a mask that is wanted; none where only clicks were sent.
        clicks: what refines the masks.
    """

    image: str | None
    size: tuple[int, int]
    boxes: tuple[DrawnBox, ...]
    clicks: tuple[Click, ...]


def read_interaction(context: object) -> Interaction | None:
    """Read the ``context`` of a /predict request.

    Label Studio sends the smart regions that were drawn in one go: a box, or the clicks so far with one label. Other
    kinds of regions are left alone.

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
    boxes: list[DrawnBox] = []
    clicks: list[Click] = []
    for region in drawn:
        label = _label(region, str(region["type"])) or labels.get(region.get("id"))
        if region["type"] in _BOXES:
            boxes.append(DrawnBox(_box(region, width, height), label))
        else:
            clicks.append(_click(region, width, height, label))
    name = drawn[0].get("to_name")
    return Interaction(name if isinstance(name, str) else None, (width, height), tuple(boxes), tuple(clicks))


def boxes_of_task(task: Mapping[str, Any], size: tuple[int, int]) -> list[DrawnBox]:
    """The boxes that Label Studio has stored for a task, in drafts and annotations, drawn on an image of that size."""
    found: list[DrawnBox] = []
    for kind in ("drafts", "annotations"):
        entries = task.get(kind)
        for entry in entries if isinstance(entries, list) else ():
            regions = entry.get("result") if isinstance(entry, dict) else None
            for region in regions if isinstance(regions, list) else ():
                with contextlib.suppress(HttpError):  # what is stored may be of any kind
                    if isinstance(region, dict) and region.get("type") in _BOXES and _size([region]) == size:
                        found.append(DrawnBox(_box(region, *size), _label(region, str(region["type"]))))
    return found


def clicked_box(boxes: Sequence[DrawnBox], clicks: Sequence[Click]) -> DrawnBox | None:
    """The box that clicks refine: of the smallest around all positive ones (or, without any, all clicks).

    A box with the label of the clicks comes before others; where none is around them, the nearest is meant.
    """
    if not boxes:
        return None
    told = [click for click in clicks if click.positive] or list(clicks)

    def order(drawn: DrawnBox) -> tuple[float, bool, int]:
        apart = sum(_distance(drawn.box, click) for click in told)
        return apart, drawn.label != told[0].label, drawn.box.area

    return min(boxes, key=order)


def points_on(boxes: Sequence[DrawnBox], clicks: Sequence[Click]) -> list[Point]:
    """Clicks as prompts: each goes with the smallest box that it lies in; outside all, with the nearest."""
    points = []
    for click in clicks:
        nearest = min(range(len(boxes)), key=lambda i: (_distance(boxes[i].box, click), boxes[i].box.area))
        points.append(Point(click.x, click.y, click.positive, nearest))
    return points


def _distance(box: Box, click: Click) -> float:
    dx = max(box.x0 - click.x, click.x - (box.x1 - 1), 0)
    dy = max(box.y0 - click.y, click.y - (box.y1 - 1), 0)
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


def _click(region: dict[str, Any], width: int, height: int, label: str | None) -> Click:
    x, y = int(_number(region, "x", width)), int(_number(region, "y", height))
    # Regions that no smart tool made do not say which kind of click they are.
    positive = bool(region.get("is_positive", True))
    return Click(min(max(x, 0), width - 1), min(max(y, 0), height - 1), positive, label)


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
