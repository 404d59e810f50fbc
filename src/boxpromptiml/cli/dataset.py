"""Verbs: import, manifest, boxes, validate, split."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from boxpromptiml.cli.arguments import DatasetArgument, ForeignFormat, OnMismatch, Split
from boxpromptiml.cli.tables import table_console
from boxpromptiml.errors import DatasetError

if TYPE_CHECKING:
    from boxpromptiml.formats import ImportReport


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("import")(import_)
    app.command("manifest")(manifest)
    app.command("boxes")(boxes)
    app.command("validate")(validate)
    app.command("split")(split)


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="Folder with Tp/, Gt/, Au/; folder of images; IMDLBenCo list; manifest (.jsonl); file or folder of "
            "COCO, YOLO, Pascal VOC, LabelMe, Label Studio or CVAT.",
            show_default=False,
        ),
    ],
    dataset: Annotated[
        Path, typer.Option("--out", "-o", metavar="DATASET", help="The dataset folder; made if missing.")
    ],
    format: Annotated[
        ForeignFormat | None, typer.Option(help="The source's format.", show_default="told by its content")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Look for the images here first, if not where the format has them."),
    ] = None,
    tampered: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY", help="This category is a tampered region; repeatable.", show_default="all"),
    ] = None,
    boxes_only: Annotated[
        bool, typer.Option("--boxes-only", help="Take the boxes of polygons and masks, not the pixels.")
    ] = False,
    zero_based: Annotated[
        bool, typer.Option("--zero-based", help="Pascal VOC only: corners count from 0, as many tools write them.")
    ] = False,
    on_mismatch: Annotated[
        OnMismatch | None,
        typer.Option(
            help="Masks that are missing, empty, coloured, ambiguous or of another size, unreadable or missing images, "
            "boxes outside: import nothing, leave them out, or mend what can be mended.",
            show_default="error",
        ),
    ] = None,
    label: Annotated[
        Literal["tampered", "authentic"] | None, typer.Option(help="Label of images that the source does not label.")
    ] = None,
    split_name: Annotated[Split | None, typer.Option("--split", help="Put the images into this split.")] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Which images share a source photograph: auto, casia, stem, none, or a regular expression whose "
            "groups are ids of sources.",
            show_default="auto",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Kind of manipulation of the tampered images; auto reads CASIA's names.", show_default="auto"
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Manifest only: the folder that its paths are relative to, if not its own.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace annotations that differ from the source's.")
    ] = False,
) -> None:
    """Bring images, masks and labels into a dataset; the files stay where they are."""
    from boxpromptiml.formats import ReadOptions, RejectedError, import_manifest, import_source, is_manifest

    try:
        options = ReadOptions(images, None if not tampered else tuple(tampered), boxes_only, zero_based)
        if format == "manifest" or (format is None and is_manifest(source)):
            if options != ReadOptions():
                raise DatasetError("--images, --tampered, --boxes-only and --zero-based are not for manifests")
            foreign = {
                "--label": label,
                "--split": split_name,
                "--group-by": group_by,
                "--kind": kind,
            }
            _refuse(foreign, "is not for manifests: each line says it itself")
            report = import_manifest(
                source, dataset, base=root, overwrite=overwrite, on_mismatch=on_mismatch or "error"
            )
        else:
            _refuse({"--root": root}, "is for manifests (.jsonl) only")
            report = import_source(
                source,
                dataset,
                on_mismatch=on_mismatch or "error",
                label=label,
                split=split_name,
                group_by=group_by or "auto",
                kind=kind or "auto",
                format=format,
                options=options,
                overwrite=overwrite,
            )
    except RejectedError as error:
        _report_lines(error.problems)
        raise
    _print_import(report, dataset)


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
    print(f"{output}: {_images(count)}")


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
    print(f"{_some(summary.boxes, 'box', 'boxes')} on {_images(summary.images)}")
    if summary.area_ratio is not None:
        print(f"area in boxes / area of mask: {summary.area_ratio:.2f} (mean over images)")
    if summary.kept:
        print(f"{_images(summary.kept)} left as they are: they have boxes already (--overwrite replaces them)")
    if summary.without_mask:
        print(f"{_images(summary.without_mask)} without a true mask, or authentic")
    if summary.empty:
        print(f"{_images(len(summary.empty))} with an empty mask got no box, the first is {summary.empty[0]}")


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
        print(f"{_images(count)}, {_some(severities['error'], 'error')}, {_some(severities['warning'], 'warning')}")
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


def _print_import(report: ImportReport, dataset: Path) -> None:
    _report_lines([f"left out: {mismatch}" for mismatch in report.left_out])
    _report_lines([f"mended: {mismatch}" for mismatch in report.mended])
    _report_lines([f"kept, its annotation differs from the source's (--overwrite): {image}" for image in report.kept])
    _report_lines([f"without its mask, which leaves out some regions: {image}" for image in report.incomplete])
    if report.unused:
        many = (
            f"{len(report.unused):,} authentic images have masks that mark something, kept and not used, the first is"
        )
        one = "1 authentic image has a mask that marks something, kept and not used:"
        text = f"{one if len(report.unused) == 1 else many} {report.unused[0]}; boxpromptiml validate names all"
        _report_lines([text])
    names = {"tampered": "tampered", "authentic": "authentic", None: "without a label"}
    labels = ", ".join(f"{report.labels[key]:,} {name}" for key, name in names.items() if key in report.labels)
    total = sum(report.labels.values())
    print(f"{dataset}: {_images(total)} from {report.format} ({labels})")
    print(f"{report.added:,} added, {report.changed:,} changed, {report.unchanged:,} as they were")
    if report.left_out or report.mended:
        print(f"{len(report.left_out):,} left out, {len(report.mended):,} mended")
    if report.groups:
        print(f"{_some(report.groups, 'source group')} in the dataset")
    if report.crossing:
        print(
            f"{_some(len(report.crossing), 'source group')} in several splits, first {report.crossing[0]}: "
            "the same photographs on both sides; boxpromptiml split --overwrite separates them"
        )


def _refuse(options: Mapping[str, object], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise DatasetError(f"{name} {why}")


def _report_lines(lines: list[str] | tuple[str, ...]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _images(count: int) -> str:
    return _some(count, "image")


def _some(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one}" if count == 1 else f"{count:,} {many or one + 's'}"
