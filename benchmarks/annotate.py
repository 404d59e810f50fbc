"""What the annotating page itself costs a person: `python -m benchmarks.annotate [IMAGES] [--json]`.

A script draws one box on each of IMAGES photographs, in a real browser on a real server, by mouse, and presses Enter.
It thinks for no time at all, so nothing can hide behind a person's seven seconds. Counted is the time that is not
drawing: from the key that ends one image until the next one can be drawn on, and until its box is safe in the database.
In the end the database must say exactly what was drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.web import photo
from boxpromptiml.dataset import Dataset

if TYPE_CHECKING:
    from playwright.sync_api import Page

DIFFERENT = 12
# Chromium looks up outside names at each start unless it is told not to.
FLAGS = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]

# Notes when the key that ends an image went down, when the next one could be drawn on, and when all was saved.
WATCH = """() => {
  const stage = document.querySelector(".stage");
  const state = document.querySelector(".save-state");
  const seen = (window.seen = { key: 0, ready: 0, saved: 0 });
  addEventListener("keydown", () => { Object.assign(seen, { key: performance.now(), ready: 0, saved: 0 }); }, true);
  new MutationObserver(() => { if (stage.dataset.ready && !seen.ready) seen.ready = performance.now(); })
    .observe(stage, { attributeFilter: ["data-ready"] });
  new MutationObserver(() => { seen.saved = state.dataset.state === "saved" ? performance.now() : 0; })
    .observe(state, { attributeFilter: ["data-state"], childList: true });
}"""


def fill(folder: Path, count: int, width: int, height: int) -> list[str]:
    """Make the photographs, most of them hard links to a few; returns their names."""
    names = [f"{i:04}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        if i < DIFFERENT:
            photo(width, height, i).save(folder / name, quality=90)
        else:
            os.link(folder / names[i % DIFFERENT], folder / name)
    return names


def annotate(page: Page, names: list[str]) -> tuple[list[dict[str, float]], dict[str, list[int]]]:
    """Draw one box on every image; returns the milliseconds of each change of image, and what was drawn."""
    turns, drawn = [], {}
    page.wait_for_selector(f'.stage[data-ready="{names[0]}"]')
    page.evaluate(WATCH)
    frame = page.locator(".stage").bounding_box()
    assert frame is not None
    for i, name in enumerate(names):
        left, top = frame["x"] + 0.25 * frame["width"] + i, frame["y"] + 0.3 * frame["height"] + i / 2
        start = time.perf_counter()
        page.mouse.move(left, top)
        page.mouse.down()
        page.mouse.move(left + 200, top + 120, steps=8)
        page.mouse.up()
        drawing = (time.perf_counter() - start) * 1e3
        inputs = page.locator(".box-numbers input")
        drawn[name] = [int(inputs.nth(side).input_value()) for side in range(4)]
        page.keyboard.press("Enter")
        if i + 1 < len(names):
            page.wait_for_selector(f'.stage[data-ready="{names[i + 1]}"]')
        page.wait_for_function("() => seen.saved && document.querySelector('.save-state').dataset.state === 'saved'")
        seen = page.evaluate("() => seen")
        ready = seen["ready"] - seen["key"] if i + 1 < len(names) else 0.0
        saved = max(0.0, seen["saved"] - seen["key"])
        turns.append({"ready": ready, "saved": saved, "overhead": max(ready, saved), "drawing": drawing})
    return turns, drawn


def run(folder: Path, names: list[str], program: str, teacher: str) -> list[dict[str, float]]:
    """Annotate a folder from the first image to the last, and compare with what is stored."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "boxpromptiml.cli.main", "annotate", str(folder), "--teacher", teacher]
    server = subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = next(line.split()[0] for line in server.stdout if line.startswith("http"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            turns, drawn = annotate(page, names)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    with Dataset.open(folder) as dataset:
        stored = {record.image: [list(box) for box in record.boxes] for record in dataset.records()}
        seconds = [record.seconds for record in dataset.records()]
    assert stored == {name: [box] for name, box in drawn.items()}, "the database differs from what was drawn"
    assert all(seconds), "an image without its time"
    return turns


def main() -> int:
    """Run the benchmark and print a table or JSON; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=int, default=100)
    parser.add_argument("--size", default="4000x3000", metavar="WIDTHxHEIGHT", help="of the photographs")
    parser.add_argument("--teacher", default="grabcut", help="previews masks meanwhile; none for no previews")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    program = os.environ.get("BOXPROMPTIML_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("error: no Chromium on this machine: apt-get install chromium, or set BOXPROMPTIML_CHROMIUM")
        return 1
    width, height = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        names = fill(Path(name), options.images, width, height)
        turns = run(Path(name), names, program, options.teacher)
    figures = [*summary(turns[:-1])]
    if options.json:
        print(json.dumps({"images": options.images, "size": options.size, "figures": figures}, indent=2))
    else:
        for figure in figures:
            print(f"{figure['what']:<64}{figure['value']:>10.1f} {figure['unit']}")
    return 0


def summary(turns: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Median, 95th percentile and worst of each figure; milliseconds an image."""
    texts = {
        "ready": "until the next image can be drawn on",
        "saved": "until the box is safe",
        "overhead": "overhead: until both",
        "drawing": "drawing (the script's, for comparison)",
    }
    rows = []
    for key, text in texts.items():
        values = sorted(turn[key] for turn in turns)
        for name, value in (
            ("mean", statistics.fmean(values)),
            ("95 % of images", values[int(0.95 * (len(values) - 1))]),
            ("worst", values[-1]),
        ):
            rows.append({"what": f"{text}, {name}", "value": round(value, 1), "unit": "ms"})
    return rows


if __name__ == "__main__":
    sys.exit(main())
