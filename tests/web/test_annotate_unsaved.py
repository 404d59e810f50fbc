"""Changes that are not saved yet: refused, left behind by a page that is gone, or in conflict. None is lost."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route

# Over plain HTTP from another host a page has none.
NO_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"
KEYS = "Object.keys(localStorage).filter((key) => /boxpromptiml.(journal|alive)/.test(key))"
SEEN_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
MIDDLE = (240, 180, 400, 300)  # the box that B makes


@pytest.fixture
def folder(tmp_path: Path, make_photos: Callable[..., list[Path]]) -> Path:
    make_photos(tmp_path / "photos", 3)
    return tmp_path / "photos"


@pytest.fixture
def server(live_server: Callable[..., Any], folder: Path) -> Any:
    return live_server(folder, teacher="none", model="none")


def start(page: Page, server: Any, image: str = "photo-000.jpg") -> None:
    page.goto(f"{server}/#/annotate?image={image}")
    ready(page, image)


def ready(page: Page, image: str) -> None:
    page.wait_for_selector(f'.annotate .stage[data-ready="{image}"]')


def state(page: Page, name: str) -> None:
    page.wait_for_selector(f".save-state[data-state={name}]")


def listed(page: Page) -> int:
    return page.locator(".box-list [role=option]").count()


def boxes(folder: Path, image: str = "photo-000.jpg") -> list[tuple[int, ...]]:
    with Dataset.open(folder) as dataset:
        return [tuple(box) for box in dataset.get(image).boxes]


def refuse_puts(page: Page, answer: Callable[[Route], None]) -> None:
    """Treat what the page sends; what it asks for gets through."""
    page.route("**/api/record?*", lambda route: answer(route) if route.request.method == "PUT" else route.continue_())


# -- left behind by a page ---------------------------------------------------------------------------------------------


def test_a_change_is_taken_over_at_once_where_there_are_no_locks(page: Page, server: Any, folder: Path) -> None:
    page.context.add_init_script(NO_LOCKS)
    start(page, server)
    server.stop(signal.SIGKILL)
    page.keyboard.press("b")
    state(page, "offline")
    page.close()
    server.restart()
    again = page.context.new_page()
    start(again, server)
    state(again, "saved")
    assert listed(again) == 1
    assert boxes(folder) == [MIDDLE]
    assert again.evaluate(KEYS) == []


def test_a_living_page_keeps_what_it_has_and_a_dead_ones_is_taken_over(page: Page, server: Any, folder: Path) -> None:
    page.context.add_init_script(NO_LOCKS)
    refuse_puts(page, lambda route: route.abort())
    start(page, server)
    page.keyboard.press("b")
    state(page, "offline")
    other = page.context.new_page()
    start(other, server)
    other.evaluate(SEEN_AGAIN)
    state(other, "saved")
    assert listed(other) == 0
    sign, entry = sorted(other.evaluate(KEYS))
    assert sign.split("/")[1] in entry
    kept = other.evaluate("(key) => localStorage.getItem(key)", entry)
    # The other one ends without a word: its entry stays, its last sign gets old.
    page.close()
    other.evaluate(
        """([sign, entry, kept]) => {
          localStorage.setItem(entry, kept);
          localStorage.setItem(sign, Date.now() - 1);
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        [sign, entry, kept],
    )
    # It is seen at once, and what is drawn now goes on from it.
    other.wait_for_selector(".box-list [role=option]")
    other.keyboard.press("]")
    other.keyboard.press("Control+ArrowRight")
    other.keyboard.press("b")
    other.wait_for_selector(".box-list [role=option] >> nth=1")
    other.wait_for_function(f"() => {KEYS}.length === 0")
    state(other, "saved")
    assert boxes(folder) == [(241, 180, 401, 300), MIDDLE]


def test_what_has_arrived_is_never_asked_about(page: Page, server: Any, folder: Path) -> None:
    """A page ended before it saw the answer; the next one draws on before that page is known to be gone."""
    page.context.add_init_script(NO_LOCKS)
    start(page, server)
    page.keyboard.press("b")
    page.wait_for_function(f"() => {KEYS}.length === 0")
    assert boxes(folder) == [MIDDLE]
    with Dataset.open(folder) as dataset:
        name = page.evaluate("async () => (await (await fetch('/api/session')).json()).id")
        assert dataset.get("photo-000.jpg").version == 2
    content = {"boxes": [list(MIDDLE)], "label": "tampered", "skipped": False}
    entry = {
        "image": "photo-000.jpg", "base": 1, "before": {"boxes": [], "label": None, "skipped": False}, "seconds": 0,
        "content": content, "dirty": False, "frozen": {**content, "version": 1, "add_seconds": 0.1},
    }  # fmt: skip
    page.evaluate(
        """([name, entry]) => {
          localStorage.setItem("boxpromptiml.alive/gone", Date.now() + 9000);
          localStorage.setItem(`boxpromptiml.journal/${name}/gone/photo-000.jpg`, entry);
        }""",
        [name, json.dumps(entry)],
    )
    page.keyboard.press("]")
    page.keyboard.press("Control+ArrowRight")
    page.wait_for_function("() => !Object.keys(localStorage).some((key) => key.includes('journal'))")
    state(page, "saved")
    page.evaluate("localStorage.removeItem('boxpromptiml.alive/gone')")
    page.reload()
    ready(page, "photo-000.jpg")
    state(page, "saved")
    assert page.locator("dialog[open]").count() == 0
    assert boxes(folder) == [(241, 180, 401, 300)]


def test_what_is_saved_while_the_picture_comes_is_shown(page: Page, server: Any, folder: Path) -> None:
    """The record was read before a change that waited was saved, the picture comes after."""
    start(page, server)
    server.stop(signal.SIGKILL)
    page.keyboard.press("b")
    state(page, "offline")
    page.close()
    server.restart()
    again = page.context.new_page()
    pictures, puts = list[Any](), list[Any]()
    again.route("**/api/picture*", lambda route: pictures.append(route))
    refuse_puts(again, lambda route: puts.append(route))
    again.goto(f"{server}/#/annotate?image=photo-000.jpg")
    # The picture to draw on is asked for once the record is there.
    while not any("size=view" in route.request.url for route in pictures):
        again.wait_for_timeout(10)
    # Until nothing is left: the seconds of the last moment are sent after the box.
    while again.evaluate(KEYS):
        again.wait_for_timeout(10)
        while puts:
            puts.pop().continue_()
    again.unroute("**/api/picture*")
    for route in pictures:
        route.continue_()
    ready(again, "photo-000.jpg")
    assert listed(again) == 1
    assert boxes(folder) == [MIDDLE]


# -- refused -----------------------------------------------------------------------------------------------------------


def test_what_is_refused_does_not_keep_back_what_is_newer(page: Page, server: Any, folder: Path) -> None:
    held: list[Any] = []
    Image.new("L", (640, 480), 255).save(folder.parent / "truth.png")
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get("photo-000.jpg"), mask="../truth.png"))

    def answer(route: Route) -> None:
        if (route.request.post_data_json or {})["label"] == "authentic":
            held.append(route)
        else:
            route.continue_()

    refuse_puts(page, answer)
    start(page, server)
    page.keyboard.press("b")
    state(page, "saved")
    page.keyboard.press("a")
    ready(page, "photo-001.jpg")
    page.keyboard.press("p")
    ready(page, "photo-000.jpg")
    while not held:
        page.wait_for_timeout(10)
    page.keyboard.press("Control+z")
    page.keyboard.press("b")
    assert listed(page) == 2
    held[0].continue_()  # the server refuses: a true mask contradicts it
    state(page, "saved")
    assert page.locator("dialog[open]").count() == 0
    assert listed(page) == 2
    assert boxes(folder) == [MIDDLE, MIDDLE]


def test_a_refusal_names_the_image_once_and_can_be_tried_again(page: Page, server: Any, folder: Path) -> None:
    sent: list[Any] = []

    def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        if len(sent) > 1:
            route.continue_()
        else:
            route.fulfill(status=400, json={"error": "photo-000.jpg: is refused"})

    refuse_puts(page, answer)
    start(page, server)
    page.keyboard.press("b")
    dialog = page.get_by_role("dialog", name="A change could not be saved")
    assert dialog.locator(".conflict-name").inner_text() == "photo-000.jpg: is refused."
    dialog.get_by_role("button", name="Try again").click()
    state(page, "saved")
    assert sent[0] == sent[1]
    assert boxes(folder) == [MIDDLE]


# -- large pictures ----------------------------------------------------------------------------------------------------


def test_a_picture_is_not_closed_before_it_was_drawn(page: Page, server: Any) -> None:
    page.goto(f"{server}/static/icon.svg")
    closed = page.evaluate(
        """async () => {
          const { PictureStore } = await import("/static/js/annotate/picture-store.js");
          const closed = [];
          const picture = async (name) => ({ width: 20000, height: 20000, close: () => closed.push(name) });
          const store = new PictureStore({ picture });
          store.keep("shown");
          await store.load("shown", "full");
          await store.load("asked for", "view");
          const before = [...closed];
          await store.load("later", "view");
          return [before, closed];
        }"""
    )
    assert closed == [[], ["asked for"]]


def test_a_question_is_asked_without_its_picture(page: Page, server: Any) -> None:
    page.goto(f"{server}/")
    page.evaluate(
        """async () => {
          const { askConflict } = await import("/static/js/annotate/conflict-dialog.js");
          const picture = await createImageBitmap(new ImageData(8, 8));
          picture.close();
          const of = (box) => ({ boxes: [box], label: "tampered", skipped: false });
          const leave = new AbortController();
          const [mine, theirs] = [of([0, 0, 4, 4]), of([4, 4, 8, 8])];
          const question = { image: "a.jpg", width: 8, height: 8, mine, theirs, picture };
          window.answer = askConflict(question, leave.signal);
          window.leave = leave;
        }"""
    )
    page.get_by_role("dialog", name="Somebody else changed this image").wait_for()
    # Whoever goes to another view is not asked there.
    page.evaluate("leave.abort()")
    assert page.evaluate("answer") is None
    assert page.locator("dialog[open]").count() == 0
