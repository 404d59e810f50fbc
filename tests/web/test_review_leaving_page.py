"""Going from one mask to the next: an image that cannot be shown, strokes on the way, answers that are lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("cv2")

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import open_mask
from boxpromptiml.pseudolabels import pseudo_label, store_verdict
from boxpromptiml.regions import Box
from boxpromptiml.teachers import load_teacher

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

A, B, C, D, E = (f"photo-00{number}.jpg" for number in range(5))
ACCEPT, REJECT = "[data-action=accept]", "[data-action=reject]"


class Person:
    """Somebody at the page; the dataset is read directly, never through the server."""

    def __init__(self, page: Page, folder: Path, address: str, wait: Callable[..., Any]) -> None:
        self.page, self.folder, self.address, self.wait = page, folder, address, wait
        # A page that is busy may take no notice of its first route until after its next request.
        page.route("**/nowhere", lambda route: route.abort())

    def open(self, image: str) -> None:
        self.page.goto(f"{self.address}/#/review?image={image}")
        self.sees(image)

    def sees(self, image: str) -> None:
        self.page.wait_for_selector(f'.review .stage[data-ready="{image}"]')

    def knows_the_place(self) -> None:
        """Wait until the record of the next image, which is fetched ahead, has been asked for, too."""
        self.page.wait_for_function("() => /\\d of \\d/.test(document.querySelector('.review-place')?.textContent)")

    def sees_none_of(self, image: str, why: str) -> None:
        """The image's name and what is wrong with it, and neither picture nor mask."""
        self.page.locator(".review .stage-message:visible", has_text=why).wait_for()
        assert self.page.locator(".review-name").inner_text() == image
        assert self.page.url.endswith(f"image={image}")
        assert self.page.locator(".review .stage[data-ready]").count() == 0
        assert self.page.locator(".badges *, .box-row").count() == 0
        blank = """() => {
            const canvas = document.querySelector(".stage-canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.every((value) => value === 0);
        }"""
        self.wait(lambda: self.page.evaluate(blank), what="something is drawn")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def filters(self, name: str) -> None:
        self.page.locator(f"[data-filter={name}]").click()

    @property
    def middle(self) -> tuple[float, float]:
        frame = self.page.locator(".stage").bounding_box()
        assert frame is not None
        return frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2

    def paints(self) -> None:
        self.press("d")
        self.page.mouse.click(*self.middle)

    def is_told(self, text: str) -> None:
        self.page.locator(".review .toast:visible", has_text=text).wait_for()

    def holds(self, path: str, method: str = "GET") -> list[Route]:
        """The first such request from now on is held back."""
        return self._first(path, method, lambda route: None)

    def loses(self, path: str, method: str) -> None:
        """The server does what it is asked first from now on, and its answer is lost."""

        def lose(route: Route) -> None:
            route.fetch()
            route.abort()

        self._first(path, method, lose)

    def _first(self, path: str, method: str, act: Callable[[Route], None]) -> list[Route]:
        met: list[Route] = []

        def handle(route: Route) -> None:
            if met or route.request.method != method:
                route.continue_()
                return
            met.append(route)
            act(route)

        self.page.route(path, handle)
        return met

    def waits_for(self, held: list[Route]) -> Route:
        self.wait(lambda: self.page.wait_for_timeout(20) or held, what="it was not asked for")
        return held[0]

    def waits_for_a_verdict(self, image: str) -> Route:
        """Reject an image, and hold back the request that stores it."""
        self.open(image)
        held = self.holds("**/api/review?*", "POST")
        self.press("r")
        return self.waits_for(held)

    def record(self, image: str) -> ImageRecord:
        with Dataset.open(self.folder) as dataset:
            return dataset.get(image)

    def becomes(self, image: str, review: str | None) -> None:
        def is_so() -> bool:
            self.page.wait_for_timeout(20)  # lets the routes run
            return self.record(image).review == review

        self.wait(is_so, what=f"{image} did not become {review}")


@pytest.fixture
def folder(tmp_path: Path, make_photos: Callable[..., list[Path]]) -> Path:
    """Three photos whose masks are boxes."""
    with Dataset.create(tmp_path / "set") as dataset:
        for path in make_photos(tmp_path / "set", 3):
            dataset.put(ImageRecord(path.name, 640, 480, "tampered", (Box(100, 100, 200, 200),)))
        pseudo_label(dataset, load_teacher("box"))
    return tmp_path / "set"


@pytest.fixture
def larger(folder: Path, make_photos: Callable[..., list[Path]]) -> None:
    """Two photos more: the fourth has no mask, that of the fifth is accepted."""
    make_photos(folder, 5)
    record = ImageRecord(E, 640, 480, "tampered", (Box(100, 100, 200, 200),))
    with Dataset.open(folder) as dataset:
        dataset.put(record)
        pseudo_label(dataset, load_teacher("box"))
        store_verdict(dataset, E, "accepted", expected_version=dataset.get(E).version)
        dataset.put(replace(record, image=D))


@pytest.fixture
def person(page: Page, folder: Path, live_server: Callable[..., Any], wait_until: Callable[..., Any]) -> Person:
    return Person(page, folder, live_server(folder), wait_until)


@pytest.mark.parametrize("gone", ["photo", "mask"])
def test_an_image_that_cannot_be_loaded_is_passed_and_not_judged(person: Person, folder: Path, gone: str) -> None:
    page = person.page
    pseudo = person.record(B).pseudo
    assert pseudo is not None
    (folder / (B if gone == "photo" else pseudo.path)).unlink()
    person.open(A)
    person.press("n")
    person.sees_none_of(B, "gone")
    for action in (ACCEPT, REJECT):
        assert page.locator(action).get_attribute("aria-disabled") == "true"
    page.get_by_text("2 of 3").wait_for()
    person.press("r")
    person.is_told("there is nothing to judge")
    person.press("Enter", "a", "s", "t")
    person.press("n")
    person.sees(C)
    person.press("p")
    person.sees_none_of(B, "gone")
    person.press("p")
    person.sees(A)
    assert page.locator(REJECT).get_attribute("aria-disabled") == "false"
    person.press("a")  # to the next one, which is the same again
    person.sees_none_of(B, "gone")
    assert [person.record(image).review for image in (A, B, C)] == ["accepted", None, None]


def test_an_image_that_is_there_again_is_shown(person: Person, folder: Path) -> None:
    (folder / B).rename(folder / "elsewhere.jpg")
    person.open(A)
    person.press("n")
    person.sees_none_of(B, "gone")
    (folder / "elsewhere.jpg").rename(folder / B)
    person.page.get_by_role("button", name="Try again").click()
    person.sees(B)
    person.press("r")
    person.becomes(B, "rejected")
    person.sees(C)


def test_an_image_that_the_dataset_does_not_know(person: Person) -> None:
    person.page.goto(f"{person.address}/#/review?image=other.jpg")
    person.sees_none_of("other.jpg", "no such image")
    person.press("n")
    person.sees(A)


def test_nothing_is_drawn_or_judged_while_the_next_image_is_loaded(person: Person) -> None:
    page = person.page
    person.open(B)
    person.knows_the_place()
    held = person.holds(f"**/api/record?*{A}*")
    person.press("p")
    request = person.waits_for(held)
    person.paints()
    person.is_told("Another image is being loaded: go on when it is there")
    assert page.locator("[data-action=store]").is_disabled()
    person.press("r")
    person.is_told("Another image is being loaded: decide when it is there")
    request.continue_()
    person.sees(A)
    assert page.locator("[data-action=store]").is_disabled()
    person.paints()
    assert page.locator("[data-action=store]").is_enabled()
    person.press("s")
    person.becomes(A, "accepted")
    assert person.record(B).review is None


def test_nothing_is_drawn_while_a_verdict_is_stored(person: Person) -> None:
    page = person.page
    request = person.waits_for_a_verdict(A)
    person.paints()
    person.is_told("Another image is being loaded: go on when it is there")
    request.abort()
    page.get_by_text("the server does not answer").first.wait_for()
    person.paints()  # it stays, so it can be drawn on
    assert page.locator("[data-action=store]").is_enabled()


def test_a_mask_whose_answer_was_lost_is_stored_again_without_a_conflict(person: Person, folder: Path) -> None:
    page = person.page
    person.open(A)
    person.paints()
    person.loses("**/api/pseudo?*", "PUT")
    person.press("s")
    page.get_by_text("the server does not answer").first.wait_for()
    assert person.record(A).review == "accepted"
    person.press("s")
    person.wait(page.locator("[data-action=store]").is_disabled)
    assert page.locator("dialog[open]").count() == 0
    page.locator(".maker", has_text="painted by a person").wait_for()
    record = person.record(A)
    assert record.pseudo is not None
    assert open_mask(folder / record.pseudo.path)[240, 320] == 255


def test_a_verdict_whose_answer_was_lost_is_given_and_taken_back_again_without_a_conflict(person: Person) -> None:
    page = person.page
    person.open(A)
    person.loses("**/api/review?*", "POST")
    person.press("a")
    page.get_by_text("the server does not answer").first.wait_for()
    assert person.record(A).review == "accepted"
    person.press("a")
    person.sees(B)
    page.get_by_text("1 of 3 reviewed").wait_for()
    person.loses("**/api/review?*", "POST")
    person.press("u")
    page.get_by_text("the server does not answer").first.wait_for()
    assert person.record(A).review is None
    person.press("u")
    person.sees(A)
    page.get_by_text("0 of 3 reviewed").wait_for()
    page.locator("#announcements", has_text="Verdict taken back").wait_for()
    assert page.locator("dialog[open]").count() == 0


def test_a_mask_that_was_made_again_and_whose_answer_was_lost(person: Person) -> None:
    page = person.page
    person.open(A)
    page.get_by_label("Teacher").select_option("box")
    person.press("b")
    x, y = person.middle
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 60, steps=4)
    page.mouse.up()
    page.locator(".box-row").nth(1).wait_for()
    person.loses("**/api/relabel?*", "POST")
    person.press("t")
    page.get_by_text("the server does not answer").first.wait_for()
    assert len(person.record(A).boxes) == 2
    person.press("t")
    done = """() => document.querySelector("[data-action=discard]").disabled
        && document.querySelector("[data-action=accept]").getAttribute("aria-disabled") === "false" """
    person.wait(lambda: page.evaluate(done))
    assert page.locator("dialog[open]").count() == 0
    person.press("a")
    person.becomes(A, "accepted")


@pytest.mark.usefixtures("larger")
@pytest.mark.parametrize(
    "path", ["**/api/next?*", f"**/api/record?*{A}*", f"**/api/pseudo?*{A}*", f"**/api/picture?*{A}*"]
)
def test_what_never_comes_holds_back_nothing_that_is_shown_later(person: Person, path: str) -> None:
    from playwright.sync_api import Error

    page = person.page
    given_up: list[str] = []
    page.on("requestfailed", lambda request: given_up.append(request.url))
    person.open(B)
    person.knows_the_place()
    held = person.holds(path)
    person.press("p")  # to A
    request = person.waits_for(held)
    person.press("r")
    person.is_told("Another image is being loaded: decide when it is there")
    person.filters("accepted")
    person.sees(E)
    # The record of the image after B, fetched ahead, may be given up besides.
    person.wait(lambda: page.wait_for_timeout(20) or request.request.url in given_up, what="it was not given up")
    assert page.locator(".review .stage-message:visible").count() == 0
    person.press("r")
    person.becomes(E, "rejected")
    page.get_by_role("button", name="Show open ones").click()  # no other one is accepted
    person.sees(A)
    person.paints()
    assert page.locator("[data-action=store]").is_enabled()
    person.press("Control+z", "n")
    person.sees(B)
    person.press("a")
    person.becomes(B, "accepted")
    person.sees(C)
    with contextlib.suppress(Error):
        request.continue_()  # to nobody
    person.sees(C)


@pytest.mark.usefixtures("larger")
def test_a_verdict_that_is_not_stored_yet_keeps_nobody_where_they_are(person: Person) -> None:
    page = person.page
    request = person.waits_for_a_verdict(A)
    person.filters("accepted")
    person.sees(E)
    person.paints()
    assert page.locator("[data-action=store]").is_enabled()
    person.press("a")
    person.is_told("The last verdict is still being stored: decide when it is")
    request.continue_()
    person.becomes(A, "rejected")
    page.get_by_text("2 of 4 reviewed").wait_for()
    person.sees(E)  # and not what comes after A
    person.press("s")
    page.locator(".maker", has_text="painted by a person").wait_for()


@pytest.mark.usefixtures("larger")
def test_where_there_is_no_mask_there_is_nothing_to_reject(person: Person) -> None:
    page = person.page
    person.open(D)
    remedy = "No pseudo mask to judge yet: let the teacher make one (T), or paint it (D)"
    person.press("a")
    person.is_told(remedy)
    person.paints()
    person.press("r")
    person.is_told(remedy)
    assert page.locator("dialog[open]").count() == 0
    assert page.locator("[data-action=store]").is_enabled()
    person.press("a")
    person.becomes(D, "accepted")


def test_the_brush_is_seen_on_the_next_image_before_the_mouse_moves(person: Person) -> None:
    page = person.page
    person.open(A)
    person.press("d")
    x, y = person.middle
    page.mouse.move(x, y)
    clip = {"x": x - 40, "y": y - 40, "width": 80, "height": 80}
    cursor = page.locator(".stage")
    assert cursor.evaluate("(stage) => stage.style.cursor") == "none"
    person.knows_the_place()
    held = person.holds(f"**/api/record?*{B}*")
    person.press("n")
    request = person.waits_for(held)
    assert cursor.evaluate("(stage) => stage.style.cursor") == "wait"
    request.continue_()
    person.sees(B)
    assert cursor.evaluate("(stage) => stage.style.cursor") == "none"
    at_rest = page.screenshot(clip=clip)
    page.mouse.move(x + 9, y)
    assert page.screenshot(clip=clip) != at_rest
    page.mouse.move(x, y)
    assert page.screenshot(clip=clip) == at_rest
    page.mouse.move(5, 5)
    without = page.screenshot(clip=clip)
    assert without != at_rest
    # Whoever takes the eraser sees it at once too, and nobody sees it who is elsewhere.
    person.press("e", "d")
    assert page.screenshot(clip=clip) == without
    page.mouse.move(x, y)
    person.press("e")
    assert page.screenshot(clip=clip) not in (without, at_rest)
    person.press("d")
    assert page.screenshot(clip=clip) == at_rest


def test_enter_after_a_click_is_about_the_mask(person: Person) -> None:
    page = person.page
    person.open(A)
    page.locator("[data-action=next]").click()
    person.sees(B)
    person.press("Enter")
    person.becomes(B, "accepted")
    person.sees(C)
    for control in ("[data-mode=only]", "[data-toggle=boxes]", "[data-tool=look]", "[data-filter=open]"):
        page.locator(control).click()
        assert page.evaluate("document.activeElement.className") == "stage", control
    person.sees(A)
    person.press("Enter")
    person.becomes(A, "accepted")
    person.sees(C)
    # Whoever goes there by key stays there, and a key that is held down presses once.
    page.locator("[data-action=reject]").focus()
    for _ in range(4):
        page.keyboard.down("Enter")
        page.wait_for_timeout(50)
    page.keyboard.up("Enter")
    person.becomes(C, "rejected")
    toggle = page.locator("[data-action=undo-verdict]")
    toggle.focus()
    person.press("Enter")
    person.becomes(C, None)
