"""The annotate view's buttons, fields and pointers: what is done next is what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.regions import Box

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Desk

BOXES = [(40, 50, 200, 150), (300, 200, 420, 330)]
FIRST, SECOND, THIRD, FOURTH = (f"photo-00{number}.jpg" for number in range(4))


@pytest.fixture
def server(server: Any, folder: Path) -> Any:
    """All photos but the first one have two boxes."""
    with Dataset.open(folder) as dataset:
        for image in (SECOND, THIRD, FOURTH):
            dataset.annotate(image, boxes=[Box(*box) for box in BOXES], label="tampered", expected_version=1)
    return server


def focused(desk: Desk) -> str:
    return desk.page.evaluate("document.activeElement.dataset.run ?? document.activeElement.className")


def test_enter_after_a_click_is_about_the_picture(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    desk.page.locator("[data-run=authentic]").click()
    desk.ready(SECOND)
    desk.press("Enter")
    desk.ready(THIRD)
    desk.saved()
    assert desk.boxes(SECOND) == BOXES
    # The same after a box was deleted by its button.
    desk.press("]")
    desk.page.locator(".panels").get_by_role("button", name="Delete box").click()
    desk.press("Enter")
    desk.ready(FOURTH)
    desk.saved()
    assert desk.boxes(THIRD) == BOXES[1:]


def test_enter_after_a_click_on_what_decides_nothing_goes_on_too(
    desk: Desk, live_server: Callable[..., Any], folder: Path, red_model: Path
) -> None:
    desk.open(live_server(folder, teacher="grabcut", model=red_model), FIRST)
    for number, name in enumerate(("Suggestion", "Teacher's mask", "Zoom in", "Show the whole image"), 1):
        desk.press("b")
        control = desk.page.locator(f'button[title^="{name}"]')
        pressed = control.get_attribute("aria-pressed")
        control.click()
        after = control.get_attribute("aria-pressed")
        assert pressed is None or pressed != after
        assert focused(desk) == "stage", name
        desk.press("Enter")
        desk.ready(f"photo-00{number}.jpg")
        assert control.get_attribute("aria-pressed") == after
    # Whoever goes there by key stays there, and presses it again.
    suggestion = desk.page.get_by_role("button", name="Suggestion", exact=True)
    suggestion.focus()
    before = suggestion.get_attribute("aria-pressed")
    desk.press("Enter", "Enter")
    assert suggestion.get_attribute("aria-pressed") == before
    assert desk.image == "photo-004.jpg"


def test_a_held_key_presses_a_button_once(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    desk.page.locator("[data-run=authentic]").focus()
    desk.page.keyboard.down("Enter")
    desk.ready(SECOND)
    for _ in range(5):
        desk.page.keyboard.down("Enter")  # repeated, as long as it is down
    desk.page.keyboard.up("Enter")
    desk.saved()
    assert desk.image == SECOND
    assert len(desk.listed) == 2
    # Whoever went to the button by key stays there.
    assert focused(desk) == "authentic"
    assert desk.boxes(SECOND) == BOXES


def test_escape_takes_a_typed_number_back(desk: Desk, server: Any) -> None:
    desk.open(server, SECOND)
    before = desk.boxes(SECOND)
    desk.press("]")
    left = desk.page.get_by_label("Left edge in pixels")
    left.press("Control+a")
    desk.page.keyboard.type("60")
    desk.press("Escape")
    assert focused(desk) == "stage"
    assert left.input_value() == str(before[0][0])
    desk.press("Enter")
    desk.ready(THIRD)
    desk.saved()
    assert desk.boxes(SECOND) == before


def test_after_a_choice_from_a_list_the_keys_are_for_the_picture(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    states = desk.page.get_by_label("Show images")
    states.click()
    states.select_option("boxed")
    assert focused(desk) == "stage"
    # Whoever goes there by key may want the option after the next one.
    states.focus()
    desk.press("ArrowUp")
    assert focused(desk) != "stage"
    desk.press("Escape")
    assert focused(desk) == "stage"


def test_the_first_drag_after_a_typed_number_counts(desk: Desk, server: Any) -> None:
    desk.open(server, SECOND)
    desk.press("]")
    desk.page.get_by_label("Left edge in pixels").fill("60")
    desk.drag((300, 60), (400, 120))
    assert len(desk.listed) == 3
    assert "left 60," in (desk.listed[0] or "")


def test_a_finger_may_begin_beside_the_picture(desk_at: Callable[..., Desk], server: Any) -> None:
    phone = desk_at(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone.open(server, FIRST)
    client = phone.page.context.new_cdp_session(phone.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    x, y = phone.screen(320, 240)
    touch("touchStart", (6, y - 40))
    touch("touchMove", (x / 2, y))
    touch("touchMove", (x, y + 40))
    touch("touchEnd")
    phone.page.wait_for_selector(".box-list [role=option]", state="attached")
    assert "left 0," in (phone.listed[0] or "")
    # All of it beside the picture is no box.
    touch("touchStart", (6, y - 40))
    touch("touchMove", (8, y + 40))
    touch("touchEnd")
    assert len(phone.listed) == 1


def test_the_picture_is_sharp_on_another_screen(desk: Desk, server: Any) -> None:
    # The browser tells of no density that is only pretended: the test does, to the queries that are about one.
    desk.page.add_init_script(
        """{
          const ask = window.matchMedia.bind(window);
          window.queries = [];
          window.matchMedia = (text) => {
            const query = ask(text);
            if (text.includes("dppx")) window.queries.push(query);
            return query;
          };
        }"""
    )
    desk.open(server, FIRST)
    client = desk.page.context.new_cdp_session(desk.page)
    metrics = {"width": 1280, "height": 800, "mobile": False}
    for density in (2, 1, 3):
        client.send("Emulation.setDeviceMetricsOverride", {**metrics, "deviceScaleFactor": density})
        desk.page.wait_for_function("(density) => devicePixelRatio === density", arg=density)
        across = desk.page.evaluate(
            """() => {
              for (const query of window.queries.splice(0)) query.dispatchEvent(new Event("change"));
              const canvas = document.querySelector(".stage-canvas");
              return [canvas.width, canvas.parentElement.clientWidth];
            }"""
        )
        assert across[0] == across[1] * density
