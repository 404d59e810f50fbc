"""Verbs: localize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from boxpromptiml.bulk import Summary

_TABLE_LIMIT = 20  # more images than this: the summary alone


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("localize")(localize)


def localize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Image files, folders (searched recursively), quoted globs, or - for a list of paths on stdin.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.jsonl and the pictures.")],
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", envvar="BOXPROMPTIML_MODEL", help="Model folder.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="For pixels and verdict; default: the model's.", show_default=False),
    ] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Masks, 0/255, at the image's own size.")] = True,
    heatmaps: Annotated[
        bool,
        typer.Option("--heatmaps/--no-heatmaps", help="16-bit PNG: probability x 65535 on the network's grid."),
    ] = True,
    overlays: Annotated[
        bool, typer.Option("--overlays/--no-overlays", help="JPEG to look at: tint and outline, at most 2048 pixels.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Look again at images whose earlier result still holds.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network and of decoding; default: all usable cores.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Images per inference.")] = 4,
    max_megapixels: Annotated[
        float, typer.Option(min=0.000001, help="Larger images become error lines before they are decoded.")
    ] = 200.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of as text.")] = False,
) -> None:
    """Find the tampered pixels of photographs.

    Writes OUT/results.jsonl, one line per image in the order of the inputs (image, sha256, width, height, score,
    verdict, threshold, regions, mask, heatmap, overlay, model, seconds; or image, error), OUT/masks, OUT/heatmaps and
    OUT/overlays. A second run into the same folder goes on where the first one stopped: images with the same SHA-256,
    model, threshold and files are skipped. Exit code 1: some images failed; 2: wrong usage.
    """
    import sys
    import time
    import warnings

    from boxpromptiml.bulk import Outputs, ResultsFile, Summary, expand_inputs, localize_images
    from boxpromptiml.progress import progress_bar
    from boxpromptiml.runtime import Localizer

    # Pillow's remarks on odd metadata would tear the progress bar; what matters becomes an error line.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    start = time.perf_counter()
    images = expand_inputs(inputs, out=out, lines=sys.stdin if "-" in inputs else None)
    localizer = Localizer.load(model, threads=threads)
    results = ResultsFile.open(out)
    summary = Summary()
    shown: list[dict[str, Any]] = []
    try:
        with progress_bar() as bar:
            task = bar.add_task("localize", total=len(images))
            for line, skipped in localize_images(
                localizer,
                images,
                results,
                outputs=Outputs(masks, heatmaps, overlays),
                threshold=threshold,
                batch_size=batch_size,
                workers=threads,
                max_pixels=int(max_megapixels * 1e6),
                overwrite=overwrite,
            ):
                summary.add(line, skipped=skipped)
                if len(images) <= _TABLE_LIMIT:
                    shown.append(line)
                elif "error" in line:
                    bar.console.print(
                        f"{line['image']}: {line['error']}", markup=False, highlight=False, soft_wrap=True
                    )
                bar.advance(task)
        results.finish(str(image.path) for image in images)
    finally:
        results.close()
    summary.seconds = time.perf_counter() - start
    _report(summary, shown, results.path, as_json)
    if summary.failed:
        raise typer.Exit(1)


def _report(summary: Summary, shown: list[dict[str, Any]], path: Path, as_json: bool) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    if as_json:
        print(json.dumps({**summary.to_json(), "results": str(path)}))
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if shown:
        table = Table("image", "verdict", "score", "regions", "seconds")
        for column in table.columns[2:]:
            column.justify = "right"
        for line in shown:
            if "error" in line:
                table.add_row(line["image"], f"error: {line['error']}", "", "", "")
            else:
                numbers = f"{line['score']:.3f}", str(len(line["regions"])), f"{line['seconds']:.2f}"
                table.add_row(line["image"], line["verdict"], *numbers)
        console.print(table)
    images = "1 image" if summary.images == 1 else f"{summary.images} images"
    skipped = f", {summary.skipped} already done" if summary.skipped else ""
    console.print(
        f"{images}: {summary.tampered} tampered, {summary.failed} failed{skipped}; "
        f"{summary.images_per_second:.1f} images/s; {path}"
    )
