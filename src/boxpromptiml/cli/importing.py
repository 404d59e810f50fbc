"""Verb: import."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxpromptiml.cli.arguments import ForeignFormat, OnMismatch, Split
from boxpromptiml.cli.wording import some
from boxpromptiml.errors import DatasetError

if TYPE_CHECKING:
    from boxpromptiml.formats import ImportReport


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("import")(import_)


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
    print(f"{dataset}: {some(total, 'image')} from {report.format} ({labels})")
    print(f"{report.added:,} added, {report.changed:,} changed, {report.unchanged:,} as they were")
    if report.left_out or report.mended:
        print(f"{len(report.left_out):,} left out, {len(report.mended):,} mended")
    if report.groups:
        print(f"{some(report.groups, 'source group')} in the dataset")
    if report.crossing:
        print(
            f"{some(len(report.crossing), 'source group')} in several splits, first {report.crossing[0]}: "
            "the same photographs on both sides; boxpromptiml split --overwrite separates them"
        )


def _refuse(options: Mapping[str, object], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise DatasetError(f"{name} {why}")


def _report_lines(lines: list[str] | tuple[str, ...]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
