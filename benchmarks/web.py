"""How fast the page's server is: `python -m benchmarks.web [IMAGES] [--json]`.

A real server over IMAGES photographs of 384 x 256 and a few of 12 megapixels, asked over six connections at once, as
many as a browser opens. Most images are hard links to a few: each has its own record and thumbnail.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from urllib.parse import quote

import numpy as np
from PIL import Image

CONNECTIONS = 6
DIFFERENT = 50
LARGE = 12


def photo(width: int, height: int, seed: int) -> Image.Image:
    """A smooth picture with the noise of a camera: its JPEG is as large as a photograph's."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 32 + 1, width // 32 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.integers(-4, 5, (height, width, 1), dtype=np.int16)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def fill(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """Make the images; returns the names of the small and of the large ones."""
    small = [f"small/{i // 1000:03}/{i:07}.jpg" for i in range(count)]
    for i, name in enumerate(small):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < DIFFERENT:
            photo(384, 256, i).save(path, quality=90)
        else:
            os.link(folder / small[i % DIFFERENT], path)
    large = [f"large/{i:03}.jpg" for i in range(LARGE)]
    (folder / "large").mkdir()
    for i, name in enumerate(large):
        photo(4000, 3000, i).save(folder / name, quality=90)
    return small, large


class Client:
    """Asks a server over kept connections, one a thread."""

    def __init__(self, address: str) -> None:
        self._place = address.removeprefix("http://").rstrip("/")
        self._own = local()

    def ask(self, path: str, body: bytes | None = None, etag: str | None = None) -> tuple[bytes, str, float]:
        """The body of an answer, its ETag, and the milliseconds that it took."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._place)
        headers = {} if etag is None else {"If-None-Match": etag}
        if body is not None:
            headers["Content-Type"] = "application/json"
        start = time.perf_counter()
        self._own.connection.request("GET" if body is None else "PUT", path, body, headers)
        answer = self._own.connection.getresponse()
        data = answer.read()
        assert answer.status in (200, 304), (answer.status, data[:200])
        return data, answer.headers.get("ETag", ""), (time.perf_counter() - start) * 1e3


def picture(name: str, size: str) -> str:
    """Path of a picture."""
    return f"/api/picture?image={quote(name, safe='')}&size={size}"


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures: list[dict[str, str | float]] = []

    def note(what: str, value: float, unit: str) -> None:
        figures.append({"what": what, "value": round(value, 3), "unit": unit})
        if not options.json:
            print(f"{what:<64}{value:>10.2f} {unit}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        small, large = fill(Path(name), options.images)
        for again in (False, True):
            start = time.perf_counter()
            server = subprocess.Popen(
                [sys.executable, "-m", "boxpromptiml.cli.main", "annotate", name, "--teacher", "none", "--no-browser"],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert server.stdout is not None
            address = next(line.split()[0] for line in server.stdout if line.startswith("http"))
            note(
                "start again, nothing new" if again else "start: find and examine all", time.perf_counter() - start, "s"
            )
            try:
                measure(Client(address), small, large, note, again=again)
            finally:
                server.terminate()
                server.wait()
    if options.json:
        print(json.dumps({"images": options.images, "figures": figures}, indent=2))


def measure(
    client: Client, small: list[str], large: list[str], note: Callable[[str, float, str], None], *, again: bool
) -> None:
    """Ask for what the page asks for. The second time all thumbnails are on disk."""
    some = small[-1000:]
    with ThreadPoolExecutor(CONNECTIONS) as pool:

        def rate(names: list[str], size: str, etags: list[str] | None = None) -> tuple[float, list[str]]:
            start = time.perf_counter()
            answers = list(
                pool.map(lambda i: client.ask(picture(names[i], size), None, etags and etags[i]), range(len(names)))
            )
            return len(names) / (time.perf_counter() - start), [etag for _, etag, _ in answers]

        where = "from disk" if again else "made"
        value, _ = rate(some, "thumb")
        note(f"thumbnails of 384 x 256, {where}", value, "a second")
        value, etags = rate(some, "thumb")
        note("thumbnails of 384 x 256, from memory", value, "a second")
        value, _ = rate(some, "thumb", etags)
        note("thumbnails of 384 x 256, known to the browser", value, "a second")
        value, _ = rate(large, "thumb")
        note(f"thumbnails of 12 megapixels, {where}", value, "a second")
        if again:
            return
        note("view of a 12 megapixel photo", statistics.median(client.ask(picture(n, "view"))[2] for n in large), "ms")
        note("all of a 12 megapixel photo", statistics.median(client.ask(picture(n, "full"))[2] for n in large), "ms")
        offsets = range(0, len(small), max(1, len(small) // 50))
        pages = [client.ask(f"/api/images?offset={offset}&limit=200")[2] for offset in offsets]
        note("page of 200 images from anywhere", statistics.median(pages), "ms")
        save(client, small, note, "save a change durably")
        # A screen full of thumbnails that are not there yet, scrolled through meanwhile.
        scrolled = [pool.submit(client.ask, picture(image, "thumb")) for image in small[:600]]
        save(client, small[1000:], note, "save a change while 600 thumbnails are made")
        for future in scrolled:
            future.result()


def save(client: Client, names: list[str], note: Callable[[str, float, str], None], what: str) -> None:
    """Note how long a person's change takes to be stored."""
    body = json.dumps({"version": 1, "boxes": [[1, 2, 90, 80]], "label": None, "add_seconds": 5}).encode()
    taken = [client.ask(f"/api/record?image={quote(name, safe='')}", body)[2] for name in names[:50]]
    note(f"{what}, median", statistics.median(taken), "ms")
    note(f"{what}, slowest of 50", max(taken), "ms")


if __name__ == "__main__":
    main()
