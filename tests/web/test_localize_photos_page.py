"""Photos of the localize view as the model saw them, and what is no longer wanted: a real browser, a real server."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

WIDTH, HEIGHT = 384, 240
# The red rectangle as it is stored, and its middle, as fractions of the photo.
LEFT, TOP, RIGHT, BOTTOM = 24, 24, 120, 96
MIDDLE = (72 / WIDTH, 60 / HEIGHT)
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
)


def photo(path: Path, *, transparent: bool = False, **options: Any) -> Path:
    """A grey photo with a red rectangle, which may lie under full transparency."""
    pixels = np.full((HEIGHT, WIDTH, 4), (128, 128, 128, 255), np.uint8)
    pixels[TOP:BOTTOM, LEFT:RIGHT] = (255, 0, 0, 0 if transparent else 255)
    Image.fromarray(pixels if transparent else pixels[..., :3]).save(path, **options)
    return path


def upside_down() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


@pytest.fixture
def view(page: Page, live_server: Callable[..., str], red_model: Path) -> Page:
    """The localize view, open."""
    page.goto(live_server(verb="page", model=red_model))
    page.get_by_role("heading", name="Drop a photo here").wait_for()
    return page


def choose(page: Page, *photos: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(photos)


def red_ones(page: Page, count: int) -> None:
    """Wait until so many photos show signs of manipulation."""
    page.locator(".photos .badge.danger").nth(count - 1).wait_for()


def badges(page: Page) -> list[str]:
    return [
        badge.split()[-1] for badge in page.locator(".photos .badge").evaluate_all("all => all.map((b) => b.className)")
    ]


def colour(page: Page, x: float, y: float) -> tuple[int, int, int]:
    """What is seen at a place of the photo, given as fractions of it."""
    box = page.locator(".stage").bounding_box()
    assert box is not None
    scale = min((box["width"] - 48) / WIDTH, (box["height"] - 48) / HEIGHT)
    left = box["x"] + (box["width"] - WIDTH * scale) / 2 + x * WIDTH * scale
    top = box["y"] + (box["height"] - HEIGHT * scale) / 2 + y * HEIGHT * scale
    red, green, blue = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[round(top), round(left)]
    return int(red), int(green), int(blue)


@pytest.mark.parametrize(
    ("name", "options", "turned"),
    [
        ("a.jpg", {"exif": upside_down(), "quality": 95}, True),
        ("a.webp", {"exif": upside_down(), "lossless": True}, True),
        ("a.png", {"exif": upside_down()}, True),
        ("xmp.jpg", {"xmp": _XMP, "quality": 95}, True),
        ("alpha.png", {"transparent": True}, False),
    ],
    ids=["JPEG", "WebP", "PNG", "JPEG with XMP", "transparent PNG"],
)
def test_the_map_lies_over_the_photo_as_the_model_saw_it(
    view: Page, tmp_path: Path, wait_until: Callable[..., Any], name: str, options: dict[str, Any], turned: bool
) -> None:
    choose(view, photo(tmp_path / name, **options))
    view.get_by_role("heading", name="Regions (1)").wait_for()
    x, y = (1 - MIDDLE[0], 1 - MIDDLE[1]) if turned else MIDDLE
    view.keyboard.press("k")  # the mask alone
    wait_until(lambda: colour(view, x, y) == (255, 255, 255), 20)
    view.keyboard.press("k")
    view.keyboard.press("m")  # the photo alone

    def is_red() -> bool:
        red, green, blue = colour(view, x, y)
        return red > 200 and green < 60 and blue < 60

    wait_until(is_red, 20, f"{name} is shown otherwise than the model saw it")


class Held:
    """Photos that are looked at, the answers of which are held back."""

    def __init__(self, page: Page, wait: Callable[..., Any]) -> None:
        self.page, self._wait = page, wait
        self.routes: list[Route] = []
        self.asked = 0
        self.failed: list[str] = []
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.route("**/api/localize?*", self._handle)
        self.on = False

    def _handle(self, route: Route) -> None:
        self.asked += 1
        if self.on:
            self.routes.append(route)
        else:
            route.continue_()

    def until(self, condition: Callable[[], object]) -> None:
        self._wait(lambda: self.page.wait_for_timeout(20) or condition(), 20)


@pytest.fixture
def held(page: Page, wait_until: Callable[..., Any]) -> Held:
    return Held(page, wait_until)


def test_looking_closer_is_taken_back_while_it_runs(held: Held, view: Page, tmp_path: Path) -> None:
    choose(view, photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    held.until(lambda: badges(view) == ["danger", "danger"])
    held.on = True
    view.keyboard.press("d")
    held.until(lambda: held.routes)
    assert "detail=true" in held.routes[0].request.url
    view.keyboard.press("d")
    held.until(lambda: badges(view) == ["danger", "danger"])
    held.until(lambda: len(held.failed) == 1)
    assert len(held.routes) == 1, "what was answered before is not asked for again"
    view.get_by_role("heading", name="Regions (1)").wait_for()
    view.keyboard.press("t")  # another way of looking takes the place of one that runs
    held.until(lambda: len(held.routes) == 2)
    view.keyboard.press("d")
    held.until(lambda: len(held.routes) == 3)
    assert "detail=true" in held.routes[2].request.url
    assert "tta=true" in held.routes[2].request.url
    held.on = False
    held.routes[2].continue_()
    view.get_by_text("looked at closely mirrored too").wait_for()
    held.until(lambda: badges(view) == ["danger", "danger"])


def test_each_way_of_looking_is_asked_for_once(held: Held, view: Page, tmp_path: Path) -> None:
    choose(view, photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    both = ["danger", "danger"]
    held.until(lambda: badges(view) == both)
    closely = view.get_by_text("looked at closely", exact=False)
    view.keyboard.press("d")
    closely.wait_for()
    held.until(lambda: badges(view) == both)
    assert held.asked == 4
    held.on = True
    for shown in (False, True, False, True):
        view.keyboard.press("d")
        assert badges(view) == both
        assert closely.is_visible() == shown
    view.keyboard.press("ArrowRight")
    closely.wait_for()
    # The map that lies over the photo is that of the answer.
    view.keyboard.press("k")
    held.until(lambda: colour(view, *MIDDLE) == (255, 255, 255))
    view.keyboard.press("d")
    held.until(lambda: colour(view, *MIDDLE) == (255, 255, 255))
    assert held.asked == 4
    # What was not answered before it was taken back is asked for again.
    view.keyboard.press("t")
    held.until(lambda: held.asked == 5)
    view.keyboard.press("t")
    assert badges(view) == both
    held.on = False
    view.keyboard.press("t")
    held.until(lambda: badges(view) == both)
    assert held.asked == 7


def test_what_is_merely_put_back_is_not_read_aloud(held: Held, view: Page, tmp_path: Path) -> None:
    choose(view, *(photo(tmp_path / f"{number}.png") for number in range(12)))
    red_ones(view, 12)
    view.evaluate(
        """() => {
          window.lines = [];
          const heard = (changes) => {
            for (const { addedNodes } of changes) for (const line of addedNodes) lines.push(line.textContent);
          };
          new MutationObserver(heard).observe(document.getElementById("announcements"), { childList: true });
        }"""
    )
    held.on = True
    for key in ("t", "d"):
        view.keyboard.press(key)
        held.until(lambda: held.routes)
        view.keyboard.press(key)
        held.until(lambda: badges(view) == ["danger"] * 12)
        held.routes.clear()
    assert view.evaluate("lines") == ["0.png: signs of manipulation, score 1.00"] * 2


def test_a_photo_that_is_removed_keeps_no_other_waiting(held: Held, view: Page, tmp_path: Path) -> None:
    held.on = True
    choose(view, photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    held.until(lambda: held.routes)
    held.on = False
    view.get_by_role("button", name="Remove a.png").click()
    view.get_by_role("heading", name="Regions (1)").wait_for()
    assert badges(view) == ["danger"]
    held.until(lambda: len(held.failed) == 1)
    assert "name=a.png" in held.failed[0]


def test_the_page_stays_where_it_is_while_the_threshold_moves(
    new_page: Callable[..., Page], live_server: Callable[..., str], red_model: Path, tmp_path: Path
) -> None:
    page = new_page(viewport={"width": 390, "height": 844})
    page.goto(live_server(verb="page", model=red_model))
    choose(page, *(photo(tmp_path / f"{number}.png") for number in range(9)))
    red_ones(page, 9)
    slider = page.get_by_label("Threshold")
    slider.focus()
    page.evaluate("document.getElementById('view').scrollTop = 1e6")
    before = page.evaluate("document.getElementById('view').scrollTop")
    assert before > 100, "the list is out of sight"
    page.keyboard.press("ArrowRight")
    assert slider.input_value() != "0.5"
    assert page.evaluate("document.getElementById('view').scrollTop") == before


def test_the_chosen_photo_is_in_sight_in_the_list(view: Page, tmp_path: Path) -> None:
    choose(view, *(photo(tmp_path / f"{number}.png") for number in range(12)))
    red_ones(view, 12)
    in_sight = """() => {
        const list = document.querySelector(".photos").getBoundingClientRect();
        const item = document.querySelector(".photos [aria-current]").getBoundingClientRect();
        return item.top >= list.top - 1 && item.bottom <= list.bottom + 1;
    }"""
    assert view.evaluate(
        "() => { const l = document.querySelector('.photos'); return l.scrollHeight > l.clientHeight }"
    )
    for key, count in (("ArrowRight", 11), ("ArrowLeft", 11)):
        for _ in range(count):
            view.keyboard.press(key)
            assert view.evaluate(in_sight)
    for _ in range(11):
        view.keyboard.press("ArrowRight")
    view.keyboard.press(".")  # drawn anew, the list stays where it is
    assert view.evaluate(in_sight)


def test_a_picture_that_the_server_has_forgotten_is_made_again(
    page: Page, live_server: Callable[..., Any], red_model: Path, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    server = live_server(verb="page", model=red_model)
    page.goto(server)
    choose(page, photo(tmp_path / "a.tif"), photo(tmp_path / "b.tif"))
    red_ones(page, 2)
    server.stop()
    server.restart()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")  # the mask alone, which lies over no picture but its own
    wait_until(lambda: colour(page, *MIDDLE) == (255, 255, 255), 20)


def test_one_click_asks_again_about_all_that_failed_while_the_server_was_away(
    page: Page, live_server: Callable[..., Any], red_model: Path, tmp_path: Path
) -> None:
    server = live_server(verb="page", model=red_model)
    page.goto(server)
    page.get_by_role("heading", name="Drop a photo here").wait_for()
    server.stop()
    choose(page, *(photo(tmp_path / f"{number}.png") for number in range(3)))
    page.locator(".photos .badge.failed").nth(2).wait_for()
    server.restart()
    page.get_by_role("button", name="Try again").click()
    red_ones(page, 3)


def test_a_new_answer_leaves_the_view_where_it_is(view: Page, tmp_path: Path) -> None:
    def seen() -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(view.locator(".stage").screenshot())))

    choose(view, photo(tmp_path / "a.png"))
    view.locator(".verdict-title").wait_for()
    for key in ("m", "o", "b", "+", "+", "+"):
        view.keyboard.press(key)
    before = seen()
    view.keyboard.press("t")
    view.locator(".about", has_text="mirrored too").wait_for()
    np.testing.assert_array_equal(seen(), before)
    view.keyboard.press("0")
    assert (seen() != before).any()


def test_the_photo_that_was_looked_at_is_there_again_after_another_view_as_it_was_looked_at(
    page: Page, live_server: Callable[..., Any], red_model: Path, make_photos: Callable[..., Any], tmp_path: Path
) -> None:
    make_photos(tmp_path / "set", 1)
    page.goto(f"{live_server(tmp_path / 'set', teacher='none', model=red_model)}/#/localize")
    page.get_by_role("heading", name="Drop a photo here").wait_for()
    choose(page, photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    red_ones(page, 2)
    for key in ("ArrowRight", ".", ".", "k"):
        page.keyboard.press(key)
    threshold = page.locator("output[for=threshold]").inner_text()
    for key, name in (("Alt+1", "annotate"), ("Alt+3", "localize")):
        page.keyboard.press(key)
        page.wait_for_selector(f".view-{name}")
    page.locator(".photos [aria-current=true][title='b.png']").wait_for()
    assert page.locator("output[for=threshold]").inner_text() == threshold == "0.52"
    assert page.get_by_role("button", name="Mask alone").get_attribute("aria-pressed") == "true"
    page.keyboard.press(".")
    assert page.locator("output[for=threshold]").inner_text() == "0.53"


def test_photos_are_looked_at_again_by_another_model(
    page: Page,
    live_server: Callable[..., Any],
    red_model: Path,
    make_red_model: Callable[..., Path],
    make_photos: Callable[..., Any],
    tmp_path: Path,
) -> None:
    make_photos(tmp_path / "set", 1)
    server = live_server(tmp_path / "set", teacher="none", model=red_model)
    page.goto(f"{server}/#/localize")
    page.get_by_role("heading", name="Drop a photo here").wait_for()
    choose(page, photo(tmp_path / "a.png"))
    page.keyboard.press("d")
    page.locator(".about", has_text="looked at closely").wait_for()
    first = page.locator(".about").inner_text()
    assert "model red-model" in first
    page.keyboard.press("Alt+1")
    page.wait_for_selector(".view-annotate")
    server.stop()
    other = make_red_model(tmp_path / "other", threshold=0.3)
    options = {"teacher": "none", "model": other, "max_tiles": 0, "port": server.rsplit(":", 1)[1]}
    live_server(tmp_path / "set", **options)
    page.keyboard.press("Alt+3")
    page.locator(".about", has_text="model other").wait_for()
    assert "closely" not in page.locator(".about").inner_text()
    assert page.locator("output[for=threshold]").inner_text() == "0.30"
    assert page.get_by_role("button", name="Look closer").count() == 0
    red_ones(page, 1)
