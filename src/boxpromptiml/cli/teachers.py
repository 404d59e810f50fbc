"""Verbs: pseudo-label, teacher-quality."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from boxpromptiml.cli.arguments import DatasetArgument, Split
from boxpromptiml.errors import TeacherError

if TYPE_CHECKING:
    from boxpromptiml.pseudolabels import Agreement, PseudoLabelSummary
    from boxpromptiml.teachers import QualityLimits

# Suspicious images that the table names; --json and --report have all.
_SHOWN = 20

SplitOption = Annotated[Split | None, typer.Option(help="Only this split.", show_default="all")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("pseudo-label")(pseudo_label)
    app.command("teacher-quality")(teacher_quality)


def pseudo_label(
    dataset: DatasetArgument,
    teacher: Annotated[Literal["grabcut", "box", "sam"], typer.Option(help="Who turns boxes into masks.")] = "grabcut",
    weights: Annotated[
        str | None,
        typer.Option(help="sam: hub id or folder of SAM, SAM-HQ, SAM 2 or EdgeTAM.", show_default="SAM ViT-H"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="sam: cpu, cuda, cuda:1, mps ...", show_default="the fastest there is")
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"] | None,
        typer.Option(help="sam: precision of the image encoder.", show_default="bfloat16 on CUDA, else float32"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the teacher or of the flags; see docs/teachers.md."
        ),
    ] = None,
    split: SplitOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="one a CPU")] = None,
    fallback: Annotated[
        Literal["ellipse", "box", "keep"], typer.Option(help="What replaces the mask of a suspicious box.")
    ] = "ellipse",
    redo: Annotated[bool, typer.Option("--redo", help="Make masks anew that are there; never accepted ones.")] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Only images whose mask was rejected in review, with another teacher.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many masks in this run.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write every image's flags, qualities and errors to this CSV file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Turn the boxes of a dataset into pseudo masks with a frozen teacher.

    Interrupted or killed, it goes on where it stopped: run the same command again. Suspicious masks are flagged and
    replaced by the fallback, not hidden. Exit code 1 if any image failed.
    """
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.pseudolabels import pseudo_label as run
    from boxpromptiml.teachers import load_teacher

    options, limits = _settings(set_ or [])
    given = {"device": device, "dtype": dtype}
    options |= {name: value for name, value in given.items() if value is not None}
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    with Dataset.open(dataset) as data:
        summary = run(
            data,
            load_teacher(teacher, weights=weights, **options),
            split=split,
            workers=workers,
            fallback=fallback,
            limits=limits,
            redo=redo,
            only_rejected=rejected,
            limit=limit,
            on_error=lambda image, message: errors.print(f"{image}: {message}"),
        )
        if report is not None:
            _write_report(data, report, summary, split)
    if as_json:
        print(json.dumps(summary.to_json(), indent=2))
    else:
        _print_summary(summary)
    if summary.failed:
        raise typer.Exit(1)


def teacher_quality(
    dataset: DatasetArgument,
    split: SplitOption = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare pseudo masks with true masks where both are known, and say where the teacher failed.

    Pixel F1 and IoU of each image at its own size, both masks cut at 0.5, then the mean over images.
    """
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.pseudolabels import agreement_with_truth

    with Dataset.open(dataset) as data:
        agreement = agreement_with_truth(data, split=split)
    if as_json:
        print(json.dumps(agreement.to_json(worst), indent=2))
    else:
        _print_agreement(agreement, worst)
    for image, message in agreement.failed:
        print(f"{image}: {message}", file=sys.stderr)
    if agreement.failed:
        raise typer.Exit(1)


def _settings(assignments: list[str]) -> tuple[dict[str, Any], QualityLimits]:
    """KEY=VALUE pairs, sorted into settings of the teacher and of the flags."""
    from dataclasses import fields

    from boxpromptiml.teachers import QualityLimits

    flag_names = {field.name for field in fields(QualityLimits)}
    options: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not key or not equals:
            raise TeacherError(f"--set {assignment}: write KEY=VALUE, such as context=0.3")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        (limits if key in flag_names else options)[key] = value
    return options, QualityLimits(**limits)


def _write_report(data: Any, path: Path, summary: PseudoLabelSummary, split: str | None) -> None:
    """One row a box, one row an image without a mask."""
    from boxpromptiml.files import write_text

    failed = dict(summary.failed)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "x0", "y0", "x1", "y1", "teacher", "quality", "flags", "fallback", "mask", "error"])
    for record in data.records(split=split):
        if record.label == "authentic":
            continue
        pseudo = record.pseudo
        error = failed.get(record.image) or ("no boxes" if not record.boxes else "")
        if pseudo is None or len(pseudo.flags) != len(record.boxes):
            writer.writerow([record.image, *[""] * 9, error or "no mask yet"])
            continue
        for box, quality, flags, fallback in zip(
            record.boxes, pseudo.qualities, pseudo.flags, pseudo.fallbacks, strict=True
        ):
            values = ["" if quality is None else quality, " ".join(flags), fallback or "", pseudo.path, error]
            writer.writerow([record.image, *box, pseudo.teacher, *values])
    try:
        write_text(path, stream.getvalue())
    except OSError as error_:
        raise TeacherError(f"{path}: cannot be written ({error_.strerror or error_})") from error_


def _print_summary(summary: PseudoLabelSummary) -> None:
    console = Console(markup=False)
    counts = Table("images", "", title=f"pseudo masks, teacher {summary.teacher}", title_justify="left")
    counts.columns[1].justify = "right"
    rate = f" ({summary.made / summary.seconds:.1f} images/s)" if summary.made and summary.seconds else ""
    for name, number in (
        (f"masks made{rate}", summary.made),
        ("masks that were there", summary.already),
        ("rejected, the same would come out again", summary.rejected),
        ("accepted or painted by a person, left alone", summary.accepted),
        ("authentic, no mask needed", summary.authentic),
        ("neither label nor boxes", summary.unlabelled),
        ("tampered but without boxes", len(summary.without_boxes)),
        ("left for a later run (--limit)", summary.left),
        ("failed", len(summary.failed)),
    ):
        if number or name.startswith("masks made"):
            counts.add_row(name, str(number))
    console.print(counts)
    if summary.flags:
        flags = Table("flag", "boxes", title=f"suspicious boxes, of {summary.boxes}", title_justify="left")
        flags.columns[1].justify = "right"
        for flag, number in summary.flags.most_common():
            flags.add_row(flag, str(number))
        console.print(flags)
        for fallback, number in summary.fallbacks.most_common():
            console.print(f"replaced by the fallback {fallback}: {number} boxes")
        console.print(f"suspicious images ({len(summary.suspicious)}):")
        _print_some([f"{image}: {', '.join(flags)}" for image, flags in summary.suspicious])
    if summary.without_boxes:
        console.print("without boxes (draw them, or derive them with  boxpromptiml boxes):")
        _print_some(summary.without_boxes)


def _print_some(lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    if len(lines) > _SHOWN:
        print(f"  ... and {len(lines) - _SHOWN} more (--json or --report lists all)")


def _print_agreement(agreement: Agreement, worst: int) -> None:
    console = Console(markup=False)
    table = Table("group", "images", "pixel F1", "IoU", title="pseudo masks against true masks", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("all", str(len(agreement.images)), f"{agreement.f1:.4f}", f"{agreement.iou:.4f}", end_section=True)
    for name, rows in agreement.groups().items():
        for index, (key, (number, f1, iou)) in enumerate(rows.items(), start=1):
            last = index == len(rows)
            table.add_row(f"{name}: {key}", str(number), f"{f1:.4f}", f"{iou:.4f}", end_section=last)
    console.print(table)
    if agreement.skipped:
        console.print(f"without a pseudo mask or a true mask: {agreement.skipped} tampered images")
    if worst:
        console.print("worst images:")
        for image in agreement.worst(worst):
            flags = f"  [{', '.join(image.flags)}]" if image.flags else ""
            print(f"  F1 {image.f1:.3f}  IoU {image.iou:.3f}  {image.image}{flags}")
