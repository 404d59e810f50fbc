"""The review view as a person meets it: a real browser, a real server, and afterwards what the dataset says."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import open_mask, save_png
from boxpromptiml.pseudolabels import pseudo_label, store_verdict
from boxpromptiml.pseudolabels.staleness import is_stale
from boxpromptiml.regions import Box, filled_boxes

pytest.importorskip("cv2")

from boxpromptiml.teachers import load_teacher

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH, HEIGHT = 300, 200
MARGIN = 24
DISC = Box(60, 40, 160, 140)
# The teacher finds the disc of a.png and c.png well. The box of b.png lies within it: the teacher cannot be sure.
BOXES = {"a.png": DISC, "b.png": Box(85, 65, 135, 115), "c.png": DISC}


class Reviewer:
    """A person at the page; `record` and `mask` read the dataset directly, never through the server."""

    def __init__(self, page: Page, folder: Path, wait: Callable[..., Any]) -> None:
        self.page, self.folder, self.wait = page, folder, wait

    def open(self, address: str, query: str = "") -> None:
        self.page.goto(f"{address}/#/review{query}")

    def ready(self, image: str) -> None:
        self.page.wait_for_selector(f'.review .stage[data-ready="{image}"]')

    def record(self, image: str) -> ImageRecord:
        with Dataset.open(self.folder) as dataset:
            return dataset.get(image)

    def mask(self, image: str) -> NDArray[np.uint8]:
        record = self.record(image)
        assert record.pseudo is not None
        return open_mask(self.folder / record.pseudo.path)

    def becomes(self, image: str, review: str | None) -> None:
        self.wait(lambda: self.record(image).review == review, what=f"{image} is {self.record(image).review}")

    @property
    def scale(self) -> float:
        frame = self.page.locator(".stage").bounding_box()
        assert frame is not None
        return min((frame["width"] - 2 * MARGIN) / WIDTH, (frame["height"] - 2 * MARGIN) / HEIGHT)

    def screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image lies on the screen; the whole image is fitted."""
        frame = self.page.locator(".stage").bounding_box()
        assert frame is not None
        left = frame["x"] + (frame["width"] - WIDTH * self.scale) / 2
        top = frame["y"] + (frame["height"] - HEIGHT * self.scale) / 2
        return left + x * self.scale, top + y * self.scale

    def drag(self, *places: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*self.screen(*places[0]))
        mouse.down()
        for place in places[1:]:
            mouse.move(*self.screen(*place), steps=6)
        mouse.up()

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.screen(x, y))

    def colour(self, x: float, y: float) -> tuple[int, int, int]:
        left, top = self.screen(x, y)
        picture = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        red, green, blue = picture[round(top), round(left)]
        return int(red), int(green), int(blue)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, value: str) -> None:
        self.page.locator(f"dialog [data-choice={value}]").click()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = np.hypot(y - 90, x - 110) < 48
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    image = (np.where(disc[..., None], [190, 40, 40], [50, 140, 60]) + noise).clip(0, 255).astype(np.uint8)
    with Dataset.create(tmp_path / "set") as dataset:
        for name, box in BOXES.items():
            save_png(dataset.path(name), image)
            dataset.put(ImageRecord(name, WIDTH, HEIGHT, "tampered", (box,)))
        pseudo_label(dataset, load_teacher("grabcut"))
        assert dataset.get("b.png").pseudo.suspicious  # type: ignore[union-attr]
    return tmp_path / "set"


@pytest.fixture
def server(live_server: Callable[..., Any], folder: Path) -> Any:
    return live_server(folder)


@pytest.fixture
def reviewer(page: Page, folder: Path, server: Any, wait_until: Callable[..., Any]) -> Reviewer:
    """A person who has opened the review."""
    reviewer = Reviewer(page, folder, wait_until)
    reviewer.open(server)
    reviewer.ready("b.png")
    return reviewer


def test_the_suspicious_come_first_with_reasons_in_plain_words(reviewer: Reviewer, shot: Callable[..., None]) -> None:
    page = reviewer.page
    assert page.locator(".review-name").inner_text() == "b.png"
    reasons = page.locator(".reasons").inner_text()
    assert "Box 1: " in reasons
    assert "the teacher is unsure of its mask (its own estimate is 0.36)" in reasons
    assert "Suspicion" in page.locator(".badges").inner_text()
    page.get_by_text("1 of 3").wait_for()
    assert page.locator(".progress-text").inner_text() == "0 of 3 reviewed"
    shot(page, "review")
    reviewer.press("ArrowRight")
    reviewer.ready("a.png")
    page.get_by_text("Nothing is suspicious about this mask.").wait_for()
    assert "Suspicion" not in page.locator(".badges").inner_text(), "a number beside it would contradict"
    reviewer.press("n")
    reviewer.ready("c.png")
    reviewer.press("n")
    reviewer.ready("b.png")  # round and round
    reviewer.press("ArrowLeft")
    reviewer.ready("c.png")


def test_accept_reject_and_take_back(reviewer: Reviewer, shot: Callable[..., None]) -> None:
    page = reviewer.page
    page.locator("[data-action=reject]").click()
    reviewer.ready("a.png")
    reviewer.becomes("b.png", "rejected")
    reviewer.press("a")
    reviewer.ready("c.png")
    reviewer.becomes("a.png", "accepted")
    page.get_by_text("2 of 3 reviewed").wait_for()
    reviewer.press("Enter")
    reviewer.becomes("c.png", "accepted")
    page.get_by_role("heading", name="All masks are reviewed").wait_for()
    shot(page, "review-done")
    reviewer.press("u")
    reviewer.ready("c.png")
    reviewer.becomes("c.png", None)
    reviewer.press("u")
    reviewer.ready("a.png")
    reviewer.becomes("a.png", None)
    assert reviewer.record("b.png").review == "rejected"
    page.get_by_role("button", name="Rejected 1").click()
    reviewer.ready("b.png")
    reviewer.press("u")
    reviewer.becomes("b.png", None)
    page.get_by_text("0 of 3 reviewed").wait_for()


def test_a_verdict_outlives_a_restart(reviewer: Reviewer, server: Any) -> None:
    reviewer.press("r")
    reviewer.ready("a.png")
    server.stop(9)
    reviewer.press("a")
    reviewer.page.get_by_text("the server does not answer").first.wait_for()
    assert (reviewer.record("b.png").review, reviewer.record("a.png").review) == ("rejected", None)
    server.restart()
    reviewer.press("a")
    reviewer.becomes("a.png", "accepted")


def test_what_is_painted_is_what_is_stored(reviewer: Reviewer, shot: Callable[..., None]) -> None:
    page = reviewer.page
    before = reviewer.mask("b.png")
    reviewer.press("d", "[", "[")
    page.get_by_text("4 pixels").wait_for()
    reviewer.drag((10, 11), (60, 11))
    reviewer.press("e")
    reviewer.drag((110, 75), (110, 105))
    shot(page, "review-painted")
    reviewer.press("s")
    reviewer.becomes("b.png", "accepted")
    record, after = reviewer.record("b.png"), reviewer.mask("b.png")
    assert record.pseudo is not None
    assert (record.pseudo.teacher, record.pseudo.settings["from"]["teacher"]) == ("person", "grabcut")
    assert not is_stale(record)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5

    def within(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.bool_]:
        """Pixels whose centre is within two pixels of a line along an axis."""
        away = np.hypot(np.maximum(np.maximum(x0 - x, x - x1), 0), np.maximum(np.maximum(y0 - y, y - y1), 0))
        inside: NDArray[np.bool_] = away <= 2
        return inside

    # The mouse moves by whole screen pixels, so the ends of a line may be off by a fraction of a pixel.
    expected = before.copy()
    expected[within(10, 11, 60, 11)] = 255
    expected[within(110, 75, 110, 105)] = 0
    wrong = expected != after
    ends = np.zeros_like(wrong)
    for px, py in ((10, 11), (60, 11), (110, 75), (110, 105)):
        ends[py - 4 : py + 5, px - 4 : px + 5] = True
    assert not (wrong & ~ends).any()
    assert wrong.sum() <= 12
    assert (after[9:13, 12:58] == 255).all()
    assert (after[77:103, 108:112] == 0).all()


def test_soft_values_survive_where_nothing_was_painted(reviewer: Reviewer) -> None:
    reviewer.press("n")
    reviewer.ready("a.png")
    before = reviewer.mask("a.png")
    assert len(np.unique(before)) > 10, "the teacher's masks are soft"
    reviewer.press("d")
    reviewer.click(250, 170)
    reviewer.press("a")  # accepting what was painted stores it
    reviewer.ready("c.png")
    reviewer.becomes("a.png", "accepted")
    after = reviewer.mask("a.png")
    changed = before != after
    assert 0 < changed.sum() < 150
    assert (after[changed] == 255).all()
    rows, columns = np.nonzero(changed)
    assert np.hypot(rows.mean() - 170, columns.mean() - 250) < 1.5


def test_strokes_are_undone_one_by_one_and_never_lost_unasked(reviewer: Reviewer) -> None:
    page = reviewer.page
    before = reviewer.mask("b.png")
    store = page.locator("[data-action=store]")
    assert store.is_disabled()
    reviewer.press("d")
    reviewer.click(30, 30)
    reviewer.click(30, 170)
    reviewer.press("Control+z", "Control+z")
    assert store.is_disabled()
    reviewer.press("Control+Shift+z")
    assert store.is_enabled()
    reviewer.press("n")
    page.get_by_role("heading", name="Your strokes are not stored").wait_for()
    reviewer.press("Escape")
    reviewer.press("r")
    reviewer.choose("stay")
    assert reviewer.record("b.png").review is None
    reviewer.press("n")
    reviewer.choose("discard")
    reviewer.ready("a.png")
    np.testing.assert_array_equal(reviewer.mask("b.png"), before)
    reviewer.press("p")
    reviewer.ready("b.png")
    reviewer.press("d")
    reviewer.click(30, 30)
    reviewer.press("n")
    reviewer.choose("store")
    reviewer.ready("a.png")
    assert reviewer.mask("b.png")[30, 30] == 255


def test_another_teacher_makes_the_mask_again(reviewer: Reviewer) -> None:
    page = reviewer.page
    page.get_by_label("Teacher").select_option("box")
    page.get_by_text("a preview of the new mask").wait_for()
    assert reviewer.record("b.png").pseudo.teacher == "grabcut", "a preview is not stored"  # type: ignore[union-attr]
    reviewer.press("t")
    page.locator(".maker", has_text="made by box").wait_for()
    expected = filled_boxes([BOXES["b.png"]], WIDTH, HEIGHT)
    np.testing.assert_array_equal(reviewer.mask("b.png") > 127, expected)
    page.get_by_role("button", name="Mask alone").click()
    reviewer.wait(lambda: reviewer.colour(110, 90) == (255, 255, 255))
    assert reviewer.colour(30, 30) == (0, 0, 0)


def test_no_verdict_on_a_mask_that_is_being_made(
    page: Page, folder: Path, server: Any, wait_until: Callable[..., Any], shot: Callable[..., None]
) -> None:
    reviewer = Reviewer(page, folder, wait_until)
    held: list[Any] = []
    # Before the page is there: one that is busy may take no notice of a route until after its next request.
    page.route("**/api/relabel*", lambda route: held.append(route))
    reviewer.open(server)
    reviewer.ready("b.png")
    page.get_by_label("Teacher").select_option("box")
    reviewer.press("b")
    reviewer.drag((200, 50), (260, 120))
    page.locator(".box-row").nth(1).wait_for()
    reviewer.press("t")
    reviewer.wait(lambda: page.wait_for_timeout(20) or held, what="no mask was asked for")
    reviewer.press("a", "r", "Enter")
    page.locator(".review .toast", has_text="box is making the mask: decide when it is there").wait_for()
    assert page.locator("[data-action=accept]").get_attribute("aria-disabled") == "true"
    reviewer.press("t", "n")  # leaving waits for the mask, and asks nothing
    shot(page, "review-waits")
    assert page.locator("dialog.ask").count() == 0
    assert len(held) == 1, "one change at a time"
    held[0].continue_()
    reviewer.ready("a.png")
    record = reviewer.record("b.png")
    assert (record.review, len(record.boxes)) == (None, 2)
    np.testing.assert_array_equal(reviewer.mask("b.png") > 127, filled_boxes(record.boxes, WIDTH, HEIGHT))
    reviewer.press("a")
    reviewer.becomes("a.png", "accepted")


def test_another_view_asks_first_too(reviewer: Reviewer) -> None:
    page = reviewer.page
    reviewer.press("d")
    reviewer.click(30, 30)
    leave: list[Callable[[], object]] = [
        lambda: reviewer.press("Alt+1"),
        lambda: reviewer.press("Alt+3"),
        lambda: page.locator("nav a", has_text="Localize").click(),
    ]
    for go in leave:
        go()
        page.get_by_role("heading", name="Your strokes are not stored").wait_for()
        reviewer.press("Alt+1")  # no way around the question
        reviewer.choose("stay")
        page.wait_for_url("**/#/review?image=b.png")
        assert page.locator(".review [data-action=store]").is_enabled()
        assert page.locator("dialog[open]").count() == 0
    reviewer.press("Alt+1")
    reviewer.choose("store")
    page.wait_for_selector(".annotate .stage[data-ready]")
    assert "#/annotate" in page.url
    assert reviewer.mask("b.png")[30, 30] == 255
    reviewer.press("Alt+2")
    reviewer.ready("b.png")
    reviewer.press("n")
    reviewer.ready("c.png")
    reviewer.press("b")
    reviewer.drag((200, 50), (260, 120))
    page.locator(".box-row").nth(1).wait_for()
    reviewer.press("Alt+3")
    reviewer.choose("discard")
    page.wait_for_selector(".view-localize")
    assert page.url.endswith("#/localize")
    assert len(reviewer.record("c.png").boxes) == 1


def test_no_key_changes_the_view_under_a_dialog(reviewer: Reviewer) -> None:
    reviewer.press("?")
    reviewer.page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    reviewer.press("Alt+1")
    reviewer.page.wait_for_timeout(300)
    assert "#/review" in reviewer.page.url


def test_strokes_made_while_a_mask_is_stored_are_still_to_be_stored(
    page: Page, folder: Path, server: Any, wait_until: Callable[..., Any]
) -> None:
    reviewer = Reviewer(page, folder, wait_until)
    held: list[Any] = []

    def hold(route: Any) -> None:
        if route.request.method == "PUT":
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/pseudo*", hold)
    reviewer.open(server)
    reviewer.ready("b.png")
    reviewer.press("d")
    reviewer.click(30, 30)
    reviewer.press("s")
    reviewer.wait(lambda: page.wait_for_timeout(20) or held)
    reviewer.click(250, 170)
    reviewer.press("Control+z")  # not while it is under way
    held.pop().continue_()
    reviewer.becomes("b.png", "accepted")
    stored = reviewer.mask("b.png")
    assert (stored[30, 30], stored[170, 250]) == (255, 0)
    store = page.locator("[data-action=store]")
    reviewer.wait(store.is_enabled, what="the second stroke counts as stored")
    reviewer.press("Control+z")
    reviewer.wait(store.is_disabled)
    reviewer.press("Control+Shift+z", "n")
    page.get_by_role("heading", name="Your strokes are not stored").wait_for()
    reviewer.choose("store")
    reviewer.wait(lambda: page.wait_for_timeout(20) or held)
    held.pop().continue_()
    reviewer.ready("c.png")
    assert reviewer.mask("b.png")[170, 250] == 255
    # Accepting goes on only where nothing would be lost.
    reviewer.click(30, 30)
    reviewer.press("a")
    reviewer.wait(lambda: page.wait_for_timeout(20) or held)
    reviewer.click(250, 170)
    held.pop().continue_()
    page.locator(".review .toast", has_text="Your mask is stored, but not what was changed since").wait_for()
    assert page.locator(".stage").get_attribute("data-ready") == "c.png"
    assert store.is_enabled()


def test_a_box_is_drawn_on_while_a_mask_is_stored(
    page: Page, folder: Path, server: Any, wait_until: Callable[..., Any]
) -> None:
    """The answer about the mask comes between press and lift."""
    reviewer = Reviewer(page, folder, wait_until)
    held: list[Any] = []
    page.route(
        "**/api/pseudo*", lambda route: held.append(route) if route.request.method == "PUT" else route.continue_()
    )
    reviewer.open(server)
    reviewer.ready("b.png")
    reviewer.press("d")
    reviewer.click(30, 30)
    reviewer.press("s", "b")
    reviewer.wait(lambda: page.wait_for_timeout(20) or held)
    page.mouse.move(*reviewer.screen(200, 50))
    page.mouse.down()
    page.mouse.move(*reviewer.screen(240, 90), steps=3)
    held.pop().continue_()
    page.locator(".badges").get_by_text("accepted").wait_for()
    page.mouse.move(*reviewer.screen(260, 120), steps=3)
    page.mouse.up()
    page.locator(".box-row").nth(1).wait_for()
    # A key that changes the boxes ends the drag.
    page.mouse.move(*reviewer.screen(20, 150))
    page.mouse.down()
    page.mouse.move(*reviewer.screen(60, 190), steps=3)
    reviewer.press("Control+z")
    page.mouse.up()
    page.wait_for_timeout(100)
    assert page.locator(".box-row").count() == 1


def test_nothing_is_drawn_while_the_teacher_is_at_work(
    page: Page, folder: Path, server: Any, wait_until: Callable[..., Any]
) -> None:
    reviewer = Reviewer(page, folder, wait_until)
    held: list[Any] = []
    page.route("**/api/relabel*", lambda route: held.append(route))
    reviewer.open(server)
    reviewer.ready("b.png")
    page.get_by_label("Teacher").select_option("box")
    reviewer.press("b")
    reviewer.drag((200, 50), (260, 120))
    page.locator(".box-row").nth(1).wait_for()
    reviewer.press("t")
    reviewer.wait(lambda: page.wait_for_timeout(20) or held)
    reviewer.drag((20, 150), (60, 190))
    page.locator(".review .toast", has_text="box is making the mask: go on when it is there").wait_for()
    reviewer.press("Delete", "d")
    reviewer.drag((20, 150), (60, 190))
    assert page.locator(".box-row").count() == 2
    held.pop().continue_()
    page.locator(".maker", has_text="made by box").wait_for()
    assert len(reviewer.record("b.png").boxes) == 2
    store = page.locator("[data-action=store]")
    assert store.is_disabled()
    reviewer.drag((20, 150), (60, 190))  # with the tool that was chosen meanwhile
    reviewer.wait(store.is_enabled)


def test_a_mask_that_nobody_has_seen_is_not_judged(reviewer: Reviewer) -> None:
    page = reviewer.page
    page.get_by_label("Teacher").select_option("box")
    for key, x in (("a", 200), ("r", 20)):
        boxes = len(reviewer.record("b.png").boxes)
        reviewer.press("b")
        reviewer.drag((x, 20), (x + 40, 60))
        page.locator(".box-row").nth(boxes).wait_for()
        reviewer.press(key)
        reviewer.choose("make")
        page.locator(".review .toast:visible", has_text="This mask is new: look at it, then decide").wait_for()
        assert len(reviewer.record("b.png").boxes) == boxes + 1
        assert reviewer.record("b.png").review is None
        assert page.locator(".stage").get_attribute("data-ready") == "b.png"
        page.evaluate("document.querySelector('.review .toast').hidden = true")
    reviewer.press("a")
    reviewer.becomes("b.png", "accepted")


@pytest.mark.parametrize("key", ["v", "b", "e", "Escape"])
def test_another_tool_takes_a_half_drawn_stroke_back(reviewer: Reviewer, key: str) -> None:
    page = reviewer.page
    store = page.locator("[data-action=store]")
    reviewer.press("d")
    page.mouse.move(*reviewer.screen(30, 30))
    page.mouse.down()
    page.mouse.move(*reviewer.screen(60, 30), steps=4)
    reviewer.press(key)
    page.mouse.move(*reviewer.screen(60, 80), steps=4)
    page.mouse.up()
    assert store.is_disabled()
    reviewer.press("d")
    reviewer.click(250, 170)
    reviewer.wait(store.is_enabled)
    reviewer.press("s")
    reviewer.becomes("b.png", "accepted")
    stored = reviewer.mask("b.png")
    assert (stored[30, 40], stored[170, 250]) == (0, 255)


def test_a_teacher_is_chosen_for_one_image(reviewer: Reviewer) -> None:
    page = reviewer.page
    include, why = page.locator("[data-tool=include]"), page.locator(".boxes-only")
    assert include.is_enabled()
    assert why.is_hidden()
    page.get_by_label("Teacher").select_option("box")
    why.get_by_text("box takes boxes only: Include and Exclude are off.").wait_for()
    assert include.is_disabled()
    page.get_by_label("Teacher").focus()
    reviewer.press("Escape", "i")
    page.locator(".review .toast", has_text="box takes boxes only").wait_for()
    reviewer.press("n")
    reviewer.ready("a.png")
    assert page.get_by_label("Teacher").input_value() == "grabcut"
    assert include.is_enabled()
    assert why.is_hidden()


def test_the_preview_becomes_exact(reviewer: Reviewer) -> None:
    page = reviewer.page
    answers: list[tuple[bool, bool]] = []

    def heard(response: Any) -> None:
        if "/api/preview?" in response.url:
            answers.append((response.request.post_data_json["exact"], response.json()["draft"]))

    page.on("requestfinished", lambda request: heard(request.response()))
    reviewer.press("b")
    reviewer.drag((200, 30), (270, 130))
    page.get_by_text("a preview of the new mask").wait_for()
    reviewer.wait(lambda: page.wait_for_timeout(20) or len(answers) == 2, what=str(answers))
    assert answers == [(False, True), (True, False)]


def test_a_second_box(reviewer: Reviewer, shot: Callable[..., None]) -> None:
    page = reviewer.page
    reviewer.press("n")
    reviewer.ready("a.png")
    page.get_by_label("Teacher").select_option("box")
    reviewer.press("b")
    reviewer.drag((200, 50), (260, 120))
    page.locator(".box-row").nth(1).wait_for()
    page.get_by_text("a preview of the new mask").wait_for()
    shot(page, "review-second-box")
    reviewer.press("n")  # boxes without a mask are not lost unasked either
    reviewer.choose("make")
    reviewer.ready("c.png")
    record = reviewer.record("a.png")
    assert len(record.boxes) == 2
    assert np.abs(np.array(record.boxes[1]) - (200, 50, 260, 120)).max() <= 1
    assert not is_stale(record)
    np.testing.assert_array_equal(reviewer.mask("a.png") > 127, filled_boxes(record.boxes, WIDTH, HEIGHT))
    reviewer.press("p")
    reviewer.ready("a.png")
    page.get_by_role("button", name="Remove box 2").click()
    reviewer.press("Control+z")
    assert page.locator(".box-row").count() == 2


def test_stale_masks_say_so(page: Page, folder: Path, server: Any, wait_until: Callable[..., Any]) -> None:
    with Dataset.open(folder) as dataset:
        dataset.set_boxes("b.png", [Box(10, 10, 50, 50)])
    reviewer = Reviewer(page, folder, wait_until)
    reviewer.open(server, "?image=b.png")
    reviewer.ready("b.png")
    page.locator(".reasons", has_text="The boxes were changed after this mask was made.").wait_for()
    page.locator(".badge", has_text="Stale").wait_for()


@pytest.fixture
def tiny_sam(tmp_path: Path) -> Path:
    """Weights of a SAM with random numbers in it: it takes clicks, and what it finds depends on them."""
    pytest.importorskip("transformers")
    place = Path(__file__).parents[1] / "teachers" / "conftest.py"
    spec = importlib.util.spec_from_file_location("teachers_conftest", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, processor = module._tiny("sam")
    model.save_pretrained(tmp_path / "sam")
    processor.save_pretrained(tmp_path / "sam")
    return tmp_path / "sam"


@pytest.mark.parametrize("teacher", ["grabcut", pytest.param("sam", marks=pytest.mark.slow)])
def test_clicks_where_the_teacher_takes_them(
    request: pytest.FixtureRequest,
    page: Page,
    folder: Path,
    live_server: Callable[..., Any],
    wait_until: Callable[..., Any],
    teacher: str,
) -> None:
    page.set_default_timeout(60_000)
    options = {"weights": request.getfixturevalue("tiny_sam"), "device": "cpu"} if teacher == "sam" else {}
    reviewer = Reviewer(page, folder, wait_until)
    reviewer.open(live_server(folder, teacher=teacher, **options))
    reviewer.ready("b.png")
    page.get_by_label("Teacher").select_option("box")
    assert page.locator("[data-tool=include]").is_disabled(), "the box itself cannot be corrected by clicks"
    page.get_by_label("Teacher").select_option(teacher)
    reviewer.press("i")
    reviewer.click(100, 80)
    reviewer.press("x")
    reviewer.click(125, 105)
    reviewer.click(95, 111)
    reviewer.click(95, 111)  # a click on a point takes it away
    reviewer.press("t")

    def stored() -> Any:
        pseudo = reviewer.record("b.png").pseudo
        assert pseudo is not None
        return pseudo.teacher.startswith(teacher) and pseudo.settings.get("points")

    (x0, y0, first, box0), (x1, y1, second, box1) = wait_until(stored, 60)
    assert np.abs(np.array([x0, y0, x1, y1]) - (100, 80, 125, 105)).max() <= 1
    assert (first, second, box0, box1) == (True, False, 0, 0)


def test_a_click_on_what_belongs_lies_in_a_box(reviewer: Reviewer) -> None:
    page, refused = reviewer.page, []
    page.on("response", lambda response: refused.append(response.url) if response.status >= 400 else None)
    undo = page.get_by_role("button", name="Undo", exact=True)
    reviewer.press("i")
    reviewer.click(200, 150)
    page.locator(".review .toast", has_text="lies in a box").wait_for()
    assert "lies in a box" in page.locator("#announcements").inner_text()
    assert undo.is_disabled(), "no point was set"
    reviewer.press("x")
    reviewer.click(200, 150)  # what does not belong may lie anywhere
    reviewer.wait(undo.is_enabled)
    reviewer.press("i")
    reviewer.click(90, 110)
    reviewer.press("b")
    reviewer.drag((85, 90), (95, 90))  # the box's left side goes past the point
    page.locator(".review .toast", has_text="Clicks that the box left outside were removed").wait_for()
    reviewer.press("t")
    reviewer.wait(lambda: reviewer.record("b.png").boxes != (BOXES["b.png"],))
    (point,) = reviewer.record("b.png").pseudo.settings["points"]  # type: ignore[union-attr]
    assert point[2] is False
    assert not refused


def test_two_people_judge_one_image(reviewer: Reviewer, folder: Path) -> None:
    page = reviewer.page
    with Dataset.open(folder) as dataset:
        store_verdict(dataset, "b.png", "rejected", expected_version=dataset.get("b.png").version)
    reviewer.press("a")
    page.get_by_role("heading", name="Somebody else changed this image").wait_for()
    page.get_by_text("It is rejected now").wait_for()
    reviewer.choose("show")
    page.locator("[data-review=rejected]").wait_for()
    assert reviewer.record("b.png").review == "rejected"
    reviewer.press("a")  # now knowing of the other's verdict
    reviewer.becomes("b.png", "accepted")


@pytest.mark.parametrize("choice", ["mine", "theirs", "stay"])
def test_two_people_paint_on_one_image(reviewer: Reviewer, folder: Path, choice: str) -> None:
    page = reviewer.page
    reviewer.press("d")
    reviewer.click(30, 30)
    with Dataset.open(folder) as dataset:
        dataset.set_boxes("b.png", [Box(10, 10, 50, 50)])
    reviewer.press("s")
    page.get_by_role("heading", name="Somebody else changed this image").wait_for()
    reviewer.choose(choice)
    if choice == "mine":
        reviewer.becomes("b.png", "accepted")
        assert reviewer.mask("b.png")[30, 30] == 255
        assert reviewer.record("b.png").boxes == (Box(10, 10, 50, 50),), "their boxes are not undone"
        return
    assert reviewer.record("b.png").review is None
    assert reviewer.mask("b.png")[30, 30] == 0
    if choice == "theirs":
        page.get_by_text("40 × 40 at 10, 10").wait_for()
        assert page.locator("[data-action=store]").is_disabled()
    else:
        assert page.locator("[data-action=store]").is_enabled(), "what was painted is still there"


@pytest.mark.parametrize("after", [0, 700], ids=["at once", "after the deaf time"])
def test_enter_meant_for_the_image_answers_no_question(
    reviewer: Reviewer, new_page: Callable[..., Page], server: Any, after: int
) -> None:
    """P stores a mask; Q, who painted too, accepts with A and goes on to press Enter: P's mask must stay."""
    q = reviewer
    p = Reviewer(new_page(), q.folder, q.wait)
    p.open(server)
    p.ready("b.png")
    q.press("d")
    q.click(250, 170)
    p.press("d")
    p.click(30, 30)
    p.press("a")
    p.becomes("b.png", "accepted")
    accepted = p.mask("b.png")
    q.press("a")
    q.page.locator("dialog[open].ask").wait_for()
    q.page.wait_for_timeout(after)
    q.press("Enter", "a", " ")
    q.page.wait_for_timeout(300)
    assert q.page.get_by_role("heading", name="Somebody else changed this image").is_visible(), "the question stands"
    np.testing.assert_array_equal(q.mask("b.png"), accepted)
    assert q.page.locator("dialog.ask button").first.inner_text() == "Decide later"
    q.page.wait_for_timeout(700)
    q.press("Tab", "Enter")
    q.page.locator("dialog.ask").wait_for(state="detached")
    assert q.page.locator("[data-action=store]").is_enabled(), "what was painted is still there"
    np.testing.assert_array_equal(q.mask("b.png"), accepted)


def test_read_only_shows_and_changes_nothing(
    page: Page, folder: Path, live_server: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    reviewer = Reviewer(page, folder, wait_until)
    reviewer.open(live_server(folder, read_only=True))
    reviewer.ready("b.png")
    assert page.locator("[data-action=accept], [data-action=store], [data-tool=brush]:visible").count() == 0
    reviewer.press("a", "d")
    reviewer.click(30, 30)
    reviewer.press("s", "n")
    reviewer.ready("a.png")
    assert reviewer.record("b.png").review is None


def test_without_masks_the_view_says_what_to_do(
    page: Page, live_server: Callable[..., Any], make_photos: Callable[..., Any], tmp_path: Path
) -> None:
    make_photos(tmp_path / "photos", 1)
    page.goto(f"{live_server(tmp_path / 'photos', teacher='none')}/#/review")
    page.get_by_role("heading", name="There are no pseudo masks yet").wait_for()
    page.get_by_text("boxpromptiml pseudo-label").wait_for()


def test_the_keyboard_paints_and_draws(reviewer: Reviewer) -> None:
    page = reviewer.page
    page.locator(".stage").focus()
    reviewer.press("d")
    reviewer.press("ArrowLeft", "Enter", "ArrowLeft", "ArrowLeft", "ArrowUp", "Enter", "s")
    reviewer.becomes("b.png", "accepted")
    before = len(reviewer.record("b.png").boxes)
    reviewer.press(
        "Escape", "b", "Shift+ArrowLeft", "Enter", "ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown", "Enter"
    )
    page.locator(".box-row").nth(before).wait_for()
    status = page.locator("#announcements")
    reviewer.wait(lambda: "Lifted" in status.inner_text())


def test_large_masks_are_painted_at_full_size(
    page: Page, live_server: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    """12 megapixels: what is seen is a small picture, what is painted is every pixel."""
    width, height = 4000, 3000
    folder = tmp_path / "large"
    with Dataset.create(folder) as dataset:
        coarse = np.random.default_rng(0).integers(60, 190, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(dataset.path("big.jpg"))
        dataset.put(ImageRecord("big.jpg", width, height, "tampered", (Box(1000, 1000, 2000, 1800),)))
        pseudo_label(dataset, load_teacher("box"))
    reviewer = Reviewer(page, folder, wait_until)
    reviewer.open(live_server(folder, teacher="none"))
    reviewer.ready("big.jpg")
    before = reviewer.mask("big.jpg")
    frame = page.locator(".stage").bounding_box()
    assert frame is not None
    page.keyboard.press("1")  # one image pixel a screen pixel, the middle in the middle
    page.keyboard.press("d")
    for _ in range(20):
        page.keyboard.press("[")
    page.get_by_text("1 pixel", exact=True).wait_for()
    x, y = round(frame["x"] + frame["width"] / 2), round(frame["y"] + frame["height"] / 2)
    page.mouse.move(x + 100, y)
    page.mouse.down()
    page.mouse.move(x + 150, y, steps=3)
    page.mouse.up()
    page.keyboard.press("s")
    reviewer.becomes("big.jpg", "accepted")
    after = reviewer.mask("big.jpg")
    assert after.shape == (height, width)
    rows, columns = np.nonzero(before != after)
    assert len(np.unique(rows)) <= 2, "a line of one pixel"
    assert 50 <= len(np.unique(columns)) <= 52
    assert abs(int(columns.min()) - 2100) <= 2
    assert abs(int(rows.min()) - 1500) <= 2


def test_everything_is_in_reach(
    new_page: Callable[..., Page],
    server: Any,
    folder: Path,
    wait_until: Callable[..., Any],
    shot: Callable[..., None],
    appearance: tuple[str, int, int],
) -> None:
    scheme, width, height = appearance
    page = new_page(viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=width < 500)
    reviewer = Reviewer(page, folder, wait_until)
    reviewer.open(server)
    reviewer.ready("b.png")
    page.wait_for_timeout(200)
    shot(page, f"review-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for action in ("accept", "reject", "previous", "next"):
        box = page.locator(f"[data-action={action}]").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height, f"{action} is in sight without scrolling"
    page.locator("[data-action=accept]").click()
    reviewer.becomes("b.png", "accepted")
