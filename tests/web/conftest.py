"""A real browser on a real server: what a person meets, no more and no less."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Chromium looks up outside names at each start unless it is told not to.
_FLAGS = [
    "--disable-quic",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
]
_START_SECONDS = 120
# The command line in a process of its own, forked from one that has imported what a server needs: there are hundreds.
_FORKING = multiprocessing.get_context("forkserver")
_IMPORTED = ("cli.main", "web", "web.opening", "teachers", "opencv", "runtime.onnx_session")
_FORKING.set_forkserver_preload([f"boxpromptiml.{name}" for name in _IMPORTED])
_COMMAND = """
import os, sys
os.environ.clear()
os.environ.update(environment)
os.chdir(folder)
log = os.open(path, os.O_WRONLY | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
sys.stdout = sys.stderr = open(1, "w", buffering=1, encoding="utf-8")
sys.argv = ["boxpromptiml", *words]
from boxpromptiml.cli.main import main
main()
"""
_WIDTH, _HEIGHT = 640, 480  # of the photos on a desk
_MARGIN = 24  # around a picture that is fitted


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"page", "browser", "new_page"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = os.environ.get("BOXPROMPTIML_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set BOXPROMPTIML_CHROMIUM")
    with api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        except api.Error as error:
            pytest.skip(f"{program} does not start here: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page as another person would: nothing shared with the other ones.

    ``new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)``; the options are those
    of a browser context. An exception in a page that nothing catches, or a breach of the content security policy,
    fails the test.
    """
    contexts, wrong = [], []

    def heard(message: Any) -> None:
        # What another site's page may not do with ours is no breach by ours.
        breach = "Content Security Policy" in message.text and not message.text.startswith("Framing ")
        if message.type == "error" and breach:
            wrong.append(message.text)

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", heard)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong, wrong


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """One page of 1280 x 800 pixels; see `new_page`."""
    return new_page()


@pytest.fixture(
    params=[
        ("light", 1280, 800),
        ("dark", 390, 844),
        pytest.param(("dark", 1280, 800), marks=pytest.mark.torture),
        pytest.param(("light", 390, 844), marks=pytest.mark.torture),
    ],
    ids=lambda one: "{}-{}x{}".format(*one),
)
def appearance(request: pytest.FixtureRequest) -> tuple[str, int, int]:
    """Colour scheme, width and height of a window: of a desk and of a telephone."""
    one: tuple[str, int, int] = request.param
    return one


class LiveServer(str):
    """The address of a running server, without a slash at its end, and the process behind it.

    Attributes:
        process: of the command line.
        printed: what it printed as its address, with the token where there is one.
    """

    process: ForkServerProcess
    printed: str
    _words: list[str]
    _output: Path

    @property
    def log(self) -> list[str]:
        """What it printed since it was started first, a line an entry, standard output and error."""
        return self._output.read_text(encoding="utf-8").splitlines()

    def stop(self, sign: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; SIGKILL is what a power cut does to it."""
        assert self.process.pid is not None
        os.kill(self.process.pid, sign)
        self.process.join(30)
        assert self.process.exitcode is not None, "it does not end"
        return self.process.exitcode

    def restart(self) -> None:
        """Start it again on the same port, where it has ended."""
        assert self.process.exitcode is not None, "it is still running"
        self.process, _ = _launch([*self._words, "--port", self.rsplit(":", 1)[1]], self._output)


def _launch(words: list[str], output: Path) -> tuple[ForkServerProcess, str]:
    """Start the command line in a process of its own that appends what it prints to a file; it, and its address."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("BOXPROMPTIML_MODEL", None)
    output.touch()
    before = output.stat().st_size
    given = {"words": words, "path": str(output), "folder": os.getcwd(), "environment": environment}
    process = _FORKING.Process(target=exec, args=(_COMMAND, given), daemon=True)
    process.start()
    end = time.monotonic() + _START_SECONDS
    while True:
        over = process.exitcode is not None or time.monotonic() > end
        said = output.read_bytes()[before:].decode(errors="replace")
        for line in said.splitlines(keepends=True):
            if line.startswith("http") and line.endswith("\n"):
                return process, line.split()[0]
        assert not over, said
        time.sleep(0.005)


@pytest.fixture
def live_server(
    own_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., LiveServer]]:
    """A function that starts ``boxpromptiml annotate`` in a process of its own and returns its address.

    ``live_server(folder, teacher="none", model=model_folder, read_only=True, allow_host=["a", "b"])``: keywords are
    options of the command; True for a switch, a list for an option that is given several times. `verb` names another
    verb that serves a page; without a folder none is given. All servers are ended with the test.
    """
    servers: list[LiveServer] = []

    def start(folder: Path | None = None, *, verb: str = "annotate", **options: Any) -> LiveServer:
        words = [verb] if folder is None else [verb, str(folder)]
        for name, value in options.items():
            option = "--" + name.replace("_", "-")
            for one in value if isinstance(value, list) else [value]:
                if one is not False and one is not None:
                    words += [option] if one is True else [option, str(one)]
        if "port" not in options:
            words += ["--port", str(own_port())]
        words.append("--no-browser")
        output = tmp_path_factory.mktemp("server") / "output"
        process, printed = _launch(words, output)
        server = LiveServer(printed.split("/?")[0].rstrip("/"))
        server.process, server.printed, server._words, server._output = process, printed, words, output
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.process.kill()
        server.process.join(30)


@pytest.fixture
def fetch() -> Callable[..., tuple[int, bytes]]:
    """A function that asks a server as a program would, and returns status and body."""

    def ask(url: str, *, data: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data=data, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return ask


@pytest.fixture
def make_photos() -> Callable[..., list[Path]]:
    """A function that fills a folder with photo-like JPEGs, each with a red rectangle, and returns their paths.

    ``make_photos(folder, 5, width=640, height=480)``: ``photo-000.jpg`` ...
    """

    def make(folder: Path, count: int = 3, width: int = 640, height: int = 480) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for i in range(count):
            rng = np.random.default_rng(i)
            coarse = rng.integers(40, 200, (6, 8, 3), dtype=np.uint8)
            picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).copy()
            picture[height // 4 : height // 2, width // 4 : width // 2] = (220, 30, 30)
            paths.append(folder / f"photo-{i:03}.jpg")
            Image.fromarray(picture).save(paths[-1], quality=90)
        return paths

    return make


@pytest.fixture
def shot() -> Callable[[Page, str], None]:
    """A function that keeps a picture of a page for people to look at, where BOXPROMPTIML_SCREENSHOTS names a folder.

    ``shot(page, "annotate-dark")``
    """

    def take(page: Page, name: str) -> None:
        folder = os.environ.get("BOXPROMPTIML_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(Path(folder, f"{name}.png")))

    return take


class Desk:
    """A person at the page: points at image pixels, presses keys, looks at what the page says.

    Args:
        page: of the browser.
        folder: the dataset's; read directly, never through the server.
        wait: the fixture `wait_until`.
    """

    def __init__(self, page: Page, folder: Path, wait: Callable[..., Any]) -> None:
        self.page, self.folder, self._wait = page, folder, wait

    def open(self, address: str, image: str | None = None) -> None:
        self.page.goto(f"{address}/#/annotate" + (f"?image={image}" if image else ""))
        self.ready(image)

    def tab(self) -> Desk:
        """One more page of the same browser."""
        return Desk(self.page.context.new_page(), self.folder, self._wait)

    def ready(self, image: str | None = None) -> None:
        """Wait until one can draw."""
        self.page.wait_for_selector(
            f'.annotate .stage[data-ready="{image}"]' if image else ".annotate .stage[data-ready]"
        )

    @property
    def image(self) -> str | None:
        return self.page.locator(".stage").get_attribute("data-ready")

    def screen(self, x: float, y: float, scale: float | None = None) -> tuple[float, float]:
        """Where an image pixel's corner lies on the screen: the whole image is fitted, or shown at a scale."""
        frame = self.page.locator(".stage").bounding_box()
        assert frame is not None
        fitting = min((frame["width"] - 2 * _MARGIN) / _WIDTH, (frame["height"] - 2 * _MARGIN) / _HEIGHT)
        scale = scale or fitting
        left = frame["x"] + (frame["width"] - _WIDTH * scale) / 2
        top = frame["y"] + (frame["height"] - _HEIGHT * scale) / 2
        return left + x * scale, top + y * scale

    def drag(self, start: tuple[float, float], end: tuple[float, float], scale: float | None = None) -> None:
        mouse = self.page.mouse
        mouse.move(*self.screen(*start, scale))
        mouse.down()
        mouse.move(*self.screen(*end, scale), steps=4)
        mouse.up()

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.screen(x, y))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        self.becomes("saved")

    def becomes(self, state: str) -> None:
        """Wait until the page says that of what was changed."""
        self._wait(lambda: self.state == state, what=f"the page says {self.state}, not {state}")

    @property
    def state(self) -> str | None:
        return self.page.locator(".save-state").get_attribute("data-state")

    @property
    def listed(self) -> list[str | None]:
        """The boxes as the page lists them."""
        options = self.page.locator(".box-list [role=option]")
        return [options.nth(i).get_attribute("aria-label") for i in range(options.count())]

    def record(self, image: str | None = None) -> ImageRecord:
        with Dataset.open(self.folder) as dataset:
            return dataset.get(image or "photo-000.jpg")

    def boxes(self, image: str | None = None) -> list[tuple[int, ...]]:
        return [tuple(box) for box in self.record(image).boxes]

    def stores(self, *boxes: tuple[int, int, int, int], image: str | None = None) -> None:
        """Wait until exactly these boxes are in the database."""
        expected = list(boxes)
        try:
            self._wait(lambda: self.boxes(image) == expected)
        except AssertionError:
            assert self.boxes(image) == expected


@pytest.fixture
def folder(tmp_path: Path, make_photos: Callable[..., list[Path]]) -> Path:
    """Five photos of 640 x 480, of which nothing is said yet."""
    make_photos(tmp_path / "photos", 5, _WIDTH, _HEIGHT)
    return tmp_path / "photos"


@pytest.fixture
def server(live_server: Callable[..., LiveServer], folder: Path) -> LiveServer:
    """The page about `folder`, without teacher and model."""
    return live_server(folder, teacher="none", model="none")


@pytest.fixture
def desk_at(new_page: Callable[..., Page], folder: Path, wait_until: Callable[..., Any]) -> Callable[..., Desk]:
    """A function that seats another person: their own browser profile, the same dataset."""
    return lambda **options: Desk(new_page(**options), folder, wait_until)


@pytest.fixture
def desk(desk_at: Callable[..., Desk]) -> Desk:
    """One person who annotates `folder`."""
    return desk_at()
