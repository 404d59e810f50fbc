"""What people draw, as prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml.http.errors import HttpError
from boxpromptiml.regions import Box
from boxpromptiml.teachers.prompts import Point
from boxpromptiml.web.label_studio.prompts import (
    Click,
    DrawnBox,
    boxes_of_task,
    clicked_box,
    points_on,
    read_interaction,
)
from boxpromptiml.web.label_studio.results import rectangle_region

Make = Callable[..., dict[str, Any]]


def _rectangle(make: Make, label: str | None = "Tampered", **value: float) -> dict[str, Any]:
    return make("rectanglelabels", "box", label, **({"rotation": 0} | value))


def _click(make: Make, x: float, y: float, positive: bool, label: str = "Tampered") -> dict[str, Any]:
    return make("keypointlabels", "click", label, x=x, y=y, width=0.3, is_positive=positive)


@pytest.mark.parametrize("context", [None, {}, {"result": []}, {"result": None}, []])
def test_nothing_drawn_is_no_interaction(context: object) -> None:
    assert read_interaction(context) is None


@pytest.mark.parametrize(
    ("value", "box"),
    [
        pytest.param({"x": 25, "y": 20, "width": 50, "height": 60}, Box(30, 16, 90, 64), id="inside"),
        pytest.param({"x": -5, "y": -5, "width": 200, "height": 200}, Box(0, 0, 120, 80), id="over the edge"),
        pytest.param({"x": 50, "y": 50, "width": 0, "height": 0}, Box(60, 40, 61, 41), id="a dot"),
        pytest.param({"x": 100, "y": 100, "width": 0, "height": 0}, Box(119, 79, 120, 80), id="a dot in the corner"),
        pytest.param({"x": 50, "y": 50, "width": 25, "height": 25, "rotation": 90}, Box(40, 40, 60, 70), id="turned"),
        pytest.param({"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 180}, Box(48, 32, 60, 40), id="upside"),
    ],
)
def test_boxes_become_whole_pixels(make_region: Make, value: dict[str, float], box: Box) -> None:
    interaction = read_interaction({"result": [_rectangle(make_region, **value)]})
    assert interaction is not None
    assert interaction.boxes == (DrawnBox(box, "Tampered"),)
    assert interaction.image == "image"
    assert interaction.size == (120, 80)


def test_clicks_go_with_the_smallest_box_they_lie_in(make_region: Make) -> None:
    large = _rectangle(make_region, x=0, y=0, width=100, height=100)
    small = _rectangle(make_region, label="Copied", x=40, y=40, width=20, height=20)
    clicks = [_click(make_region, 50, 50, True), _click(make_region, 10, 10, False)]
    interaction = read_interaction({"result": [large, *clicks, small]})
    assert interaction is not None
    assert interaction.boxes == (DrawnBox(Box(0, 0, 120, 80), "Tampered"), DrawnBox(Box(48, 32, 72, 48), "Copied"))
    assert points_on(interaction.boxes, interaction.clicks) == [Point(60, 40, True, 1), Point(12, 8, False, 0)]


@pytest.mark.parametrize(("percent", "pixel"), [((0, 0), (0, 0)), ((100, 100), (119, 79)), ((50.4, 50.6), (60, 40))])
def test_clicks_become_pixels(make_region: Make, percent: tuple[float, float], pixel: tuple[int, int]) -> None:
    interaction = read_interaction({"result": [_click(make_region, *percent, True)]})
    assert interaction is not None
    assert interaction.boxes == ()
    assert interaction.clicks == (Click(*pixel, True, "Tampered"),)


LEFT, RIGHT = DrawnBox(Box(0, 0, 50, 80), "A"), DrawnBox(Box(60, 0, 120, 80), "B")
INNER = DrawnBox(Box(70, 10, 90, 30), "A")


@pytest.mark.parametrize(
    ("boxes", "clicks", "expected"),
    [
        pytest.param([LEFT, RIGHT], [Click(10, 10, True, "B")], LEFT, id="the one around it"),
        pytest.param([RIGHT, INNER], [Click(80, 20, True, "C")], INNER, id="the smaller of two"),
        pytest.param([RIGHT, INNER], [Click(80, 20, True, "B")], RIGHT, id="the one with the same label"),
        pytest.param([INNER, RIGHT], [Click(80, 20, True, "A"), Click(100, 70, True, "A")], RIGHT, id="around both"),
        pytest.param([LEFT, INNER], [Click(80, 20, True, "A"), Click(5, 5, False, "A")], INNER, id="positive count"),
        pytest.param([LEFT, RIGHT], [Click(58, 5, False, "A")], RIGHT, id="the nearest"),
        pytest.param([], [Click(58, 5, False, "A")], None, id="none"),
    ],
)
def test_clicks_alone_refine_the_box_that_is_meant(
    boxes: list[DrawnBox], clicks: list[Click], expected: DrawnBox | None
) -> None:
    assert clicked_box(boxes, clicks) == expected


def test_boxes_are_found_in_drafts_and_annotations(make_region: Make) -> None:
    box = _rectangle(make_region, x=0, y=0, width=50, height=50)
    other_size = _rectangle(make_region, x=0, y=0, width=50, height=50, original_width=999)
    broken = [{"type": "rectanglelabels"}, "text", None, {"type": "rectanglelabels", "value": 3}]
    task = {"drafts": [{"result": [box, other_size, *broken]}, 3], "annotations": [{"result": None}, {"result": [box]}]}
    assert boxes_of_task(task, (120, 80)) == [DrawnBox(Box(0, 0, 60, 40), "Tampered")] * 2
    assert boxes_of_task({"drafts": "x"}, (120, 80)) == []


def test_labels_may_come_in_a_result_of_their_own(make_region: Make) -> None:
    place = {"x": 0.0, "y": 0.0, "width": 10.0, "height": 10.0}
    box = make_region("rectangle", "box", None, id="r1", **place)
    labels = make_region("labels", "names", "Copied", id="r1", **place)
    interaction = read_interaction({"result": [box, labels]})
    assert interaction is not None
    assert interaction.boxes == (DrawnBox(Box(0, 0, 12, 8), "Copied"),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"type": "polygonlabels"}, "boxes .* or clicks", id="another kind"),
        pytest.param({"value": {"x": 1, "y": 1, "width": 1}}, "'height'", id="a number is missing"),
        pytest.param({"value": {"x": "1", "y": 1, "width": 1, "height": 1}}, "'x'", id="text for a number"),
        pytest.param({"value": {"x": float("nan"), "y": 1, "width": 1, "height": 1}}, "'x'", id="not a number"),
        pytest.param({"value": {"x": float("inf"), "y": 1, "width": 1, "height": 1}}, "'x'", id="infinite"),
        pytest.param({"value": {"x": True, "y": 1, "width": 1, "height": 1}}, "'x'", id="true"),
        pytest.param({"value": None}, "'x'", id="no value"),
        pytest.param({"original_width": 0}, "original_width", id="no width"),
        pytest.param({"original_width": "120"}, "original_width", id="width as text"),
        pytest.param({"image_rotation": 90}, "rotated", id="rotated image"),
    ],
)
def test_malformed_regions_are_refused(drawn_box: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(HttpError, match=message) as caught:
        read_interaction({"result": [drawn_box | change]})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("result", "message"),
    [
        pytest.param("box", "not a list", id="text"),
        pytest.param([1], "not a list of regions", id="numbers"),
        pytest.param([{}] * 257, "at most 256", id="too many"),
        pytest.param([{}], "regions drawn are None", id="empty region"),
    ],
)
def test_malformed_contexts_are_refused(result: object, message: str) -> None:
    with pytest.raises(HttpError, match=message):
        read_interaction({"result": result})


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    corners=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4),
)
def test_a_box_survives_the_way_there_and_back_to_the_pixel(
    width: int, height: int, corners: tuple[float, float, float, float]
) -> None:
    x0, y0 = int(corners[0] * width), int(corners[1] * height)
    box = Box(x0, y0, x0 + 1 + int(corners[2] * (width - x0)), y0 + 1 + int(corners[3] * (height - y0)))
    region = rectangle_region(box, control="b", image="i", label="A", score=None, width=width, height=height)
    interaction = read_interaction({"result": [region]})
    assert interaction is not None
    assert interaction.boxes[0].box == box
