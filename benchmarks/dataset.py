"""How fast the dataset store is: `python -m benchmarks.dataset [IMAGES]`."""

from __future__ import annotations

import argparse
import io
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


@contextmanager
def timed(what: str, times: int = 1, unit: str = "s") -> Iterator[None]:
    """Print how long the block took, divided by `times`."""
    start = time.perf_counter()
    yield
    seconds = (time.perf_counter() - start) / times
    print(f"{what:<58}{seconds * {'s': 1, 'ms': 1e3}[unit]:>10.2f} {unit}", flush=True)


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", type=int, default=100_000)
    count = parser.parse_args().images
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
                starts = [f"images/{number:08}.jpg" for number in rng.integers(0, count * 9 // 10, 200)]
                with timed(f"page of 100 from anywhere, {what}", len(starts), "ms"):
                    for start in starts:
                        assert len(list(dataset.records(**chosen, after=start, limit=100))) == 100
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
            print(f"{'size of dataset.db':<58}{(dataset.root / 'dataset.db').stat().st_size / 2**20:>10.1f} MB")
            manifest = dataset.root / "m.jsonl"
            manifest.write_text(stream.getvalue())
        with timed("import the manifest into a new dataset"):
            import_manifest(manifest, Path(name) / "copy")
        with timed("open a dataset", 20, "ms"):
            for _ in range(20):
                Dataset.open(Path(name) / "copy").close()


if __name__ == "__main__":
    main()
