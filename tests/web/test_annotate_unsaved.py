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

    from conftest import Desk

# Over plain HTTP from another host a page has none; elsewhere a browser may refuse them.
NO_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"
REFUSED = "LockManager.prototype.%s = () => Promise.reject(new DOMException('denied', 'SecurityError'))"
WITHOUT_LOCKS = pytest.mark.parametrize(
    "locks",
    [
        NO_LOCKS,
        pytest.param(REFUSED % "request", marks=pytest.mark.torture),
        pytest.param(REFUSED % "query", marks=pytest.mark.torture),
    ],
)
NO_STORAGE = """for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
}"""
TOKEN, OTHER_TOKEN = "a-token-of-many-letters", "another-token-of-many-letters"
KEYS = "Object.keys(localStorage).filter((key) => /boxpromptiml.(journal|alive)/.test(key))"
SEEN_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
FIRST = "photo-000.jpg"
MIDDLE = (240, 180, 400, 300)  # the box that B makes


def refuse_puts(page: Page, answer: Callable[[Route], None]) -> None:
    """Treat what the page sends; what it asks for gets through."""
    page.route("**/api/record?*", lambda route: answer(route) if route.request.method == "PUT" else route.continue_())


def leave_unsaved(desk: Desk, server: Any) -> None:
    """Draw a box that the server, which is gone, never hears of, and leave the page; the server is back then."""
    server.stop(signal.SIGKILL)
    desk.press("b")
    desk.becomes("offline")
    desk.page.close()
    server.restart()


# -- left behind by a page ---------------------------------------------------------------------------------------------


@WITHOUT_LOCKS
def test_a_change_is_taken_over_at_once_where_there_are_no_locks(desk: Desk, server: Any, locks: str) -> None:
    desk.page.context.add_init_script(locks)
    desk.open(server, FIRST)
    leave_unsaved(desk, server)
    again = desk.tab()
    again.open(server, FIRST)
    again.saved()
    assert len(again.listed) == 1
    assert desk.boxes() == [MIDDLE]
    assert again.page.evaluate(KEYS) == []


@WITHOUT_LOCKS
def test_a_living_page_keeps_what_it_has_and_a_dead_ones_is_taken_over(desk: Desk, server: Any, locks: str) -> None:
    desk.page.context.add_init_script(locks)
    refuse_puts(desk.page, lambda route: route.abort())
    desk.open(server, FIRST)
    desk.press("b")
    desk.becomes("offline")
    other = desk.tab()
    other.open(server, FIRST)
    other.page.evaluate(SEEN_AGAIN)
    other.saved()
    assert len(other.listed) == 0
    sign, entry = sorted(other.page.evaluate(KEYS))
    assert sign.split("/")[1] in entry
    kept = other.page.evaluate("(key) => localStorage.getItem(key)", entry)
    # The other one ends without a word: its entry stays, its last sign gets old.
    desk.page.close()
    other.page.evaluate(
        """([sign, entry, kept]) => {
          localStorage.setItem(entry, kept);
          localStorage.setItem(sign, Date.now() - 1);
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        [sign, entry, kept],
    )
    # It is seen at once, and what is drawn now goes on from it.
    other.page.wait_for_selector(".box-list [role=option]")
    other.press("]")
    other.press("Control+ArrowRight")
    other.press("b")
    other.page.wait_for_selector(".box-list [role=option] >> nth=1")
    other.page.wait_for_function(f"() => {KEYS}.length === 0")
    other.saved()
    assert desk.boxes() == [(241, 180, 401, 300), MIDDLE]


def test_what_has_arrived_is_never_asked_about(desk: Desk, server: Any, folder: Path) -> None:
    """A page ended before it saw the answer; the next one draws on before that page is known to be gone."""
    desk.page.context.add_init_script(NO_LOCKS)
    desk.open(server, FIRST)
    desk.press("b")
    desk.page.wait_for_function(f"() => {KEYS}.length === 0")
    assert desk.boxes() == [MIDDLE]
    with Dataset.open(folder) as dataset:
        name = desk.page.evaluate("async () => (await (await fetch('/api/session')).json()).id")
        assert dataset.get("photo-000.jpg").version == 2
    content = {"boxes": [list(MIDDLE)], "label": "tampered", "skipped": False}
    entry = {
        "image": "photo-000.jpg", "base": 1, "before": {"boxes": [], "label": None, "skipped": False}, "seconds": 0,
        "content": content, "dirty": False, "frozen": {**content, "version": 1, "add_seconds": 0.1},
    }  # fmt: skip
    desk.page.evaluate(
        """([name, entry]) => {
          localStorage.setItem("boxpromptiml.alive/gone", Date.now() + 9000);
          localStorage.setItem(`boxpromptiml.journal/${name}/gone/photo-000.jpg`, entry);
        }""",
        [name, json.dumps(entry)],
    )
    desk.press("]")
    desk.press("Control+ArrowRight")
    desk.page.wait_for_function("() => !Object.keys(localStorage).some((key) => key.includes('journal'))")
    desk.saved()
    desk.page.evaluate("localStorage.removeItem('boxpromptiml.alive/gone')")
    desk.page.reload()
    desk.ready(FIRST)
    desk.saved()
    assert desk.page.locator("dialog[open]").count() == 0
    assert desk.boxes() == [(241, 180, 401, 300)]


def test_what_is_saved_while_the_picture_comes_is_shown(desk: Desk, server: Any) -> None:
    """The record was read before a change that waited was saved, the picture comes after."""
    desk.open(server, FIRST)
    leave_unsaved(desk, server)
    again = desk.tab()
    pictures, puts = list[Any](), list[Any]()
    again.page.route("**/api/picture*", lambda route: pictures.append(route))
    refuse_puts(again.page, lambda route: puts.append(route))
    again.page.goto(f"{server}/#/annotate?image=photo-000.jpg")
    # The picture to draw on is asked for once the record is there.
    while not any("size=view" in route.request.url for route in pictures):
        again.page.wait_for_timeout(10)
    # Until nothing is left: the seconds of the last moment are sent after the box.
    while again.page.evaluate(KEYS):
        again.page.wait_for_timeout(10)
        while puts:
            puts.pop().continue_()
    again.page.unroute("**/api/picture*")
    for route in pictures:
        route.continue_()
    again.ready(FIRST)
    assert len(again.listed) == 1
    assert desk.boxes() == [MIDDLE]


def left_behind(desk: Desk, base: int, *boxes: tuple[int, ...]) -> None:
    """What a page that is gone had not sent: boxes on a version of the first photo. The page in sight may find it."""
    name = desk.page.evaluate("async () => (await (await fetch('/api/session')).json()).id")
    entry = {
        "image": FIRST, "base": base, "before": {"boxes": [], "label": None, "skipped": False}, "seconds": 0,
        "content": {"boxes": boxes, "label": "tampered", "skipped": False}, "dirty": True, "frozen": None,
    }  # fmt: skip
    key = f"boxpromptiml.journal/{name}/gone/{FIRST}"
    desk.page.evaluate("([key, entry]) => localStorage.setItem(key, entry)", [key, json.dumps(entry)])


def test_a_box_that_is_being_drawn_is_not_taken_out_of_the_hand(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    mouse = desk.page.mouse
    mouse.move(*desk.screen(20, 30))
    mouse.down()
    mouse.move(*desk.screen(100, 110))
    left_behind(desk, 1, MIDDLE)
    desk.page.evaluate(SEEN_AGAIN)
    desk.page.wait_for_timeout(300)
    assert desk.listed == []
    mouse.up()
    assert desk.listed == ["Box 1: left 20, top 30, right 100, bottom 110"]
    desk.stores((20, 30, 100, 110))
    desk.page.wait_for_function(f"() => {KEYS}.length === 1")
    # The next time it is found: by now both have changed the image, and a person decides.
    desk.page.evaluate(SEEN_AGAIN)
    desk.page.get_by_role("button", name="Keep both: 2 boxes").click()
    desk.stores((20, 30, 100, 110), MIDDLE)
    desk.page.wait_for_function(f"() => {KEYS}.length === 0")


def test_what_is_taken_over_is_one_more_change_of_the_visit(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    desk.drag((20, 30), (100, 110))
    desk.saved()
    before = desk.record()
    desk.page.wait_for_timeout(1200)
    both = ((20, 30, 100, 110), MIDDLE)
    left_behind(desk, before.version, *both)
    desk.page.evaluate(SEEN_AGAIN)
    desk.stores(*both)
    assert len(desk.listed) == 2
    desk.press("Enter")
    desk.ready("photo-001.jpg")
    desk.saved()
    assert (desk.record().seconds or 0) - (before.seconds or 0) > 1.1
    desk.press("p")
    desk.ready(FIRST)
    for left in (both[:1], ()):
        desk.press("Control+z")
        desk.stores(*left)


def test_the_page_works_where_nothing_can_be_taken_over(desk: Desk, server: Any) -> None:
    desk.page.goto(f"{server}/static/icon.svg")
    same = desk.page.evaluate(
        """async () => {
          const { Outbox } = await import("/static/js/annotate/outbox.js");
          const { sharedOutbox } = await import("/static/js/annotate/shared-outbox.js");
          Outbox.prototype.recover = async () => { throw new Error("nothing is found"); };
          const first = await sharedOutbox({}, { id: "set" });
          document.dispatchEvent(new Event("visibilitychange"));
          return first instanceof Outbox && first === (await sharedOutbox({}, { id: "set" }));
        }"""
    )
    assert same is True


# -- no storage, another token -------------------------------------------------------------------------------------


def test_the_page_works_where_the_browser_stores_nothing(
    desk: Desk, live_server: Callable[..., Any], folder: Path
) -> None:
    desk.page.context.add_init_script(NO_STORAGE)
    server = live_server(folder, teacher="none", model="none", token=TOKEN)
    desk.page.goto(server.printed)
    desk.ready(FIRST)
    assert "token" not in desk.page.url
    server.stop(signal.SIGKILL)
    desk.press("b")
    desk.becomes("offline")
    desk.page.get_by_text("1 change waiting in this page only").wait_for()
    server.restart()
    desk.stores(MIDDLE)
    for number, view in ((3, "localize"), (2, "review"), (1, "annotate")):
        desk.press(f"Alt+{number}")
        desk.page.wait_for_selector(f".view-{view}")
    desk.ready(FIRST)
    assert len(desk.listed) == 1


def test_changes_wait_where_the_server_has_another_token(
    desk: Desk, live_server: Callable[..., Any], folder: Path
) -> None:
    server = live_server(folder, teacher="none", model="none", token=TOKEN)
    desk.page.goto(server.printed)
    desk.ready(FIRST)
    server.stop()
    port = server.rsplit(":", 1)[1]
    again = live_server(folder, teacher="none", model="none", token=OTHER_TOKEN, port=port)
    desk.press("b")
    desk.becomes("locked")
    state = desk.page.locator(".save-state")
    assert state.inner_text() == "Open the server's new address · 1 change waiting"
    assert "Open the address that it printed" in (state.get_attribute("title") or "")
    desk.page.locator("#announcements", has_text="The server wants another token").wait_for()
    desk.page.wait_for_timeout(1500)  # a question would have come up
    assert desk.page.locator("dialog[open]").count() == 0
    assert desk.boxes() == []
    other = desk.tab()
    other.page.goto(again.printed)
    other.ready()
    desk.saved()
    assert desk.boxes() == [MIDDLE]


# -- refused -----------------------------------------------------------------------------------------------------------


def test_what_is_refused_does_not_keep_back_what_is_newer(desk: Desk, server: Any, folder: Path) -> None:
    held: list[Any] = []
    Image.new("L", (640, 480), 255).save(folder.parent / "truth.png")
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get("photo-000.jpg"), mask="../truth.png"))

    def answer(route: Route) -> None:
        if (route.request.post_data_json or {})["label"] == "authentic":
            held.append(route)
        else:
            route.continue_()

    refuse_puts(desk.page, answer)
    desk.open(server, FIRST)
    desk.press("b")
    desk.saved()
    desk.press("a")
    desk.ready("photo-001.jpg")
    desk.press("p")
    desk.ready(FIRST)
    while not held:
        desk.page.wait_for_timeout(10)
    desk.press("Control+z")
    desk.press("b")
    assert len(desk.listed) == 2
    held[0].continue_()  # the server refuses: a true mask contradicts it
    desk.saved()
    assert desk.page.locator("dialog[open]").count() == 0
    assert len(desk.listed) == 2
    assert desk.boxes() == [MIDDLE, MIDDLE]


def test_a_refusal_names_the_image_once_and_can_be_tried_again(desk: Desk, server: Any) -> None:
    sent: list[Any] = []

    def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        if len(sent) > 1:
            route.continue_()
        else:
            route.fulfill(status=400, json={"error": "photo-000.jpg: is refused"})

    refuse_puts(desk.page, answer)
    desk.open(server, FIRST)
    desk.press("b")
    dialog = desk.page.get_by_role("dialog", name="A change could not be saved")
    assert dialog.locator(".conflict-name").inner_text() == "photo-000.jpg: is refused."
    dialog.get_by_role("button", name="Try again").click()
    desk.saved()
    assert sent[0] == sent[1]
    assert desk.boxes() == [MIDDLE]


# -- large pictures ----------------------------------------------------------------------------------------------------


def test_a_picture_is_not_closed_before_it_was_drawn(desk: Desk, server: Any) -> None:
    desk.page.goto(f"{server}/static/icon.svg")
    closed = desk.page.evaluate(
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


def test_a_question_is_asked_without_its_picture(desk: Desk, server: Any) -> None:
    desk.page.goto(f"{server}/")
    desk.page.evaluate(
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
    desk.page.get_by_role("dialog", name="Somebody else changed this image").wait_for()
    # Whoever goes to another view is not asked there.
    desk.page.evaluate("leave.abort()")
    assert desk.page.evaluate("answer") is None
    assert desk.page.locator("dialog[open]").count() == 0
