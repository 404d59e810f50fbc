"""How fast the dataset store is: `python -m benchmarks.dataset [IMAGES] [--json]`."""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.manifest import write_manifest
from boxpromptiml.dataset.splits import assign_splits
from boxpromptiml.formats import import_manifest
from boxpromptiml.regions import Box


def records(count: int) -> Iterator[ImageRecord]:
    """As many records as wanted, half of them tampered, with one to three boxes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        boxes = ()
        if number % 2:
            corners = rng.integers(0, 500, (rng.integers(1, 4), 2))
            boxes = tuple(Box(int(x), int(y), int(x) + 100, int(y) + 80) for x, y in corners)
        yield ImageRecord(
            image=f"images/{number:08}.jpg",
            width=640,
            height=600,
            label="tampered" if boxes else "authentic",
            boxes=boxes,
            mask=f"masks/{number:08}.png" if boxes else None,
            group=f"{number // 3}",
        )


class Clock:
    """Times blocks, prints each figure as soon as it is known unless told to be quiet, and keeps them all."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self.figures: list[dict[str, str | float]] = []

    @contextmanager
    def timed(self, what: str, times: int = 1, unit: str = "s") -> Iterator[None]:
        """Note how long the block took, divided by `times`."""
        start = time.perf_counter()
        yield
        self.note(what, (time.perf_counter() - start) / times * {"s": 1, "ms": 1e3}[unit], unit)

    def note(self, what: str, value: float, unit: str) -> None:
        """Note a figure."""
        self.figures.append({"what": what, "value": round(value, 4), "unit": unit})
        if not self._quiet:
            print(f"{what:<58}{value:>10.2f} {unit}", flush=True)


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    count = options.images
    clock = Clock(quiet=options.json)
    timed = clock.timed
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        with Dataset.create(Path(name) / "data") as dataset:
            with timed(f"store {count:,} records in one transaction"):
                dataset.put(records(count))
            with timed("split them by source group"):
                assign_splits(dataset, {"val": 0.1, "test": 0.2})
            with timed("list all"):
                assert sum(1 for _ in dataset.records()) == count
            filters = {"split": "val", "label": "tampered", "annotated": True}
            with timed("count, no filter", 20, "ms"):
                for _ in range(20):
                    dataset.count()
            with timed("count, split + label + annotated", 20, "ms"):
                for _ in range(20):
                    dataset.count(**filters)
            for what, chosen in (("no filter", {}), ("split + label + annotated", filters)):
                # From the first half, so that full pages lie behind unless the dataset is tiny.
                starts = [f"images/{number:08}.jpg" for number in rng.integers(0, count // 2, 200)]
                with timed(f"page of 100 from anywhere, {what}", len(starts), "ms"):
                    for start in starts:
                        assert list(dataset.records(**chosen, after=start, limit=100))
            names = [f"images/{number:08}.jpg" for number in rng.integers(0, count, 300)]
            with timed("read one record", len(names), "ms"):
                for image in names:
                    dataset.get(image)
            with timed("save the boxes of one image, durably", len(names), "ms"):
                for image in names:
                    dataset.set_boxes(image, [Box(1, 1, 9, 9)], label="tampered")
            stream = io.StringIO()
            with timed("write the manifest"):
                write_manifest(dataset, stream)
            clock.note("size of dataset.db", (dataset.root / "dataset.db").stat().st_size / 2**20, "MiB")
            manifest = dataset.root / "m.jsonl"
            manifest.write_text(stream.getvalue())
        with timed("import the manifest into a new dataset"):
            import_manifest(manifest, Path(name) / "copy")
        with timed("open a dataset", 20, "ms"):
            for _ in range(20):
                Dataset.open(Path(name) / "copy").close()
    if options.json:
        print(json.dumps({"images": count, "figures": clock.figures}))


if __name__ == "__main__":
    main()
