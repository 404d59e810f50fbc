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


@pytest.fixture
def folder(tmp_path: Path, make_photos: Callable[..., list[Path]]) -> Path:
    make_photos(tmp_path / "photos", 4)
    return tmp_path / "photos"


@pytest.fixture
def server(live_server: Callable[..., Any], folder: Path) -> Any:
    return live_server(folder, teacher="none", model="none")


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
def hold(page: Page, wait_until: Callable[..., Any]) -> Callable[..., Held]:
    """A function that holds back the requests whose address has all these parts."""
    return lambda *parts: Held(page, wait_until, *parts)


def versions(folder: Path) -> set[int]:
    with Dataset.open(folder) as dataset:
        return {record.version for record in dataset.records()}


def ready(page: Page, image: str = "photo-000.jpg") -> None:
    page.wait_for_selector(f'.annotate .stage[data-ready="{image}"]')


def saved(page: Page) -> None:
    page.wait_for_selector(".save-state[data-state=saved]")


@pytest.mark.parametrize("parts", [("/api/images",), ("/api/next",), ("/api/record", "photo-000"), ("/api/picture",)])
def test_a_view_that_is_left_while_it_loads_is_gone(
    page: Page, server: Any, folder: Path, hold: Callable[..., Held], parts: tuple[str, ...]
) -> None:
    held = hold(*parts)
    page.goto(f"{server}/#/annotate")
    held.arrive()
    page.keyboard.press("Alt+3")
    page.wait_for_selector(".view-localize")
    held.let_go()
    for key in ("b", "a", "n", "a"):
        page.keyboard.press(key)
    assert page.evaluate("location.hash") == "#/localize"
    assert page.locator(".annotate").count() == 0
    page.keyboard.press("Alt+1")
    ready(page)
    saved(page)
    assert page.locator(".box-list [role=option]").count() == 0
    assert versions(folder) == {1}


def test_an_old_view_that_comes_late_does_not_take_the_new_ones_place(
    page: Page, server: Any, hold: Callable[..., Held]
) -> None:
    held = hold("/api/images", "review=")
    page.goto(f"{server}/#/review")
    held.arrive()
    page.keyboard.press("Alt+1")
    ready(page)
    held.let_go()
    assert page.evaluate("location.hash") == "#/annotate?image=photo-000.jpg"
    page.keyboard.press("?")
    shortcuts = page.locator("dialog.shortcuts")
    assert "tampered as drawn" in shortcuts.inner_text()
    page.keyboard.press("Escape")
    # It can be left as any other.
    page.keyboard.press("Alt+3")
    page.wait_for_selector(".view-localize")
    page.keyboard.press("n")
    assert page.evaluate("location.hash") == "#/localize"


def test_after_a_failure_there_is_one_view_only(page: Page, server: Any, folder: Path) -> None:
    page.route("**/api/next*", lambda route: route.abort(), times=1)
    page.goto(f"{server}/#/annotate")
    page.get_by_role("alert").get_by_text("Annotate can't be shown").wait_for()
    page.get_by_role("button", name="Try again").click()
    ready(page)
    page.keyboard.press("b")
    assert page.locator(".box-list [role=option]").count() == 1
    saved(page)
    page.keyboard.press("n")
    ready(page, "photo-001.jpg")
    page.keyboard.press("s")
    ready(page, "photo-002.jpg")
    saved(page)
    with Dataset.open(folder) as dataset:
        states = {record.image: record.state for record in dataset.records()}
    assert list(states.values()) == ["boxed", "skipped", "todo", "todo"]


def test_the_address_may_change_while_the_view_loads(page: Page, server: Any, hold: Callable[..., Held]) -> None:
    held = hold("/api/images")
    page.goto(f"{server}/#/annotate?image=photo-001.jpg")
    held.arrive()
    page.evaluate("location.hash = '#/annotate?image=photo-002.jpg'")
    held.let_go()
    ready(page, "photo-002.jpg")


def test_the_skip_link_leads_into_the_view_that_is_shown(page: Page, server: Any) -> None:
    page.goto(f"{server}/#/localize")
    page.wait_for_selector(".view-localize")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the view"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "view"
    assert page.evaluate("location.hash") == "#/localize"
    # An address that names a place in the page changes no view either.
    page.evaluate("() => new Promise((done) => (addEventListener('hashchange', done), (location.hash = '#view')))")
    assert page.locator(".view-localize").count() == 1
    page.evaluate("location.hash = '#/annotate'")
    ready(page)


def test_only_the_new_line_is_read_aloud(page: Page, server: Any) -> None:
    page.goto(f"{server}/#/annotate")
    ready(page)
    assert page.locator("#announcements").get_attribute("aria-atomic") == "false"
