"""Reading training images from shards beside reading them from a folder: `python -m benchmarks.shards [DATASET]`.

Each way reads, decodes and resizes the same training images in the order of an epoch, as one loading process does, in
interleaved rounds; medians. *files*: the dataset folder. *shards*: archives on this disk, in one window (mixed as the
folder is) and in small ones. *copies*: archives behind a URL (an HTTP server in a process of its own on this machine),
fetched whole as they come up. *ranges*: the same, image by image. Also: writing, and the start (reading the lists).
Without a DATASET, photographs of 384 x 256 pixels are generated. Files are warm in the system's memory: what a disk or
a network adds is not measured, but for one round trip an image with *ranges*.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.training import excerpt, generated
from boxpromptiml.dataset import Dataset
from boxpromptiml.shards import write_shards
from boxpromptiml.training import Recipe, Supervision
from boxpromptiml.training.data import layout_of
from boxpromptiml.training.items import TrainingImages
from boxpromptiml.training.sampler import ResumableSampler
from boxpromptiml.training.samples import gather_samples

# Answers ranges, as object stores do.
_SERVER = """
import re, sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404); return
        size, wanted = path.stat().st_size, re.match(r"bytes=(\\d+)-(\\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        stop = min(int(wanted[2]) + 1 if wanted and wanted[2] else size, size)
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(stop - start)
        self.send_response(206 if wanted else 200)
        if wanted: self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def served(folder: Path) -> Any:
    """A URL under which the files of a folder are."""
    with subprocess.Popen([sys.executable, "-c", _SERVER, str(folder)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def epoch(places: str | Path, recipe: Recipe, supervision: Supervision) -> tuple[float, float]:
    """Seconds until the images are known, and seconds to read, decode and resize all of them."""
    started = time.perf_counter()
    samples = gather_samples([places], recipe, supervision)
    known = time.perf_counter()
    images = TrainingImages(samples.train, recipe.input, recipe.augmentation, recipe.seed)
    layout = layout_of(samples, len(samples.train), recipe.data.shuffle_mb * 2**20)
    for key in ResumableSampler(len(samples.train), recipe.data.batch_size, recipe.seed, layout=layout):
        *_, error = images[key]
        if error:
            raise SystemExit(error)
    return known - started, time.perf_counter() - known


def recipe_with(folder: Path, **data: object) -> Recipe:
    return Recipe.model_validate({"validation": {"fraction": 0}, "data": {"shard_cache": str(folder), **data}})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, help="dataset folder; default: generated photographs")
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--supervision", default="box", choices=("pseudo", "mask", "box"))
    parser.add_argument("--shard-mb", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    supervision: Supervision = options.supervision
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make = excerpt if options.dataset else lambda _, into, number: generated(into, number)
        dataset = make(options.dataset, folder / "dataset", options.images)
        shards = folder / "shards"
        with Dataset.open(dataset) as opened:
            started = time.perf_counter()
            report = write_shards(opened, str(shards), shard_bytes=round(options.shard_mb * 2**20))
            writing = time.perf_counter() - started
        with served(shards) as url:
            turn = iter(range(10**6))
            ways: dict[str, Callable[[], tuple[float, float]]] = {
                "files": lambda: epoch(dataset, recipe_with(folder), supervision),
                "shards": lambda: epoch(shards, recipe_with(folder), supervision),
                "shards, small windows": lambda: epoch(shards, recipe_with(folder, shuffle_mb=8), supervision),
                "copies": lambda: epoch(url, recipe_with(folder / f"copies-{next(turn)}", shuffle_mb=8), supervision),
                "ranges": lambda: epoch(url, recipe_with(folder, shard_cache_mb=0), supervision),
            }
            spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, read in ways.items():
                    spent[way].append(read())
        rows = {}
        for way, pairs in spent.items():
            ratios = [mine / files for (_, mine), (_, files) in zip(pairs, spent["files"], strict=True)]
            rows[way] = {
                "start_ms": statistics.median(start for start, _ in pairs) * 1e3,
                "images_per_second": options.images / statistics.median(read for _, read in pairs),
                "time_beside_files": statistics.median(ratios),
            }
    result = {
        "images": report.images,
        "shards": report.shards,
        "megabytes": report.bytes / 2**20,
        "writing_images_per_second": report.images / writing,
        "ways": rows,
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{report.images} images, {report.bytes / 2**20:.1f} MB in {report.shards} shards, written at ", end="")
    print(f"{report.images / writing:.0f} images/s")
    for way, row in rows.items():
        speed, ratio = row["images_per_second"], row["time_beside_files"]
        print(f"{way:22} {speed:7.0f} images/s, {ratio:.2f} times the time of files; start {row['start_ms']:.0f} ms")


if __name__ == "__main__":
    main()
