"""The annotate view's buttons, fields and pointers: what is done next is what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.regions import Box

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

BOXES = (Box(40, 50, 200, 150), Box(300, 200, 420, 330))


@pytest.fixture
def folder(tmp_path: Path, make_photos: Callable[..., list[Path]]) -> Path:
    """Four photos, of which all but the first have two boxes."""
    make_photos(tmp_path / "photos", 4)
    return tmp_path / "photos"


@pytest.fixture
def server(live_server: Callable[..., Any], folder: Path) -> Any:
    address = live_server(folder, teacher="none", model="none")
    with Dataset.open(folder) as dataset:
        for number in (1, 2, 3):
            dataset.annotate(f"photo-00{number}.jpg", boxes=list(BOXES), label="tampered", expected_version=1)
    return address


def start(page: Page, server: Any, image: str = "photo-000.jpg") -> None:
    page.goto(f"{server}/#/annotate?image={image}")
    ready(page, image)


def ready(page: Page, image: str) -> None:
    page.wait_for_selector(f'.annotate .stage[data-ready="{image}"]')


def boxes(folder: Path, image: str) -> tuple[Box, ...]:
    with Dataset.open(folder) as dataset:
        return tuple(dataset.get(image).boxes)


def listed(page: Page) -> int:
    return page.locator(".box-list [role=option]").count()


def middle(page: Page) -> tuple[float, float]:
    frame = page.locator(".stage").bounding_box()
    assert frame is not None
    return frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2


def drag(page: Page, x0: float, y0: float, x1: float, y1: float) -> None:
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=4)
    page.mouse.up()


def test_enter_after_a_click_is_about_the_picture(page: Page, server: Any, folder: Path) -> None:
    start(page, server)
    page.locator("[data-run=authentic]").click()
    ready(page, "photo-001.jpg")
    page.keyboard.press("Enter")
    ready(page, "photo-002.jpg")
    page.wait_for_selector(".save-state[data-state=saved]")
    assert boxes(folder, "photo-001.jpg") == BOXES
    # The same after a box was deleted by its button.
    page.keyboard.press("]")
    page.locator(".panels").get_by_role("button", name="Delete box").click()
    page.keyboard.press("Enter")
    ready(page, "photo-003.jpg")
    page.wait_for_selector(".save-state[data-state=saved]")
    assert boxes(folder, "photo-002.jpg") == BOXES[1:]


def test_a_held_key_presses_a_button_once(page: Page, server: Any, folder: Path) -> None:
    start(page, server)
    page.locator("[data-run=authentic]").focus()
    page.keyboard.down("Enter")
    ready(page, "photo-001.jpg")
    for _ in range(5):
        page.keyboard.down("Enter")  # repeated, as long as it is down
    page.keyboard.up("Enter")
    page.wait_for_selector(".save-state[data-state=saved]")
    assert page.locator(".stage").get_attribute("data-ready") == "photo-001.jpg"
    assert listed(page) == 2
    # Whoever went to the button by key stays there.
    assert page.evaluate("document.activeElement.dataset.run") == "authentic"
    assert boxes(folder, "photo-001.jpg") == BOXES


def test_the_first_drag_after_a_typed_number_counts(page: Page, server: Any) -> None:
    start(page, server, "photo-001.jpg")
    page.keyboard.press("]")
    page.get_by_label("Left edge in pixels").fill("60")
    x, y = middle(page)
    drag(page, x - 20, y - 150, x + 80, y - 80)
    assert listed(page) == 3
    assert "left 60," in (page.locator(".box-list [role=option]").first.get_attribute("aria-label") or "")


def test_a_finger_may_begin_beside_the_picture(new_page: Callable[..., Page], server: Any) -> None:
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    start(page, server)
    client = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    x, y = middle(page)
    touch("touchStart", (6, y - 40))
    touch("touchMove", (x / 2, y))
    touch("touchMove", (x, y + 40))
    touch("touchEnd")
    page.wait_for_selector(".box-list [role=option]", state="attached")
    assert "left 0," in (page.locator(".box-list [role=option]").get_attribute("aria-label") or "")
    # All of it beside the picture is no box.
    touch("touchStart", (6, y - 40))
    touch("touchMove", (8, y + 40))
    touch("touchEnd")
    assert listed(page) == 1


def test_the_picture_is_sharp_on_another_screen(page: Page, server: Any) -> None:
    # The browser tells of no density that is only pretended: the test does, to the queries that are about one.
    page.add_init_script(
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
    start(page, server)
    client = page.context.new_cdp_session(page)
    metrics = {"width": 1280, "height": 800, "mobile": False}
    for density in (2, 1, 3):
        client.send("Emulation.setDeviceMetricsOverride", {**metrics, "deviceScaleFactor": density})
        page.wait_for_function("(density) => devicePixelRatio === density", arg=density)
        across = page.evaluate(
            """() => {
              for (const query of window.queries.splice(0)) query.dispatchEvent(new Event("change"));
              const canvas = document.querySelector(".stage-canvas");
              return [canvas.width, canvas.parentElement.clientWidth];
            }"""
        )
        assert across[0] == across[1] * density
