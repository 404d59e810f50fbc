"""The localize view, as a person uses it: a real browser, a real server, real files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.images import save_png
from boxpromptiml.regions import Box
from boxpromptiml.rle import decode
from boxpromptiml.runtime import Localizer

if TYPE_CHECKING:
    from playwright.sync_api import FileChooser, Page

RED = Box(96, 60, 192, 120)


def paint(path: Path, *boxes: Box, width: int = 384, height: int = 240) -> Path:
    """A photo of grey noise with red regions."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(90, 160, (height, width, 1), dtype=np.uint8), 3, axis=2)
    for box in boxes:
        pixels[box.slices] = (255, 0, 0)
    save_png(path, pixels)
    return path


@pytest.fixture
def open_view(page: Page, live_server: Callable[..., str], red_model: Path) -> Callable[..., Page]:
    """Open the localize view of `boxpromptiml page`."""

    def opened(**options: Any) -> Page:
        page.goto(live_server(verb="page", model=red_model, **options))
        page.get_by_role("heading", name="Drop a photo here").wait_for()
        return page

    return opened


def drop(page: Page, *paths: Path, name: str | None = None) -> None:
    """Drop files on the page as a person does with the mouse."""
    files = [(name or path.name, list(path.read_bytes())) for path in paths]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
            return transfer;
        }""",
        files,
    )
    target = page.locator(".localize > :not([hidden])").first
    for event in ("dragenter", "dragover", "drop"):
        target.dispatch_event(event, {"dataTransfer": transfer})


def verdict(page: Page) -> str:
    title = page.locator(".verdict-title")
    title.wait_for()
    return title.inner_text()


def download(page: Page, name: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.locator(f"[data-file='{name}']").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def pixels_at(page: Page, x: float, y: float) -> tuple[int, int, int]:
    """The colour on the screen at a place of the stage, given as fractions of the photo."""
    box = page.locator(".stage").bounding_box()
    assert box is not None
    image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    scale = min((box["width"] - 48) / 384, (box["height"] - 48) / 240)
    left = box["x"] + (box["width"] - 384 * scale) / 2 + x * 384 * scale
    top = box["y"] + (box["height"] - 240 * scale) / 2 + y * 240 * scale
    red, green, blue = image[round(top), round(left)]
    return int(red), int(green), int(blue)


def test_a_photo_is_dropped_judged_and_downloaded(
    open_view: Callable[..., Page], tmp_path: Path, red_model: Path, shot: Callable[..., None]
) -> None:
    page = open_view()
    shot(page, "localize-empty")
    photo = paint(tmp_path / "holiday.png", RED)
    drop(page, photo)
    assert verdict(page) == "Signs of manipulation"
    page.get_by_text("evidence, not proof").wait_for()
    page.get_by_text("Nothing leaves this machine").last.wait_for()
    page.get_by_role("heading", name="Regions (1)").wait_for()
    shot(page, "localize-done")

    expected = Localizer.load(red_model, threads=1).localize(photo)
    name, mask = download(page, "mask.png")
    assert name == "holiday-mask.png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(mask))), expected.mask * 255)
    name, heat = download(page, "map.png")
    assert name == "holiday-map.png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(heat))), expected.map16)
    name, overlay = download(page, "overlay.png")
    assert (name, Image.open(io.BytesIO(overlay)).size) == ("holiday-overlay.png", (384, 240))
    name, data = download(page, "result.json")
    result = json.loads(data)
    assert (name, result["verdict"], result["image"]) == ("holiday-result.json", "tampered", "holiday.png")
    np.testing.assert_array_equal(decode(result["regions"][0]["rle"]), expected.mask)


def test_nothing_leaves_the_machine(
    page: Page, live_server: Callable[..., str], red_model: Path, tmp_path: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    server = live_server(verb="page", model=red_model)
    answer = page.goto(server)
    assert answer is not None
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    page.locator("input[type=file]").first.set_input_files(paint(tmp_path / "a.png", RED))
    verdict(page)
    assert f"{server}/api/localize?name=a.png" in asked
    assert [url for url in asked if not url.startswith((server, "blob:", "data:"))] == []


def test_mask_regions_and_verdict_follow_the_threshold(
    open_view: Callable[..., Page], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    page = open_view()
    # Half as red as what the model is sure of: the map is about 0.27 there.
    photo = tmp_path / "faint.png"
    pixels = np.full((240, 384, 3), 100, np.uint8)
    pixels[RED.slices] = (215, 100, 100)
    save_png(photo, pixels)
    drop(page, photo)
    assert verdict(page) == "No signs of manipulation"
    page.get_by_text("None: no pixel of the map is above the threshold.").wait_for()
    slider = page.get_by_label("Threshold")
    slider.fill("0.1")
    assert verdict(page) == "Signs of manipulation"
    page.get_by_role("heading", name="Regions (1)").wait_for()
    region = page.locator(".region").first
    assert f"{RED.area / (384 * 240) * 100:.1f}"[:1] in region.inner_text()
    _, mask = download(page, "mask.png")
    assert np.asarray(Image.open(io.BytesIO(mask)))[90, 140] == 255
    page.keyboard.press("Escape")
    slider.press("End")
    wait_until(lambda: verdict(page) == "No signs of manipulation")
    page.get_by_text("None: no pixel").wait_for()
    page.get_by_role("button", name="Model's own, 0.50").click()
    assert page.get_by_label("Threshold").input_value() == "0.5"


def test_what_is_seen_is_the_map_and_the_mask(
    open_view: Callable[..., Page], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    page = open_view()
    paint(tmp_path / "a.png", RED)
    drop(page, tmp_path / "a.png")
    verdict(page)
    inside, outside = (0.375, 0.375), (0.9, 0.9)
    page.keyboard.press("m")  # no map: the photo itself
    wait_until(lambda: pixels_at(page, *inside) == (255, 0, 0))
    page.get_by_role("button", name="Mask alone").click()
    wait_until(lambda: pixels_at(page, *inside) == (255, 255, 255))
    assert pixels_at(page, *outside) == (0, 0, 0)
    page.keyboard.press("k")
    page.keyboard.press("m")
    page.get_by_label("Opacity of the map").fill("1")
    wait_until(lambda: pixels_at(page, *inside) not in ((255, 0, 0), (255, 255, 255)))
    grey = pixels_at(page, *outside)
    assert max(grey) - min(grey) < 8, "what is not suspicious is not tinted"


def test_a_click_on_a_region_zooms_to_it(open_view: Callable[..., Page], tmp_path: Path) -> None:
    page = open_view()
    paint(tmp_path / "a.png", Box(10, 10, 40, 40), Box(300, 180, 380, 235))
    drop(page, tmp_path / "a.png")
    page.get_by_role("heading", name="Regions (2)").wait_for()
    page.keyboard.press("m")
    page.locator(".region").nth(1).click()
    page.wait_for_timeout(200)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    stage = image[round(box["y"]) : round(box["y"] + box["height"]), round(box["x"]) : round(box["x"] + box["width"])]
    red = (stage[..., 0] > 240) & (stage[..., 1] < 10) & (stage[..., 2] < 10)
    assert red.mean() > 0.2, "the small region fills much of the view"
    middle = red[red.shape[0] // 2 - 20 : red.shape[0] // 2 + 20, red.shape[1] // 2 - 20 : red.shape[1] // 2 + 20]
    assert middle.all()


def test_several_photos_make_a_list_and_one_bad_file_harms_none(
    open_view: Callable[..., Page], tmp_path: Path, shot: Callable[..., None]
) -> None:
    page = open_view(max_upload_mb=0.5, max_megapixels=0.2)
    good, clean = paint(tmp_path / "good.png", RED), paint(tmp_path / "clean.png")
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, not a photo")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:3000])
    wide = paint(tmp_path / "wide.png", width=1000, height=300)
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(bytes(600_000))
    page.locator("input[type=file]").first.set_input_files([text, good, cut, clean, wide, heavy])
    rows = page.locator(".photos li")
    page.locator(".photos .badge.failed").nth(3).wait_for()
    assert [row.split("\n")[0] for row in rows.all_inner_texts()] == [
        "notes.txt",
        "good.png",
        "cut.png",
        "clean.png",
        "wide.png",
        "heavy.png",
    ]
    message = page.locator(".stage-message")
    for name, says in [
        ("notes.txt", "is not an image"),
        ("cut.png", "damaged or truncated PNG"),
        ("wide.png", "over the limit of 0.2 megapixels"),
        ("heavy.png", "the limit is 0.5 MB"),
    ]:
        rows.get_by_title(name, exact=True).click()
        message.get_by_text(says).wait_for()
        shot(page, "localize-error")
    rows.get_by_title("good.png", exact=True).click()
    assert verdict(page) == "Signs of manipulation"
    rows.get_by_title("clean.png", exact=True).click()
    assert verdict(page) == "No signs of manipulation"
    page.get_by_role("button", name="Remove clean.png").click()
    assert rows.count() == 5
    assert message.get_by_text("over the limit").is_visible(), "the next photo is shown"


def test_a_turned_photo_and_one_that_browsers_cannot_show(open_view: Callable[..., Page], tmp_path: Path) -> None:
    page = open_view()
    pixels = np.full((240, 384, 3), 128, np.uint8)
    pixels[RED.slices] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(pixels).save(tmp_path / "scan.tif")
    drop(page, tmp_path / "turned.jpg")
    page.get_by_text("240 × 384 pixels").wait_for()
    page.keyboard.press("m")
    drop(page, tmp_path / "scan.tif")
    page.get_by_text("384 × 240 pixels").wait_for()
    page.wait_for_function("document.querySelector('.stage-message').hidden")
    page.wait_for_timeout(300)
    red, green, _ = pixels_at(page, 0.375, 0.375)
    assert red > 200 > 60 > green, "the server's picture of the TIFF is shown"


def test_the_keyboard_is_enough(open_view: Callable[..., Page], tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    page = open_view()
    paint(tmp_path / "a.png", RED)
    paint(tmp_path / "b.png")
    page.locator("input[type=file]").first.wait_for(state="attached")
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def chooser_is_open() -> bool:
        # Again and again: the browser may not listen yet when the first key comes.
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "file":
            page.keyboard.press("Enter")
            page.wait_for_timeout(500)
        return bool(choosers)

    wait_until(chooser_is_open, 60)
    choosers[0].set_files([tmp_path / "a.png", tmp_path / "b.png"])
    assert verdict(page) == "Signs of manipulation"
    status = page.locator("#announcements")
    wait_until(lambda: "signs of manipulation" in status.inner_text())
    page.keyboard.press("ArrowRight")
    wait_until(lambda: verdict(page) == "No signs of manipulation")
    page.keyboard.press("ArrowLeft")
    for _ in range(3):
        page.keyboard.press(".")
    assert page.get_by_label("Threshold").input_value() == "0.53"
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keyboard shortcuts").wait_for()


def test_keys_count_after_adding_and_removing_photos(open_view: Callable[..., Page], tmp_path: Path) -> None:
    page = open_view()
    focus = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.type"
    names = [f"{name}.png" for name in "abc"]
    drop(page, paint(tmp_path / names[0], RED))
    page.locator(".answer:visible").wait_for()
    with page.expect_file_chooser() as chosen:
        page.get_by_text("Add photos").click()
    chosen.value.set_files([paint(tmp_path / name, RED) for name in names[1:]])
    page.locator('.photo[aria-current="true"]', has_text="b.png").wait_for()
    page.locator(".answer:visible").wait_for()
    outline = page.locator("[data-toggle=outline]")
    before = outline.get_attribute("aria-pressed")
    page.keyboard.press("o")
    assert outline.get_attribute("aria-pressed") != before
    page.keyboard.press("ArrowLeft")
    page.locator('.photo[aria-current="true"]', has_text="a.png").wait_for()
    page.get_by_role("button", name="Remove b.png").focus()
    for left in ("Remove c.png", "Remove a.png", "file"):
        page.keyboard.press("Enter")
        assert page.evaluate(focus) == left
    page.get_by_role("heading", name="Drop a photo here").wait_for()


def test_a_restarted_server_is_asked_again(
    page: Page, live_server: Callable[..., Any], red_model: Path, tmp_path: Path
) -> None:
    server = live_server(verb="page", model=red_model)
    page.goto(server)
    paint(tmp_path / "a.png", RED)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "a.png")
    verdict(page)
    server.stop()
    page.locator("[data-file='mask.png']").click()
    page.get_by_text("the server does not answer").first.wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    server.restart()
    name, mask = download(page, "mask.png")
    assert name == "a-mask.png"
    assert np.asarray(Image.open(io.BytesIO(mask)))[90, 140] == 255


def test_looking_closer_and_back(open_view: Callable[..., Page], tmp_path: Path) -> None:
    page = open_view()
    speck = paint(tmp_path / "speck.png", Box(300, 200, 305, 205), width=640, height=480)
    drop(page, speck, paint(tmp_path / "other.png", RED))
    page.get_by_role("heading", name="Regions", exact=True).wait_for()

    page.get_by_role("button", name="Look closer").click()  # all photos are asked about again, this one first
    page.get_by_role("heading", name="Regions (1)").wait_for()
    page.get_by_text("looked at closely").wait_for()
    _, data = download(page, "result.json")
    assert json.loads(data)["detail"] is True

    page.keyboard.press("t")
    page.get_by_text("looked at closely mirrored too").wait_for()
    page.keyboard.press("d")
    page.keyboard.press("t")
    page.get_by_role("heading", name="Regions", exact=True).wait_for()
    assert page.locator("[data-pass='detail']").get_attribute("aria-pressed") == "false"


def test_where_looking_closer_takes_too_long_it_can_be_taken_back(
    open_view: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_view(detail_timeout=0.001)
    drop(page, paint(tmp_path / "a.png", RED, width=640, height=480))
    verdict(page)
    page.get_by_role("button", name="Look closer").click()
    page.get_by_text("looking closer takes more than").first.wait_for()
    page.get_by_role("button", name="Look closer").click()
    assert verdict(page) == "Signs of manipulation"


def test_without_tiles_there_is_no_looking_closer(open_view: Callable[..., Page], tmp_path: Path) -> None:
    page = open_view(max_tiles=0)
    drop(page, paint(tmp_path / "a.png", RED))
    verdict(page)
    assert page.locator("[data-pass='tta']").is_visible()
    assert page.locator("[data-pass='detail']").count() == 0


def test_without_a_model_the_view_says_what_to_do(
    page: Page, live_server: Callable[..., str], make_photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    make_photos(tmp_path / "set", 1)
    page.goto(live_server(tmp_path / "set", teacher="none", model="none") + "/#/localize")
    page.get_by_role("heading", name="No model is loaded").wait_for()
    page.get_by_text("--model FOLDER").wait_for()


def test_everything_is_in_reach(
    new_page: Callable[..., Page],
    live_server: Callable[..., str],
    red_model: Path,
    tmp_path: Path,
    shot: Callable[..., None],
    appearance: tuple[str, int, int],
) -> None:
    scheme, width, height = appearance
    page = new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(live_server(verb="page", model=red_model))
    page.get_by_role("heading", name="Drop a photo here").wait_for()
    shot(page, f"localize-empty-{scheme}-{width}")
    page.locator("input[type=file]").first.set_input_files(paint(tmp_path / "a.png", RED))
    verdict(page)
    page.wait_for_timeout(200)
    shot(page, f"localize-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-file='result.json']").scroll_into_view_if_needed()
    assert page.locator("[data-file='result.json']").is_visible()


def test_copied_parts_are_told_in_words(
    page: Page,
    live_server: Callable[..., str],
    foliage: Callable[..., NDArray[np.uint8]],
    copy_move: Callable[..., tuple[NDArray[np.uint8], ...]],
    tmp_path: Path,
    shot: Callable[..., None],
) -> None:
    sand = np.repeat(128 + 8 * np.random.default_rng(1).normal(size=(240, 320, 1)), 3, axis=2)
    sand[100:180, 200:280] = sand[40:120, 60:140]
    photos = {
        r"\d+ details agree": copy_move(foliage(), (90, 120), (231, 108), 38)[0],
        "their grain agrees": np.clip(sand, 0, 255).astype(np.uint8),
    }
    page.goto(live_server(verb="page", model="default"))
    page.get_by_role("heading", name="Drop a photo here").wait_for()
    for number, (evidence, photo) in enumerate(photos.items()):
        save_png(tmp_path / f"{number}.png", photo)
        drop(page, tmp_path / f"{number}.png")
        sentence = page.locator(".verdict-copies li", has_text=re.compile(evidence))
        sentence.wait_for()
        assert verdict(page) == "Signs of manipulation"
        assert re.fullmatch(
            r"A part is there twice: [78]\d × [78]\d pixels at \d+, \d+, and [78]\d × [78]\d pixels at \d+, \d+ "
            rf"\({evidence}\)\. (Either may be the copy|The second looks pasted)\.",
            sentence.inner_text(),
        )
        shot(page, f"localize-copies-{number}")
        _, content = download(page, "result.json")
        assert len(json.loads(content)["copies"]) == 1
