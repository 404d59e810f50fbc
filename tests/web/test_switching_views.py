"""One view at a time: what was left neither takes keys nor writes, however late its answers come."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from boxpromptiml.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from conftest import Desk

FIRST = "photo-000.jpg"


class Held:
    """Requests of a page that get no answer until they are let go."""

    def __init__(self, page: Page, wait: Callable[..., Any], *parts: str) -> None:
        from playwright.sync_api import Error

        self._page, self._wait, self._routes, self._error = page, wait, list[Any](), Error
        self._on = True
        # Before the page is there: one that is busy may take no notice of a route until after its next request.
        page.route(lambda url: all(part in url for part in parts), self._hold)

    def _hold(self, route: Route) -> None:
        if self._on:
            self._routes.append(route)
        else:
            route.continue_()

    def arrive(self) -> None:
        """Wait until there is one."""

        def arrived() -> bool:
            self._page.wait_for_timeout(10)  # lets the routes run
            return bool(self._routes)

        self._wait(arrived, what="nothing was asked")

    def let_go(self) -> None:
        """Answer them all, and wait until the page has the answers."""
        self._on = False
        for route in self._routes:
            # Nobody waits for an answer any more where the page itself has ended the request.
            with contextlib.suppress(self._error):
                route.fulfill(response=route.fetch())
        # What the page does with an answer, it does before it draws twice.
        self._page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture
def hold(desk: Desk, wait_until: Callable[..., Any]) -> Callable[..., Held]:
    """A function that holds back the requests whose address has all these parts."""
    return lambda *parts: Held(desk.page, wait_until, *parts)


def versions(folder: Path) -> set[int]:
    with Dataset.open(folder) as dataset:
        return {record.version for record in dataset.records()}


@pytest.mark.parametrize("parts", [("/api/images",), ("/api/next",), ("/api/record", "photo-000"), ("/api/picture",)])
def test_a_view_that_is_left_while_it_loads_is_gone(
    desk: Desk, server: Any, folder: Path, hold: Callable[..., Held], parts: tuple[str, ...]
) -> None:
    held = hold(*parts)
    desk.page.goto(f"{server}/#/annotate")
    held.arrive()
    desk.press("Alt+3")
    desk.page.wait_for_selector(".view-localize")
    held.let_go()
    for key in ("b", "a", "n", "a"):
        desk.press(key)
    assert desk.page.evaluate("location.hash") == "#/localize"
    assert desk.page.locator(".annotate").count() == 0
    desk.press("Alt+1")
    desk.ready(FIRST)
    desk.saved()
    assert len(desk.listed) == 0
    assert versions(folder) == {1}


def test_an_old_view_that_comes_late_does_not_take_the_new_ones_place(
    desk: Desk, server: Any, hold: Callable[..., Held]
) -> None:
    held = hold("/api/images", "review=")
    desk.page.goto(f"{server}/#/review")
    held.arrive()
    desk.press("Alt+1")
    desk.ready(FIRST)
    held.let_go()
    assert desk.page.evaluate("location.hash") == "#/annotate?image=photo-000.jpg"
    desk.press("?")
    shortcuts = desk.page.locator("dialog.shortcuts")
    assert "tampered as drawn" in shortcuts.inner_text()
    desk.press("Escape")
    # It can be left as any other.
    desk.press("Alt+3")
    desk.page.wait_for_selector(".view-localize")
    desk.press("n")
    assert desk.page.evaluate("location.hash") == "#/localize"


def test_after_a_failure_there_is_one_view_only(desk: Desk, server: Any, folder: Path) -> None:
    desk.page.route("**/api/next*", lambda route: route.abort(), times=1)
    desk.page.goto(f"{server}/#/annotate")
    desk.page.get_by_role("alert").get_by_text("Annotate can't be shown").wait_for()
    desk.page.get_by_role("button", name="Try again").click()
    desk.ready(FIRST)
    desk.press("b")
    assert len(desk.listed) == 1
    desk.saved()
    desk.press("n")
    desk.ready("photo-001.jpg")
    desk.press("s")
    desk.ready("photo-002.jpg")
    desk.saved()
    with Dataset.open(folder) as dataset:
        states = {record.image: record.state for record in dataset.records()}
    assert list(states.values()) == ["boxed", "skipped", "todo", "todo", "todo"]


def test_a_view_that_did_not_arrive_is_asked_for_again(desk: Desk, server: Any) -> None:
    desk.page.goto(f"{server}/#/localize")
    desk.page.wait_for_selector(".view-localize")
    server.stop()
    desk.press("Alt+1")
    said = desk.page.get_by_role("alert")
    said.get_by_text("Annotate can't be shown").wait_for()
    assert "the server does not answer." in said.inner_text()
    server.restart()
    desk.page.get_by_role("button", name="Try again").click()
    desk.ready(FIRST)


def test_the_address_may_change_while_the_view_loads(desk: Desk, server: Any, hold: Callable[..., Held]) -> None:
    held = hold("/api/images")
    desk.page.goto(f"{server}/#/annotate?image=photo-001.jpg")
    held.arrive()
    desk.page.evaluate("location.hash = '#/annotate?image=photo-002.jpg'")
    held.let_go()
    desk.ready("photo-002.jpg")


def test_the_skip_link_leads_into_the_view_that_is_shown(desk: Desk, server: Any) -> None:
    desk.page.goto(f"{server}/#/localize")
    desk.page.wait_for_selector(".view-localize")
    desk.press("Tab")
    assert desk.page.evaluate("document.activeElement.textContent") == "Skip to the view"
    desk.press("Enter")
    assert desk.page.evaluate("document.activeElement.id") == "view"
    assert desk.page.evaluate("location.hash") == "#/localize"
    # An address that names a place in the page changes no view either.
    desk.page.evaluate("() => new Promise((done) => (addEventListener('hashchange', done), (location.hash = '#view')))")
    assert desk.page.locator(".view-localize").count() == 1
    desk.page.evaluate("location.hash = '#/annotate'")
    desk.ready(FIRST)


def test_only_the_new_line_is_read_aloud(desk: Desk, server: Any) -> None:
    desk.page.goto(f"{server}/#/annotate")
    desk.ready(FIRST)
    assert desk.page.locator("#announcements").get_attribute("aria-atomic") == "false"


def test_the_key_and_the_link_of_the_view_that_is_shown_change_nothing(desk: Desk, server: Any) -> None:
    second = "#/annotate?image=photo-001.jpg"
    desk.open(server, "photo-001.jpg")
    steps = desk.page.evaluate("history.length")
    desk.press("Alt+1")
    desk.page.locator("nav a", has_text="Annotate").click()
    # Nor does its bare address, typed.
    desk.page.evaluate("() => addEventListener('hashchange', () => (window.heard = true))")
    desk.page.evaluate("() => { location.hash = '#/annotate'; }")
    desk.page.wait_for_function("() => window.heard")
    assert desk.page.evaluate("location.hash") == second
    assert desk.image == "photo-001.jpg"
    assert desk.page.evaluate("history.length") == steps + 1


def test_a_view_is_where_it_was_left(desk: Desk, server: Any) -> None:
    desk.open(server, "photo-003.jpg")
    desk.press("a")
    desk.press("n")
    desk.ready("photo-004.jpg")
    desk.page.get_by_label("Show images").select_option("todo")
    desk.page.get_by_label("Find images by name").fill("photo-00")
    desk.page.wait_for_url("**contains=photo-00**")
    desk.press("Escape")
    desk.press("Alt+2")
    desk.page.wait_for_selector(".view-review")
    desk.press("Alt+1")
    desk.ready("photo-004.jpg")
    assert desk.page.evaluate("location.hash") == "#/annotate?state=todo&contains=photo-00&image=photo-004.jpg"
    assert desk.page.locator(".list-status").inner_text() == "4 of 4 images"
    # The address is all that it takes, for somebody else or the same one tomorrow.
    desk.page.reload()
    desk.ready("photo-004.jpg")
    desk.page.locator(".list-status", has_text="4 of 4 images").wait_for()


def test_a_name_typed_just_before_leaving_is_kept(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    desk.page.get_by_label("Find images by name").press_sequentially("01")
    desk.press("Alt+3")
    desk.page.wait_for_selector(".view-localize")
    desk.page.wait_for_timeout(400)  # of what was typed the list hears after 200 ms
    assert desk.page.evaluate("location.hash") == "#/localize"
    desk.page.locator("nav a", has_text="Annotate").click()
    desk.ready(FIRST)
    desk.page.locator(".list-status", has_text="1 image").wait_for()
    assert desk.page.evaluate("location.hash") == f"#/annotate?contains=01&image={FIRST}"


def test_an_image_that_is_not_there_is_no_dead_end(desk: Desk, server: Any) -> None:
    for key in "nj":
        desk.page.goto(f"{server}/#/annotate?image=gone-{key}.jpg")
        desk.page.get_by_text(f"gone-{key}.jpg can't be shown").wait_for()
        desk.press(key)
        desk.ready(FIRST)


def test_without_an_answer_nobody_says_that_all_is_done(desk: Desk, server: Any) -> None:
    desk.open(server, FIRST)
    server.stop()
    desk.press("j")
    desk.page.get_by_text("The next image is not known: the server does not answer.").first.wait_for()


@pytest.mark.parametrize(
    ("query", "image", "listed"),
    [
        ("state=boxed", "photo-002.jpg", "1 of 1 image"),
        ("contains=4", "photo-004.jpg", "1 of 1 image"),
        ("state=boxed&image=photo-001.jpg", "photo-001.jpg", "1 image"),
        ("state=constructor", FIRST, "1 of 5 images"),
        ("contains=nothing", FIRST, "No image matches"),
    ],
)
def test_an_address_says_which_images_are_listed(
    desk: Desk, server: Any, folder: Path, query: str, image: str, listed: str
) -> None:
    desk.open(server, "photo-002.jpg")
    desk.press("b")
    desk.saved()
    other = desk.tab()
    other.page.goto(f"{server}/#/annotate?{query}")
    other.ready(image)
    other.page.locator(".list-status", has_text=listed).wait_for()
    # The same in a page that shows the view already; what is open stays.
    stays = "photo-001.jpg" if "image=" in query else "photo-002.jpg"
    desk.page.evaluate(f"location.hash = '#/annotate?{query}'")
    desk.ready(stays)
    listed = {
        "contains=4": "1 image",
        "contains=nothing": "No image matches",
        "state=constructor": "3 of 5 images",
    }.get(query, listed)
    desk.page.wait_for_function("(text) => document.querySelector('.list-status').textContent === text", arg=listed)
    desk.page.wait_for_function("(image) => location.hash.endsWith(`image=${image}`)", arg=stays)
    assert "constructor" not in desk.page.evaluate("location.hash")
