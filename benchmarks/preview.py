"""How long a person waits for the teacher's mask: `python -m benchmarks.preview [--json] [--photos FOLDER]`.

A real server process is asked over HTTP on loopback, as the page asks: photographs of 4000 x 3000 pixels, JPEG, with
one and with three boxes, `cold` (the image has never been opened), `warm` (it was encoded ahead), `moved` (one box of
them is new) and `exact` (the mask that pseudo-labelling makes). Milliseconds from sending the request to having read
the answer, median and 95th percentile over images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import find_images, open_image

WIDTH, HEIGHT = 4000, 3000
BOXES = [[920, 708, 2680, 2292], [100, 100, 700, 900], [2800, 1500, 3900, 2800]]


def synthetic(seed: int) -> NDArray[np.uint8]:
    """Blobs of colour with an object of another colour, and noise."""
    import cv2

    rng = np.random.default_rng(seed)
    small = rng.normal(0, 1, (HEIGHT // 16, WIDTH // 16, 3)).astype(np.float32)
    image = 120 + 40 * cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for x0, y0, x1, y1 in BOXES:
        y, x = np.ogrid[:HEIGHT, :WIDTH]
        inside = np.hypot((2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)) < 0.9
        image[inside] += rng.normal(0, 60, 3)
    image += rng.normal(0, 5, image.shape).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)


def enlarged(path: Path, seed: int) -> NDArray[np.uint8]:
    """A photograph enlarged to 12 megapixels, with a sensor's noise: no fine texture is lost on the way."""
    import cv2

    image = cv2.resize(open_image(path), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).normal(0, 4, image.shape).astype(np.float32)
    return (image + noise).clip(0, 255).astype(np.uint8)


def build(root: Path, photos: Path | None, number: int) -> list[str]:
    """A dataset of `number` photographs, half of them synthetic where there are others."""
    found = find_images(photos) if photos is not None else []
    real = found[:: max(1, len(found) * 2 // number)][: number // 2]
    names = []
    with Dataset.create(root) as dataset:
        for index in range(number):
            name = f"{index:03d}.jpg"
            image = enlarged(real[index], index) if index < len(real) else synthetic(index)
            Image.fromarray(image).save(root / name, quality=92)
            dataset.put(ImageRecord(name, WIDTH, HEIGHT))
            names.append(name)
    return names


class Server:
    """A server process, and one client's requests."""

    def __init__(self, root: Path) -> None:
        program = [sys.executable, "-m", "boxpromptiml.cli.main"]
        command = [*program, "annotate", str(root), "--no-browser", "--cache-mb", "128"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = next(line for line in self._process.stdout if "http://" in line)
        self._url = next(word for word in line.split() if word.startswith("http://")).split("?")[0].rstrip("/")

    def post(self, path: str, body: Any) -> tuple[float, Any]:
        """Milliseconds and the answer."""
        start = time.perf_counter()
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
        return 1000 * (time.perf_counter() - start), json.loads(content) if content else None

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


def measure(root: Path, names: Sequence[str], boxes: int, exact: bool) -> dict[str, list[float]]:
    """Milliseconds of each kind of request, on a server of its own: nothing is known from the run before."""
    server, taken = Server(root), {"cold": [], "warm": [], "moved": [], "exact": []}  # type: ignore[var-annotated]
    wanted = BOXES[:boxes]
    shifted = [[value + 8 for value in box] for box in wanted]
    try:
        for name in names:
            moved = [*shifted[:-1], [value + 16 for value in shifted[-1]]]
            for kind, asked in (("cold", wanted), ("warm", shifted), ("moved", moved)):
                milliseconds, answer = server.post("/api/preview", {"image": name, "boxes": asked})
                assert answer["cached"] == (kind != "cold")
                taken[kind].append(milliseconds)
            if exact:
                body = {"image": name, "boxes": shifted, "exact": True}
                taken["exact"].append(server.post("/api/preview", body)[0])
    finally:
        server.close()
    return {kind: times for kind, times in taken.items() if times}


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--photos", type=Path, help="folder of photographs; without it all are synthetic")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--exact", action="store_true", help="time the exact masks as well: seconds each")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = build(root, options.photos, options.images)
        for boxes in (1, 3):
            for kind, times in measure(root, names, boxes, options.exact).items():
                p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
                row = {"boxes": boxes, "kind": kind, "images": len(times)}
                rows.append(row | {"median_ms": round(statistics.median(times)), "p95_ms": round(p95)})
                if not options.json:
                    print(
                        "{boxes} boxes {kind:<6} median {median_ms:5} ms  p95 {p95_ms:5} ms".format(**rows[-1]),
                        flush=True,
                    )
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
