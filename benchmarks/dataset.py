"""How fast the dataset store is: `python -m benchmarks.dataset [IMAGES] [--json]`."""

from __future__ import annotations

import argparse
import io
import json
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask, schema
from boxpromptiml.dataset.manifest import write_manifest
from boxpromptiml.dataset.splits import assign_splits
from boxpromptiml.formats import import_manifest
from boxpromptiml.regions import Box

# What the annotation and review pages list.
LISTS: dict[str, dict[str, str]] = {
    "all": {},
    "todo": {"state": "todo"},
    "open": {"review": "open"},
    "boxed and open": {"state": "boxed", "review": "open"},
    "named 999": {"contains": "999"},
    "named in vain": {"contains": "no such"},
}


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


def half_done(count: int) -> Iterator[ImageRecord]:
    """The same images in the middle of annotation and review: every state, half of them with a pseudo mask."""
    rng = np.random.default_rng(2)
    for number, record in enumerate(records(count)):
        turn = number % 20
        if not record.boxes:
            yield replace(record, label="authentic" if turn < 8 else None, skipped=turn in (8, 10))
            continue
        flags = (("low-quality",),) if turn < 5 else ((),)
        pseudo = PseudoMask(f"pseudo/{number:08}.png", "sam", {"boxes": "0f3a"}, (float(rng.random()),), flags, (None,))
        review = {1: "accepted", 3: "accepted", 5: "rejected"}.get(turn)
        yield replace(record, pseudo=pseudo, review=review, seconds=float(rng.uniform(2, 20)))


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
            print(f"{what:<64}{value:>10.2f} {unit}", flush=True)


def median_ms(call: Callable[[], object]) -> float:
    """The median of some calls, in milliseconds."""
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def slowest(clock: Clock, question: str, calls: dict[str, Callable[[], object]]) -> None:
    """Note the list for which a question takes longest."""
    medians = {what: median_ms(call) for what, call in calls.items()}
    worst = max(medians, key=lambda what: medians[what])
    clock.note(f"{question}: at most ({worst})", medians[worst], "ms")


def browse(dataset: Dataset, clock: Clock, count: int) -> None:
    """Time what the annotation and review pages ask."""
    with clock.timed("bring them half through annotation and review"):
        dataset.put(half_done(count))
    slowest(clock, "total", {what: partial(dataset.total, **filters) for what, filters in LISTS.items()})
    for order in ("image", "suspicion"):
        asked: dict[str, dict[str, Callable[[], object]]] = defaultdict(dict)
        for what, filters in LISTS.items():
            chosen = {**filters, "order": order}
            offset = dataset.total(**filters) * 9 // 10
            (far, *_) = dataset.page(**chosen, offset=offset, limit=1) or dataset.page(limit=1)
            asked["first page of 200"][what] = partial(dataset.page, **chosen)
            asked["page of 200 at 90 %"][what] = partial(dataset.page, **chosen, offset=offset)
            asked["place of an image at 90 %"][what] = partial(dataset.position, far.image, **chosen)
            asked["next image, once round"][what] = partial(dataset.neighbour, far.image, **chosen, wrap=True)
        for question, calls in asked.items():
            slowest(clock, f"{question}, by {order}", calls)
    clock.note("counts by state and review", median_ms(dataset.counts), "ms")
    clock.note("median and total annotation time", median_ms(dataset.timing), "ms")
    todo = dataset.page(state="todo", limit=300)
    with clock.timed("annotate one image, durably", len(todo), "ms"):
        for record in todo:
            dataset.annotate(
                record.image, boxes=[Box(1, 1, 9, 9)], label=None, add_seconds=6.5, expected_version=record.version
            )


def write_version_1(dataset: Dataset, folder: Path) -> None:
    """The images of a dataset as schema version 1 had them."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / schema.DATABASE)) as raw:
        raw.execute("ATTACH ? AS newer", (str(dataset.root / schema.DATABASE),))
        for statement in schema.MIGRATIONS[0]:
            raw.execute(statement)
        for table in ("image", "region", "pseudo_mask"):
            names = ", ".join(row[1] for row in raw.execute(f"PRAGMA main.table_info({table})"))
            raw.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
        raw.commit()
        (application,) = raw.execute("PRAGMA newer.application_id").fetchone()
        raw.execute(f"PRAGMA application_id = {application}")
        raw.execute("PRAGMA user_version = 1")


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
            browse(dataset, clock, count)
            stream = io.StringIO()
            with timed("write the manifest"):
                write_manifest(dataset, stream)
            clock.note("size of dataset.db", (dataset.root / "dataset.db").stat().st_size / 2**20, "MiB")
            manifest = dataset.root / "m.jsonl"
            manifest.write_text(stream.getvalue())
            write_version_1(dataset, Path(name) / "old")
        with timed("open a dataset of schema version 1: migration"):
            Dataset.open(Path(name) / "old").close()
        with timed("import the manifest into a new dataset"):
            import_manifest(manifest, Path(name) / "copy")
        with timed("open a dataset", 20, "ms"):
            for _ in range(20):
                Dataset.open(Path(name) / "copy").close()
    if options.json:
        print(json.dumps({"images": count, "figures": clock.figures}))


if __name__ == "__main__":
    main()
