"""Verbs: manifest, boxes, validate, split."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from boxpromptiml.cli.arguments import DatasetArgument, Split
from boxpromptiml.cli.tables import table_console
from boxpromptiml.cli.wording import images, some
from boxpromptiml.errors import DatasetError


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("manifest")(manifest)
    app.command("boxes")(boxes)
    app.command("validate")(validate)
    app.command("split")(split)


def manifest(
    dataset: DatasetArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here, paths relative to the file's folder."),
    ] = None,
) -> None:
    """Print the dataset as JSON Lines, one image a line, paths relative to the dataset's folder."""
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.dataset.manifest import write_manifest
    from boxpromptiml.files import atomic_path

    with Dataset.open(dataset) as opened:
        if output is None:
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            write_manifest(opened, sys.stdout)
            return
        try:
            with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
                count = write_manifest(opened, stream, base=output.parent)
        except OSError as error:
            raise DatasetError(f"{output}: cannot be written ({error.strerror})") from error
    print(f"{output}: {images(count)}")


def boxes(
    dataset: DatasetArgument,
    from_masks: Annotated[
        bool, typer.Option("--from-masks", help="Derive boxes from the true masks (the one way there is).")
    ] = False,
    loosen: Annotated[
        float, typer.Option(min=0.0, help="Push each side outward by this share of the box's width or height.")
    ] = 0.1,
    jitter: Annotated[
        float, typer.Option(min=0.0, help="Then move each side by a normal error of this share (std. deviation).")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the errors.")] = 0,
    split_name: Annotated[Split | None, typer.Option("--split", help="Only images of this split.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace boxes that are there, also those that people drew.")
    ] = False,
) -> None:
    """Simulate box annotation: one loose, imprecise box around each region of the true masks."""
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.dataset.boxes import derive_boxes

    if not from_masks:
        raise DatasetError("say where the boxes come from: --from-masks")
    with Dataset.open(dataset) as opened:
        summary = derive_boxes(opened, loosen, jitter, seed, split=split_name, overwrite=overwrite)
    print(f"{some(summary.boxes, 'box', 'boxes')} on {images(summary.images)}")
    if summary.area_ratio is not None:
        print(f"area in boxes / area of mask: {summary.area_ratio:.2f} (mean over images)")
    if summary.kept:
        print(f"{images(summary.kept)} left as they are: they have boxes already (--overwrite replaces them)")
    if summary.without_mask:
        print(f"{images(summary.without_mask)} without a true mask, or authentic")
    if summary.empty:
        print(f"{images(len(summary.empty))} with an empty mask got no box, the first is {summary.empty[0]}")


def validate(
    dataset: DatasetArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Decode every image and mask and report what does not hold together; exit code 1 if there are errors."""
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.dataset.validation import validate as find_problems

    with Dataset.open(dataset) as opened:
        count = opened.count()
        problems = find_problems(opened)
    severities = Counter(problem.severity for problem in problems)
    if as_json:
        result = {"images": count, "errors": severities["error"], "warnings": severities["warning"]}
        print(json.dumps({**result, "problems": [asdict(problem) for problem in problems]}, indent=2))
    else:
        if problems:
            table = Table("severity", "image", "problem")
            for problem in problems:
                table.add_row(problem.severity, problem.image, problem.message)
            table_console().print(table)
        print(f"{images(count)}, {some(severities['error'], 'error')}, {some(severities['warning'], 'warning')}")
    if severities["error"]:
        raise typer.Exit(1)


def split(
    dataset: DatasetArgument,
    val: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of images for validation.")] = 0.1,
    test: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of images for testing.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice.")] = 0,
    only_unassigned: Annotated[
        bool, typer.Option("--only-unassigned", help="Leave images that have a split where they are.")
    ] = False,
    within: Annotated[
        Split | None,
        typer.Option(help="Divide this split only, such as train into train and val, which must be empty."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Assign all images anew; with --within those of the splits that it divides and fills."
        ),
    ] = False,
) -> None:
    """Assign splits such that images made from one photograph stay together, balanced over labels and kinds."""
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.dataset.splits import assign_splits

    with Dataset.open(dataset) as opened:
        assign_splits(
            opened,
            {"val": val, "test": test},
            seed,
            only_unassigned=only_unassigned,
            within=within,
            overwrite=overwrite,
        )
        table = Table("split", "images", "tampered", "authentic", "no label", "source groups")
        counts: dict[str, Counter[str]] = {}
        groups: dict[str, set[str]] = {}
        for record in opened.records():
            name = record.split or "none"
            counts.setdefault(name, Counter())[record.label or "no label"] += 1
            groups.setdefault(name, set()).add(record.group or f"\0{record.image}")
    for name in ("train", "val", "test", "none"):
        if name in counts:
            numbers = [counts[name].total(), *(counts[name][key] for key in ("tampered", "authentic", "no label"))]
            table.add_row(name, *(f"{number:,}" for number in (*numbers, len(groups[name]))))
    table_console().print(table)
