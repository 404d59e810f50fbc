"""The annotate view as a person meets it: a real browser, a real server, and afterwards what `dataset.db` says."""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from conftest import Desk

WIDTH, HEIGHT = 640, 480


# -- drawing ----------------------------------------------------------------------------------------------------------


def test_draws_with_the_mouse(desk: Desk, server: Any, shot: Callable[..., None]) -> None:
    desk.open(server)
    desk.drag((100, 50), (300, 200))
    desk.drag((620, 460), (400, 260))  # from the bottom right corner
    desk.drag((20, 300), (-90, 999))  # beyond the image
    desk.page.keyboard.down("Shift")
    desk.drag((150, 80), (200, 120))  # within the first
    desk.page.keyboard.up("Shift")
    expected = [(100, 50, 300, 200), (400, 260, 620, 460), (0, 300, 20, 480), (150, 80, 200, 120)]
    desk.stores(*expected)
    assert desk.record().label == "tampered"
    assert desk.record().seconds > 0
    shot(desk.page, "annotate-light")
    desk.page.reload()
    desk.ready("photo-000.jpg")
    assert desk.listed[0] == "Box 1: left 100, top 50, right 300, bottom 200"
    assert len(desk.listed) == 4
    # A click is no box, and neither is what lies all outside.
    desk.click(350, 240)
    desk.drag((-15, 20), (-5, 400))
    desk.drag((500, 30), (540, 60))
    desk.stores(*expected, (500, 30, 540, 60))


def test_draws_to_the_pixel_when_zoomed(desk: Desk, server: Any) -> None:
    desk.open(server)
    desk.press("1")
    desk.drag((301, 203), (302, 204), scale=1)  # within the dead zone: no box
    desk.drag((301, 203), (337, 251), scale=1)
    desk.press("+", "+", "+", "+", "+")
    zoomed = 1.25**5
    # Finer than a pixel: the nearest edges.
    desk.drag((350.2, 211.2), (358.8, 224.8), scale=zoomed)
    desk.page.mouse.wheel(0, -240)
    desk.page.get_by_text("470%").wait_for()
    desk.page.mouse.wheel(0, 2000)
    desk.press("0")
    desk.drag((10, 20), (30, 45))
    desk.stores((301, 203, 337, 251), (350, 211, 359, 225), (10, 20, 30, 45))


def test_moves_and_resizes(desk: Desk, server: Any) -> None:
    desk.open(server)
    desk.drag((200, 150), (400, 300))
    desk.stores((200, 150, 400, 300))
    for grip, to, expected in (
        ((200, 150), (230, 190), (230, 190, 400, 300)),
        ((400, 300), (390, 310), (200, 150, 390, 310)),
        ((300, 150), (555, 100), (200, 100, 400, 300)),  # a side moves on its own axis only
        ((200, 200), (420, 0), (400, 150, 420, 300)),  # over the opposite side: the box turns over
        ((400, 150), (999, -50), (200, 0, 640, 300)),  # stops at the border
        ((300, 225), (310, 215), (210, 140, 410, 290)),  # in the middle: moves
        ((300, 225), (5000, 225), (440, 150, 640, 300)),  # as far as the image goes, in its size
    ):
        desk.drag(grip, to)
        desk.stores(expected)
        desk.press("Control+z")
        desk.stores((200, 150, 400, 300))


def test_deletes_undoes_and_redoes(desk: Desk, server: Any) -> None:
    desk.open(server)
    first, second = (50, 60, 150, 160), (300, 200, 420, 330)
    desk.drag(first[:2], first[2:])
    desk.drag(second[:2], second[2:])
    desk.click(100, 110)
    desk.press("Delete")
    desk.stores(second)
    desk.press("Control+z", "Control+z")
    desk.stores(first)
    desk.press("Control+Shift+z", "Control+y")
    desk.stores(second)
    desk.page.get_by_role("button", name="Undo").first.click()
    desk.stores(first, second)
    # Back on an image, its changes can still be undone; with the last box goes the label.
    desk.press("n")
    desk.ready("photo-001.jpg")
    desk.press("p")
    desk.ready("photo-000.jpg")
    desk.press("Control+z", "Control+z")
    desk.stores()
    assert desk.record().label is None
    assert desk.record().state == "todo"


def test_a_key_ends_the_drag_that_it_disturbs(desk: Desk, server: Any) -> None:
    """Deleting a box moves the others up: what is being dragged must not land on another one."""
    desk.open(server)
    boxes = [(20, 20, 120, 120), (200, 20, 300, 120), (400, 20, 500, 120)]
    for box in boxes:
        desk.drag(box[:2], box[2:])
    desk.stores(*boxes)
    desk.press("]")
    mouse = desk.page.mouse
    mouse.move(*desk.screen(250, 70))
    mouse.down()
    mouse.move(*desk.screen(250, 200), steps=4)
    desk.press("Delete")
    mouse.move(*desk.screen(250, 300), steps=4)
    mouse.up()
    desk.stores(*boxes[1:])
    desk.drag((250, 70), (250, 170))
    desk.stores((200, 120, 300, 220), boxes[2])


def touches(page: Page, kind: str, *points: tuple[float, float]) -> None:
    """One moment of fingers on the screen, as the operating system reports it."""
    page.client.send(
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]},
    )


@pytest.fixture
def phone(desk_at: Callable[..., Desk]) -> Desk:
    desk = desk_at(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    desk.page.client = desk.page.context.new_cdp_session(desk.page)
    return desk


def test_draws_with_a_finger(phone: Desk, server: Any, shot: Callable[..., None]) -> None:
    phone.open(server)
    touches(phone.page, "touchStart", phone.screen(100, 100))
    touches(phone.page, "touchMove", phone.screen(200, 200))
    touches(phone.page, "touchMove", phone.screen(400, 300))
    touches(phone.page, "touchEnd")
    phone.stores((100, 100, 400, 300))
    shot(phone.page, "annotate-phone")
    # Its corner, taken with a finger's width of tolerance.
    touches(phone.page, "touchStart", phone.screen(410, 310))
    touches(phone.page, "touchMove", phone.screen(460, 390))
    touches(phone.page, "touchEnd")
    phone.stores((100, 100, 450, 380))
    phone.page.get_by_role("button", name="Delete the selected box").click()
    phone.stores()


def test_two_fingers_zoom_and_pan_but_do_not_draw(phone: Desk, server: Any) -> None:
    phone.open(server)
    x, y = phone.screen(320, 240)
    touches(phone.page, "touchStart", (x - 40, y))
    touches(phone.page, "touchMove", (x - 42, y))
    touches(phone.page, "touchStart", (x - 42, y), (x + 40, y))
    for step in range(1, 6):
        touches(phone.page, "touchMove", (x - 42 - 10 * step, y), (x + 40 + 10 * step, y))
    touches(phone.page, "touchEnd")
    shown = phone.page.evaluate("document.querySelector('.zoom').textContent")
    assert int(shown.rstrip("%")) > 100, shown
    assert phone.listed == []
    assert phone.record().version == phone.record("photo-004.jpg").version
    # The image point between the fingers stayed there: what is drawn now is twice as fine.
    touches(phone.page, "touchStart", (x, y))
    touches(phone.page, "touchMove", (x + 60, y + 60))
    touches(phone.page, "touchEnd")
    phone.saved()
    ((x0, y0, x1, y1),) = phone.boxes()
    assert abs(x0 - 320) <= 3
    assert abs(y0 - 240) <= 1
    assert x1 - x0 == y1 - y0 < 60


def test_draws_with_the_keyboard(desk: Desk, server: Any) -> None:
    desk.open(server)
    desk.press("b")
    (placed,) = desk.listed
    desk.saved()
    x0, y0, x1, y1 = desk.boxes()[0]
    assert abs((x0 + x1) / 2 - WIDTH / 2) <= 1, placed
    for _ in range(3):
        desk.press("Control+ArrowRight")
    for _ in range(2):
        desk.press("Control+ArrowUp")
    for _ in range(5):
        desk.press("Control+Shift+ArrowRight")
    desk.press("Control+Shift+ArrowUp")
    desk.stores((x0 + 3, y0 - 2, x1 + 8, y1 - 3))
    # One more box, and the first one again, by its numbers.
    desk.press("b")
    for _ in range(80):
        desk.press("ArrowRight")
    desk.saved()
    second = desk.boxes()[1]
    assert second[2] == WIDTH
    desk.press("[")
    left = desk.page.get_by_label("Left edge in pixels")
    left.focus()
    desk.press("Control+a")
    desk.page.keyboard.type("17")
    desk.press("Tab")
    desk.stores((17, y0 - 2, x1 + 8, y1 - 3), second)
    desk.page.get_by_role("listbox", name="Boxes").focus()
    desk.press("ArrowDown", "Delete")
    desk.stores((17, y0 - 2, x1 + 8, y1 - 3))
    # Held arrows are one change each way.
    desk.press("Control+z", "Control+z")
    desk.saved()
    assert desk.boxes()[0][0] == x0 + 3


def toast(desk: Desk, text: str) -> None:
    """Wait until the page says something to those who see and to those who hear."""
    desk.page.locator(".toast:visible").get_by_text(text, exact=True).wait_for()
    desk.page.locator("#announcements").get_by_text(text).first.wait_for(state="attached")


# -- deciding ---------------------------------------------------------------------------------------------------------


def test_decides_with_one_key(desk: Desk, server: Any) -> None:
    desk.open(server)
    desk.press("Enter")  # nothing drawn: stays
    assert desk.image == "photo-000.jpg"
    desk.drag((10, 10), (60, 60))
    desk.press("Enter")
    desk.ready("photo-001.jpg")
    desk.press("a")
    desk.ready("photo-002.jpg")
    desk.press("s")
    desk.ready("photo-003.jpg")
    desk.press("n")
    desk.ready("photo-004.jpg")
    desk.press("a")
    desk.saved()
    desk.press("j")  # around the end, to the only one left
    desk.ready("photo-003.jpg")
    states = [desk.record(f"photo-00{i}.jpg").state for i in range(5)]
    assert states == ["boxed", "authentic", "skipped", "todo", "authentic"]
    assert desk.boxes() == [(10, 10, 60, 60)]
    desk.page.locator(".stats").get_by_text("3 of 5").wait_for()
    assert "1.5 h" in desk.page.locator(".stats").inner_text()  # four images have a time, 23 minutes each
    # Authentic removes boxes, and says how to get them back.
    desk.press("PageUp", "PageUp", "PageUp")
    desk.ready("photo-000.jpg")
    desk.press("a")
    desk.ready("photo-001.jpg")
    desk.page.locator(".toast").get_by_role("button", name="Undo").click()
    desk.ready("photo-000.jpg")
    desk.stores((10, 10, 60, 60))


def test_a_decision_is_about_the_image_in_sight(desk: Desk, server: Any) -> None:
    """A key struck twice decides once: the next image has not been seen yet."""
    desk.open(server)
    desk.page.evaluate(
        "for (const key of ['a', 's', 'a']) document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', { key, bubbles: true }))"
    )
    desk.ready("photo-001.jpg")
    desk.saved()
    assert desk.record("photo-000.jpg").label == "authentic"
    assert desk.record("photo-001.jpg").state == "todo"
    desk.press("s")
    desk.ready("photo-002.jpg")
    desk.saved()
    assert desk.record("photo-001.jpg").state == "skipped"


def test_shows_the_image_that_was_gone_to_while_others_are_looked_up(
    desk: Desk, server: Any, wait_until: Callable[..., Any]
) -> None:
    """What is fetched ahead of an image that was left must not take the pictures of the present one away."""
    page = desk.page
    names: list[Any] = []
    pictures: list[Any] = []
    page.route("**/api/next*", lambda route: names.append(route))
    desk.open(server, "photo-002.jpg")
    wait_until(lambda: page.wait_for_timeout(20) or names, what="the page does not look ahead")
    page.route("**/api/picture?image=photo-000.jpg*", lambda route: pictures.append(route))
    page.goto(f"{server}/#/annotate?image=photo-000.jpg")
    wait_until(lambda: page.wait_for_timeout(20) or len(pictures) == 2, what="not both sizes are asked for")
    page.unroute("**/api/next*")
    for route in names:
        route.continue_()
    page.wait_for_timeout(300)  # what would be given up wrongly, would be by now
    for route in pictures:
        route.continue_()
    desk.ready("photo-000.jpg")
    desk.drag((100, 50), (300, 200))
    desk.stores((100, 50, 300, 200), image="photo-000.jpg")


def test_filters_by_state_and_name(desk: Desk, server: Any) -> None:
    desk.open(server)
    rows = desk.page.locator(".image-row:visible")
    desk.press("a")
    desk.ready("photo-001.jpg")
    desk.press("s")
    desk.ready("photo-002.jpg")
    desk.saved()
    desk.page.get_by_label("Show images").select_option("todo")
    desk.page.get_by_text("1 of 3 images").wait_for()
    desk.press("n")
    desk.ready("photo-003.jpg")
    desk.press("a")
    desk.ready("photo-004.jpg")
    desk.page.get_by_text("2 of 2 images").wait_for()  # what is done leaves the list
    desk.press("n")  # the end
    desk.page.get_by_text("This is the last image of the list.").first.wait_for()
    desk.press("p")
    desk.ready("photo-002.jpg")
    desk.page.get_by_label("Show images").select_option("")
    desk.press("/")
    desk.page.keyboard.type("003")
    desk.page.get_by_text("1 image", exact=True).wait_for()
    assert rows.count() == 1
    desk.press("Escape", "l", "Enter")
    desk.ready("photo-003.jpg")
    assert rows.count() == 1  # Escape keeps what was searched for
    assert desk.page.get_by_label("Find images by name").input_value() == "003"
    assert rows.first.get_attribute("aria-label") == "photo-003.jpg, authentic"
    desk.press("/", "Control+a")
    desk.page.keyboard.type("nowhere")
    desk.press("Enter")
    toast(desk, "No image matches.")
    desk.press("Control+a")
    desk.page.keyboard.type("photo")
    desk.press("Enter")  # the first hit, and keys are for the picture again
    desk.ready("photo-000.jpg")
    desk.press("n")
    desk.ready("photo-001.jpg")


def test_skips_no_image_with_boxes(desk: Desk, server: Any) -> None:
    desk.open(server)
    desk.drag((10, 10), (60, 60))
    desk.press("s")
    toast(desk, "This image has boxes: delete them first, or press Enter.")
    desk.saved()
    assert desk.image == "photo-000.jpg"
    assert desk.record().state == "boxed"
    desk.press("Control+z", "s")
    desk.ready("photo-001.jpg")
    desk.saved()
    assert desk.record().state == "skipped"


def test_says_why_a_key_does_nothing(desk: Desk, server: Any) -> None:
    desk.open(server)
    for key, text in (
        ("Control+z", "Nothing to undo."),
        ("Control+y", "Nothing to redo."),
        ("y", "This server has no student model."),
    ):
        desk.press(key)
        toast(desk, text)


def test_tells_of_an_accepted_mask(desk: Desk, server: Any) -> None:
    """Boxes that are changed leave the acceptance without its boxes; one is told, and can go back."""
    pytest.importorskip("cv2")
    from boxpromptiml.pseudolabels import store_correction

    desk.open(server)
    desk.drag((200, 150), (400, 300))
    desk.press("n")
    desk.ready("photo-001.jpg")
    desk.stores((200, 150, 400, 300))
    with Dataset.open(desk.folder) as dataset:
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        store_correction(dataset, "photo-000.jpg", mask, expected_version=desk.record().version)
    badge = desk.page.locator(".mask-badge")
    assert not badge.is_visible()
    desk.page.reload()
    desk.ready()
    desk.page.goto(f"{server}/#/annotate?image=photo-000.jpg")
    desk.ready("photo-000.jpg")
    badge.get_by_text("mask accepted", exact=True).wait_for()
    desk.drag((300, 225), (310, 215))
    toast(desk, "The mask that was accepted is of other boxes now")
    desk.stores((210, 140, 410, 290))
    badge.get_by_text("mask of other boxes").wait_for()
    desk.page.locator(".toast").get_by_role("button", name="Undo").click()
    desk.stores((200, 150, 400, 300))
    badge.get_by_text("mask accepted", exact=True).wait_for()
    assert desk.record().review == "accepted"
    desk.press("[", "Delete")
    toast(desk, "Box 1 deleted. The mask that was accepted is of other boxes now")


def test_a_true_mask_contradicts_authentic(desk: Desk, server: Any, folder: Path) -> None:
    """The server refuses; what was said before stands, and other changes are sent."""
    desk.open(server)
    desk.drag((10, 10), (100, 100))
    desk.stores((10, 10, 100, 100))
    Image.new("L", (WIDTH, HEIGHT), 255).save(folder.parent / "truth.png")
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get("photo-000.jpg"), mask="../truth.png"))
    desk.page.reload()
    desk.ready("photo-000.jpg")
    desk.drag((200, 200), (300, 300))
    desk.press("a")
    desk.ready("photo-001.jpg")
    desk.drag((20, 20), (50, 50))
    desk.page.locator(".toast").get_by_text("Not saved. photo-000.jpg: has a true mask").wait_for()
    desk.stores((10, 10, 100, 100), (200, 200, 300, 300))
    desk.stores((20, 20, 50, 50), image="photo-001.jpg")
    desk.saved()
    desk.page.locator(".toast").get_by_role("button", name="Show").click()
    desk.ready("photo-000.jpg")
    assert len(desk.listed) == 2
    assert desk.record().label == "tampered"


def test_an_imported_label_outlives_its_boxes(desk: Desk, server: Any, folder: Path) -> None:
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get("photo-000.jpg"), label="tampered"))
    desk.open(server)
    desk.drag((10, 10), (100, 100))
    desk.stores((10, 10, 100, 100))
    desk.page.reload()
    desk.ready("photo-000.jpg")
    desk.press("]", "Delete")
    desk.stores()
    assert (desk.record().label, desk.record().state) == ("tampered", "todo")


# -- never losing a box -----------------------------------------------------------------------------------------------


def test_survives_the_servers_death(desk: Desk, server: Any, wait_until: Callable[..., Any], shot: Any) -> None:
    desk.open(server)
    desk.drag((10, 20), (110, 140))
    desk.stores((10, 20, 110, 140))
    before = desk.record()
    server.stop(signal.SIGKILL)
    desk.drag((200, 200), (300, 320))
    desk.drag((400, 100), (500, 160))
    wait_until(lambda: desk.state == "offline")
    assert "1 change waiting" in desk.page.locator(".save-state").inner_text()
    desk.press("Control+z")
    desk.press("Enter")  # the next image is there already: it was fetched ahead
    desk.ready("photo-001.jpg")
    desk.drag((7, 8), (90, 100))
    wait_until(lambda: "2 changes waiting" in desk.page.locator(".save-state").inner_text())
    shot(desk.page, "annotate-offline")
    row = desk.page.locator(".image-row:visible", has_text="photo-000.jpg")
    assert row.get_attribute("aria-label") == "photo-000.jpg, 2 boxes"  # what was drawn offline, too
    assert row.locator(".badge").inner_text() == "2 boxes"
    assert desk.record() == before
    server.restart()
    desk.saved()
    desk.stores((10, 20, 110, 140), (200, 200, 300, 320))
    desk.stores((7, 8, 90, 100), image="photo-001.jpg")
    assert desk.page.evaluate("Object.keys(localStorage).filter((key) => key.includes('journal'))") == []


@pytest.mark.torture
def test_no_box_is_lost_while_the_server_dies_again_and_again(desk: Desk, server: Any) -> None:
    desk.open(server)
    expected = []
    for turn in range(6):
        box = (10 + 50 * turn, 20, 50 + 50 * turn, 300 + turn)
        desk.drag(box[:2], box[2:])
        expected.append(box)
        server.stop(signal.SIGKILL)  # at once: the request may be on its way
        server.restart()
    desk.saved()
    assert desk.boxes() == expected


def test_survives_the_browsers_death(desk: Desk, server: Any) -> None:
    """Both ends die before anything is sent; the change comes back with the next page of this browser."""
    desk.open(server)
    server.stop(signal.SIGKILL)
    desk.drag((11, 22), (133, 144))
    desk.page.close()
    server.restart()
    assert desk.boxes() == []
    again = desk.tab()
    again.open(server, "photo-000.jpg")
    again.saved()
    again.stores((11, 22, 133, 144))
    assert len(again.listed) == 1


def test_another_dataset_at_the_same_address_gets_nothing(
    desk: Desk, live_server: Any, folder: Path, make_photos: Any, wait_until: Callable[..., Any]
) -> None:
    """Both have an image of that name and version; the box waits in the browser for the dataset that it is of."""
    other = folder.with_name("other")
    make_photos(other, 5, WIDTH, HEIGHT)
    server = live_server(folder, teacher="none", model="none")
    desk.open(server)
    server.stop()
    desk.drag((10, 20), (110, 140))
    wait_until(lambda: desk.state == "offline")
    second = live_server(other, teacher="none", model="none", port=server.rsplit(":", 1)[1])
    wait_until(lambda: desk.state == "elsewhere")
    assert desk.page.locator(".save-state").inner_text() == "Another dataset is served here · 1 change waiting"
    desk.press("Enter")  # was fetched ahead
    desk.ready("photo-001.jpg")
    desk.drag((30, 40), (200, 250))
    wait_until(lambda: "2 changes waiting" in desk.page.locator(".save-state").inner_text())
    desk.page.reload()
    desk.ready()
    assert desk.page.locator("#dataset-name").inner_text() == "other"
    desk.saved()
    with Dataset.open(other) as dataset:
        assert {record.version for record in dataset.records()} == {1}
    second.stop()
    server.restart()
    desk.page.reload()
    desk.stores((10, 20, 110, 140))
    desk.stores((30, 40, 200, 250), image="photo-001.jpg")


def test_thumbnails_are_of_the_dataset_that_is_served(
    desk: Desk, live_server: Any, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 255)).save(other / "photo-000.jpg")
    colour = """() => {
      const context = new OffscreenCanvas(1, 1).getContext("2d");
      context.drawImage(document.querySelector(".image-row .thumb.loaded"), 0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    }"""
    server = live_server(folder, teacher="none", model="none")
    desk.open(server)
    desk.page.wait_for_selector(".thumb.loaded")
    assert desk.page.evaluate(colour)[0] > 50
    server.stop()
    live_server(other, teacher="none", model="none", port=server.rsplit(":", 1)[1])
    page = desk.page.context.new_page()
    page.goto(f"{server}/")
    page.wait_for_selector(".thumb.loaded")
    red, _, blue, _ = page.evaluate(colour)
    assert (red < 20, blue > 200) == (True, True)


def test_says_where_the_browser_keeps_nothing(desk: Desk, server: Any, wait_until: Callable[..., Any]) -> None:
    desk.open(server)
    desk.page.evaluate(
        """() => {
          for (let text = "x".repeat(2 ** 20), i = 0; text; i += 1) {
            try { localStorage.setItem(`full${i}`, text); } catch { text = text.slice(0, text.length >> 1); }
          }
        }"""
    )
    server.stop()
    desk.drag((11, 22), (133, 144))
    wait_until(lambda: desk.state == "offline")
    state = desk.page.locator(".save-state")
    assert state.inner_text() == "Offline · 1 change waiting in this page only"
    assert "This browser has no room to keep them" in (state.get_attribute("title") or "")
    asked: list[str] = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    desk.page.on("dialog", stay)
    desk.page.evaluate("setTimeout(() => location.reload())")
    wait_until(lambda: desk.page.wait_for_timeout(20) or asked)
    assert asked == ["beforeunload"]
    server.restart()
    desk.saved()
    assert desk.boxes() == [(11, 22, 133, 144)]
    desk.page.reload()
    assert asked == ["beforeunload"]


def test_sends_what_is_new_when_the_page_is_left(desk: Desk, server: Any) -> None:
    desk.open(server)
    desk.drag((30, 40), (200, 250))
    desk.page.goto("about:blank")  # sooner than the change would have been sent
    desk.stores((30, 40, 200, 250))
    assert desk.record().seconds > 0


def test_counts_seconds_once_when_answers_are_lost(desk: Desk, server: Any, wait_until: Callable[..., Any]) -> None:
    """The server stores a change, its answer does not arrive: the repetition is no conflict and adds no time."""
    sent = []

    def lose_the_answer(route: Route) -> None:
        if route.request.method == "PUT" and len(sent) < 3:
            sent.append(route.request.post_data_json)
            route.fetch()
            route.abort()
        else:
            route.continue_()

    # Before the page is there: one that is busy may take no notice of a route until after its next request.
    desk.page.route("**/api/record*", lose_the_answer)
    desk.open(server)
    desk.drag((30, 40), (200, 250))
    wait_until(lambda: desk.state == "saved" and len(sent) == 3)  # asking the page lets the routes run
    desk.saved()
    assert sent[0] == sent[1] == sent[2]
    assert desk.boxes() == [(30, 40, 200, 250)]
    assert desk.record().seconds == pytest.approx(sent[0]["add_seconds"])
    assert desk.page.locator("dialog[open]").count() == 0


@pytest.mark.parametrize(
    ("choice", "stays"),
    [
        ("Keep mine", [(200, 200, 300, 300)]),
        ("Take theirs", [(10, 10, 100, 100)]),
        ("Keep both: 2 boxes", [(10, 10, 100, 100), (200, 200, 300, 300)]),
    ],
)
def test_two_people_change_one_image(
    desk_at: Callable[..., Desk], server: Any, choice: str, stays: list[Any], shot: Callable[..., None]
) -> None:
    anna, ben = desk_at(), desk_at(color_scheme="dark")
    anna.open(server)
    ben.open(server)
    anna.drag((10, 10), (100, 100))
    anna.stores((10, 10, 100, 100))
    ben.drag((200, 200), (300, 300))
    dialog = ben.page.get_by_role("dialog", name="Somebody else changed this image")
    dialog.wait_for()
    for text in ("10, 10, 100, 100", "200, 200, 300, 300"):
        dialog.get_by_text(text).wait_for()
    shot(ben.page, "annotate-conflict-dark")
    ben.press("Escape", "n")  # there is no way around the choice
    assert ben.boxes() == [(10, 10, 100, 100)]
    dialog.get_by_role("button", name=choice).click()
    ben.saved()
    ben.stores(*stays)
    edges = [(label or "").split(": ")[1] for label in ben.listed]
    assert edges == ["left {}, top {}, right {}, bottom {}".format(*box) for box in stays]
    ben.press("n")
    ben.ready("photo-001.jpg")


@pytest.mark.parametrize("leave", ["n", "another tab"])
def test_who_only_looks_on_is_asked_nothing_about_a_colleague_s_boxes(
    desk_at: Callable[..., Desk], server: Any, leave: str
) -> None:
    """The time of a visit is told when it ends; it is added to what a colleague has made of the image meanwhile."""
    anna, ben = desk_at(), desk_at()
    anna.open(server)
    anna.drag((10, 10), (100, 100))
    anna.stores((10, 10, 100, 100))
    ben.open(server, "photo-000.jpg")
    ben.drag((200, 200), (300, 300))
    ben.stores((10, 10, 100, 100), (200, 200, 300, 300))
    before = ben.record().seconds or 0.0
    anna.page.mouse.move(500, 400)
    anna.page.wait_for_timeout(300)
    if leave == "n":
        anna.press("n")
        anna.ready("photo-001.jpg")
    else:
        hidden = "Object.defineProperty(document, 'hidden', { value: true, configurable: true })"
        anna.page.evaluate(f"{hidden}; document.dispatchEvent(new Event('visibilitychange'))")
    anna.page.wait_for_timeout(600)
    anna.saved()
    assert anna.page.locator("dialog[open]").count() == 0
    assert anna.boxes() == [(10, 10, 100, 100), (200, 200, 300, 300)]
    assert (anna.record().seconds or 0.0) > before
    if leave == "n":
        anna.press("p")
        anna.ready("photo-000.jpg")
    assert len(anna.listed) == 2


def test_a_key_meant_for_the_picture_decides_no_conflict(desk_at: Callable[..., Desk], server: Any) -> None:
    """Who draws on, Enter by Enter, does not overwrite a colleague's boxes by the way."""
    anna, ben = desk_at(), desk_at()
    anna.open(server)
    ben.open(server)
    anna.drag((10, 10), (100, 100))
    anna.stores((10, 10, 100, 100))
    ben.drag((200, 200), (300, 300))
    ben.press("Enter")
    dialog = ben.page.get_by_role("dialog", name="Somebody else changed this image")
    dialog.wait_for()
    ben.press("Enter", "Tab", "Enter", " ")  # at once
    dialog.get_by_role("button", name="Keep mine", disabled=False).wait_for()
    ben.press("Enter", " ")  # and later: no choice has the focus
    ben.page.wait_for_timeout(500)
    assert dialog.is_visible()
    assert anna.boxes() == [(10, 10, 100, 100)]
    ben.press("Tab", "Tab", "Enter")  # on purpose
    ben.saved()
    assert anna.boxes() == [(10, 10, 100, 100)]
    assert not dialog.is_visible()


def test_another_version_of_the_same_boxes_is_no_conflict(desk: Desk, server: Any) -> None:
    desk.open(server)
    with Dataset.open(desk.folder) as dataset:
        dataset.set_splits({"photo-000.jpg": "train"})
    desk.drag((10, 10), (100, 100))
    desk.stores((10, 10, 100, 100))
    assert desk.record().split == "train"


# -- many images ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_buttons_say_fits_into_them(desk: Desk, server: Any) -> None:
    desk.open(server)
    wider = (
        "() => [...document.querySelectorAll('.actions button')].filter((b) => b.scrollWidth > b.clientWidth).length"
    )
    rows = "() => new Set([...document.querySelectorAll('.actions button')].map((b) => b.offsetTop)).size"
    for width in (800, 900, 1000, 1100, 1200, 1280, 1600):
        desk.page.set_viewport_size({"width": width, "height": 800})
        assert (width, desk.page.evaluate(wider)) == (width, 0)
        assert width < 1000 or desk.page.evaluate(rows) == 1, width


def test_scrolls_through_100_000_images(desk: Desk, live_server: Any, folder: Path) -> None:
    with Dataset.create(folder) as dataset:
        dataset.put(ImageRecord(f"photo-{i:06}.jpg", WIDTH, HEIGHT) for i in range(100_000))
    server = live_server(folder, teacher="none")
    desk.open(server, "photo-000.jpg")
    desk.page.get_by_text("of 100,005 images").wait_for()
    milliseconds = desk.page.evaluate(
        """async () => {
          const list = document.querySelector(".virtual-list");
          const frames = [];
          let last = performance.now();
          for (let i = 0; i <= 60; i++) {
            list.scrollTop = (list.scrollHeight - list.clientHeight) * i / 60;
            await new Promise(requestAnimationFrame);
            frames.push(performance.now() - last);
            last = performance.now();
          }
          const name = () => [...list.querySelectorAll(".image-row")].some((row) => row.title === "photo-099999.jpg");
          while (!name()) await new Promise(requestAnimationFrame);
          return [Math.max(...frames.slice(1)), performance.now() - last];
        }"""
    )
    worst_frame, until_names = milliseconds
    assert worst_frame < 250, milliseconds  # two cores, shared with the server and with other tests
    assert until_names < 1500, milliseconds
    assert desk.page.locator(".image-row").count() < 60
    # By keyboard to the first one again, and open it.
    desk.press("l", "Home", "ArrowDown", "Enter")
    desk.page.get_by_text("can't be shown").wait_for()  # photo-000000.jpg has no file
    assert "photo-000000.jpg" in desk.page.locator(".image-name").inner_text()


def test_tells_long_names_apart(desk: Desk, live_server: Any, tmp_path: Path, shot: Callable[..., None]) -> None:
    """A name is cut in its middle: those of a dataset often differ only at their end."""
    names = [f"Tp_D_CND_M_N_ani00018_sec00096_{number:05}.jpg" for number in (138, 139)]
    for name in names:
        (tmp_path / "long").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "gray").save(tmp_path / "long" / name)
    desk.open(live_server(tmp_path / "long", teacher="none"))
    shot(desk.page, "annotate-long-names")
    rows = desk.page.locator(".image-row:visible")
    for index, name in enumerate(names):
        assert rows.nth(index).locator(".name").text_content() == name
        tail = rows.nth(index).locator(".name-tail")
        assert (tail.text_content() or "").endswith(name[-9:])
        whole, right = tail.evaluate(
            "tail => [tail.scrollWidth <= tail.clientWidth, "
            "tail.getBoundingClientRect().right <= tail.closest('.image-row').getBoundingClientRect().right]"
        )
        assert whole
        assert right


# -- for everybody ----------------------------------------------------------------------------------------------------


def test_every_control_has_a_name_and_can_be_reached(desk: Desk, server: Any, shot: Callable[..., None]) -> None:
    desk.open(server)
    desk.drag((10, 10), (100, 100))
    nameless = desk.page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, [role=listbox], [role=application]")]
          .filter((one) => one.checkVisibility())
          .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    reached = set()
    desk.page.locator("body").focus()
    for _ in range(60):
        desk.press("Tab")
        reached.add(
            desk.page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
        )
    for name in ("Picture", "Images", "Boxes", "Left edge in pixels", "Find images by name"):
        assert any(name in label or "photo-000.jpg, 640" in label for label in reached), (name, reached)
    assert any(label.startswith("photo-000.jpg, 640 by 480") for label in reached)
    desk.press("?")
    dialog = desk.page.get_by_role("dialog", name="Keyboard shortcuts")
    dialog.get_by_text("authentic, next image").wait_for()
    shot(desk.page, "annotate-shortcuts")
    desk.press("a", "?")
    assert not dialog.is_visible()
    desk.saved()
    assert desk.boxes() == [(10, 10, 100, 100)]
    desk.page.get_by_role("button", name="Theme").click()
    desk.page.get_by_role("button", name="Theme: light").click()
    assert desk.page.evaluate("document.documentElement.dataset.theme") == "dark"
    shot(desk.page, "annotate-dark")


def test_says_what_happens(desk: Desk, server: Any) -> None:
    """What a screen reader reads out: the image, the box, the server's absence."""
    desk.open(server)
    spoken = desk.page.locator("#announcements")
    spoken.get_by_text("photo-000.jpg, to do").wait_for()
    desk.press("b")
    spoken.get_by_text("Box 1: left").wait_for()
    desk.press("n")
    spoken.get_by_text("photo-001.jpg, to do").wait_for()
    server.stop(signal.SIGKILL)
    desk.press("b")
    spoken.get_by_text("The server does not answer").wait_for()


def test_works_with_a_token(desk: Desk, live_server: Any, folder: Path) -> None:
    server = live_server(folder, teacher="none", token="a-long-secret-of-somebody")
    desk.page.goto(server.printed)
    desk.ready()
    assert "secret" not in desk.page.url
    desk.drag((10, 10), (100, 100))
    desk.stores((10, 10, 100, 100))
    desk.page.reload()
    desk.ready("photo-000.jpg")
    desk.page.wait_for_selector(".thumb.loaded")


def test_a_read_only_server_changes_nothing(desk: Desk, live_server: Any, folder: Path) -> None:
    Dataset.create(folder).close()
    server = live_server(folder, teacher="none")
    server.stop()
    server = live_server(folder, teacher="none", read_only=True)
    desk.open(server)
    desk.drag((10, 10), (100, 100))
    desk.press("b", "a", "s")
    assert desk.image == "photo-000.jpg"
    assert desk.listed == []
    desk.press("n")
    desk.ready("photo-001.jpg")
    assert desk.record().state == "todo"


# -- help -------------------------------------------------------------------------------------------------------------


def colour_at(page: Page, x: float, y: float) -> list[int]:
    """The colour of one point of the window."""
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    return shot[round(y), round(x)].tolist()


def test_shows_the_teachers_mask(desk: Desk, live_server: Any, folder: Path, shot: Callable[..., None]) -> None:
    desk.open(live_server(folder, teacher="grabcut"))
    inside, outside = desk.screen(240, 180), desk.screen(140, 100)  # of the red rectangle, both in the box
    before = colour_at(desk.page, *inside), colour_at(desk.page, *outside)
    desk.drag((120, 80), (360, 280))
    desk.press("Escape")
    desk.page.mouse.move(5, 5)
    desk.page.locator(".assist .note").filter(has_text=re.compile(r"^(Box 1: [a-z].*\.|[0-9.]+ s)$")).wait_for()
    desk.page.wait_for_timeout(100)
    shot(desk.page, "annotate-mask")
    assert colour_at(desk.page, *inside) != before[0]
    assert colour_at(desk.page, *outside) == before[1]
    desk.press("t")
    assert colour_at(desk.page, *inside) == before[0]
    desk.press("t", "n")
    desk.ready("photo-001.jpg")


def test_takes_the_students_suggestion_over(
    desk: Desk, live_server: Any, folder: Path, red_model: Path, shot: Callable[..., None]
) -> None:
    desk.open(live_server(folder, teacher="none", model=red_model))
    desk.press("h")
    take = desk.page.get_by_role("button", name="Take over as boxes")
    take.wait_for()
    shot(desk.page, "annotate-suggestion")
    desk.press("y")
    desk.saved()
    found = desk.boxes()
    assert found
    x0, y0, x1, y1 = found[0]
    assert x0 <= 200 < 280 <= x1, found  # around the red rectangle (160, 120) - (320, 240)
    assert y0 <= 150 < 210 <= y1, found
    assert not take.is_visible()
    desk.press("Control+z")
    desk.stores()
