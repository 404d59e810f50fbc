"""Verbs: export-boxes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxpromptiml.cli.arguments import DatasetArgument, Split

if TYPE_CHECKING:
    from boxpromptiml.formats import ExportReport


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("export-boxes")(export_boxes)


def export_boxes(
    dataset: DatasetArgument,
    format: Annotated[
        Literal["coco", "yolo", "voc", "labelme", "label-studio", "folders", "imdlbenco"],
        typer.Option("--format", "-f", help="What to write; CVAT reads coco and voc.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write; must be new or empty.")],
    masks: Annotated[
        Literal["none", "true", "pseudo"],
        typer.Option(help="Write masks too: those of people, or the teacher's (above one half)."),
    ] = "none",
    mask_format: Annotated[
        Literal["png", "rle"] | None,
        typer.Option(help="Masks as PNG or run lengths.", show_default="rle for coco and label-studio, else png"),
    ] = None,
    split_name: Annotated[Split | None, typer.Option("--split", help="Only images of this split.")] = None,
    review: Annotated[
        Literal["accepted"] | None,
        typer.Option(help="Of the tampered images, only those whose pseudo mask a person has accepted."),
    ] = None,
    images: Annotated[
        Literal["reference", "copy", "link"] | None,
        typer.Option(
            help="Name the images where they are, copy them, or make symbolic links.",
            show_default="copy for yolo, voc and folders, else reference",
        ),
    ] = None,
    category: Annotated[str, typer.Option(help="What the tampered regions are called.")] = "tampered",
    prefix: Annotated[
        str | None,
        typer.Option(
            help="Label Studio only: what addresses of images begin with.", show_default="/data/local-files/?d="
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an earlier export of this dataset, with all that was edited in it."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Write boxes, labels and masks for other tools."""
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.errors import DatasetError
    from boxpromptiml.formats import ExportOptions
    from boxpromptiml.formats import export_boxes as export

    if prefix is not None and format != "label-studio":
        raise DatasetError("--prefix is for label-studio only")
    options = ExportOptions(masks, mask_format, split_name, review, images, category)
    if prefix is not None:
        options = replace(options, prefix=prefix)
    with Dataset.open(dataset) as opened:
        report = export(opened, out, format, options, overwrite=overwrite)
    if as_json:
        print(json.dumps(_json(report), indent=2))
    else:
        _print(report, out, format)


def _json(report: ExportReport) -> dict[str, object]:
    return {
        "images": report.images,
        "boxes": report.boxes,
        "masks": report.masks,
        "states": dict(report.states),
        "left_out": dict(report.left_out),
        "lost": dict(report.lost),
        "root": None if report.root is None else str(report.root),
    }


def _print(report: ExportReport, out: Path, format: str) -> None:
    names = {"boxed": "with boxes", "authentic": "authentic", "skipped": "skipped", "todo": "not annotated"}
    states = ", ".join(f"{report.states[key]:,} {name}" for key, name in names.items() if report.states.get(key))
    print(f"{out}: {report.images:,} images as {format} ({states}), {report.boxes:,} boxes, {report.masks:,} masks")
    for reason, count in report.left_out.items():
        print(f"{count:,} left out: {reason}")
    for what, count in report.lost.items():
        print(f"{count:,} {what}")
    if report.root is not None and format != "imdlbenco":
        print(f"{'the images are in' if format == 'labelme' else 'image names are relative to'} {report.root}")
