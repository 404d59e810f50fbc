"""Many images to files or to a table, and what the terminal is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boxpromptiml.bulk import LeftOut, Outputs, Source, Summary, TableOptions
    from boxpromptiml.runtime import Localizer

_TABLE_LIMIT = 20  # more images than this: the summary alone


def to_files(
    localizer: Localizer,
    sources: list[Source],
    left_out: LeftOut,
    out: Path,
    as_json: bool,
    *,
    outputs: Outputs,
    **options: Any,
) -> int:
    """Write lines and pictures; returns how many images failed. `left_out`: see `expand_inputs`, of these sources."""
    import time

    from boxpromptiml.bulk import ResultsFile, Summary, localize_images
    from boxpromptiml.progress import progress_bar

    start = time.perf_counter()
    total = len(sources) if all(source.kind == "image" for source in sources) else None
    few = total is not None and total <= _TABLE_LIMIT
    results = ResultsFile.open(out)
    summary, shrunk = Summary(left_out=left_out), 0
    shrinks = localizer.config.preprocessing.shrinks
    order: list[str] = []
    shown: list[dict[str, Any]] = []
    try:
        with progress_bar() as bar:
            task = bar.add_task("localize", total=total)
            for line, skipped in localize_images(localizer, sources, results, outputs=outputs, **options):
                summary.add(line, skipped=skipped)
                order.append(line["image"])
                shrunk += "width" in line and "detail" not in line and shrinks(line["width"], line["height"])
                if few:
                    shown.append(line)
                elif "error" in line:
                    bar.console.print(
                        f"{line['image']}: {line['error']}", markup=False, highlight=False, soft_wrap=True
                    )
                bar.advance(task)
        results.finish(order)
    finally:
        results.close()
    summary.seconds, summary.shrunk = time.perf_counter() - start, shrunk
    _report(summary, shown, str(results.path), as_json)
    return summary.failed


def to_parquet(
    localizer: Localizer,
    sources: Iterable[Source],
    left_out: LeftOut,
    out: str,
    options: TableOptions,
    work: dict[str, Any],
    as_json: bool,
) -> int:
    """Write a table in parts; returns how many images failed. `left_out` is filled as the sources are drawn."""
    import time

    from boxpromptiml.bulk import OutputFolder, Summary, prepare_table
    from boxpromptiml.progress import progress_bar, track

    start = time.perf_counter()
    folder = OutputFolder(out)
    with folder.held():
        run = prepare_table(localizer, track(sources, "list"), folder, options)
        with progress_bar() as bar:
            task = bar.add_task("localize", total=run.images, completed=run.done.images)
            for images in run.work(**work):
                bar.update(task, advance=images, total=run.images)
    counts = run.counts
    summary = Summary(
        counts.images, counts.tampered, counts.failed, run.done.images, time.perf_counter() - start, left_out
    )
    _report(summary, [], out, as_json)
    return summary.failed


def _report(summary: Summary, shown: list[dict[str, Any]], path: str, as_json: bool) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    if as_json:
        print(json.dumps({**summary.to_json(), "results": path}))
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if shown:
        copies = any(line.get("copies") for line in shown)
        table = Table("image", "verdict", "score", "regions", *(["copies"] if copies else []), "seconds")
        table.columns[0].min_width, table.columns[0].overflow = 12, "fold"  # the end of a path tells images apart
        for column in table.columns[1:]:
            column.no_wrap = True
        for column in table.columns[2:]:
            column.justify = "right"
        for line in shown:
            if "error" in line:
                table.add_row(line["image"], "error")
            else:
                counts = [str(len(line["regions"])), *([str(len(line.get("copies", [])))] if copies else [])]
                # The page says so, too: that nothing was found does not make a photo authentic.
                verdict = line["verdict"] if line["verdict"] == "tampered" else "no signs"
                table.add_row(line["image"], verdict, f"{line['score']:.3f}", *counts, f"{line['seconds']:.2f}")
        console.print(table, soft_wrap=False)
        for line in shown:
            if "error" in line:
                console.print(f"{line['image']}: {line['error']}")
    images = "1 image" if summary.images == 1 else f"{summary.images} images"
    skipped = f", {summary.skipped} already done" if summary.skipped else ""
    rate = f"{summary.images_per_second:.1f} images/s; " if summary.skipped < summary.images else ""
    console.print(f"{images}: {summary.tampered} tampered, {summary.failed} failed{skipped}; {rate}{path}")
    if summary.shrunk:
        seen = "1 image was" if summary.shrunk == 1 else f"{summary.shrunk} images were"
        console.print(f"{seen} looked at smaller than full size, which hides fine traces; --detail looks closer")
    if unread := summary.left_out.unread_text():
        console.print(f"left out, as these formats are not read: {unread}; convert them to PNG")
    if others := summary.left_out.others_text():
        console.print(f"left out: {others}")
