"""Verbs: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxpromptiml.cli.arguments import OnMismatch
from boxpromptiml.cli.network import (
    CompletionOption,
    CopiesOption,
    DeviceOption,
    LooksOption,
    ModelArgument,
    PrecisionOption,
    RuntimeOption,
    StudentOptions,
    ThreadsOption,
)

if TYPE_CHECKING:
    from boxpromptiml.evaluation import EvaluationResult
    from boxpromptiml.evaluation.result import Figures


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: ModelArgument,
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help="Dataset folders, folders with Tp/ and Gt/ (and Au/), IMDLBenCo lists (.json) or manifests (.jsonl).",
            show_default=False,
        ),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the figures there.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="DIR",
            help="Write report.html (one page, works offline), images.csv and figures.json there.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Protocol of the figures: imdlbenco, scaf, scaf-stretched, mvss, trufor or micro; see docs/metrics.md."
        ),
    ] = "imdlbenco",
    mode: Annotated[
        Literal["origin", "reverse", "double"],
        typer.Option(help="reverse scores the inverted map, double the better of both for each image (imdlbenco)."),
    ] = "origin",
    tie_blind: Annotated[
        bool,
        typer.Option("--tie-blind", help="AUC that depends on the order of tied pixels, as IMDLBenCo's own code."),
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Look at each image four times, as it is and mirrored, and average.")
    ] = False,
    split: Annotated[
        Literal["auto", "all", "train", "val", "test"],
        typer.Option(help="auto: the test split where a dataset has one, otherwise all images."),
    ] = "auto",
    on_mismatch: Annotated[
        OnMismatch,
        typer.Option(
            help="For masks that do not fit their images: refuse, leave these images out, or mend masks of data sets "
            "that are not imported yet."
        ),
    ] = "error",
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Images per inference.")] = 8,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
) -> None:
    """Score a model against true masks, through the runtime that `localize` uses.

    With --report or --json a run that is interrupted, even killed, goes on where it stopped when the same command is
    given again: what is done is kept in DIR/state, or in OUT.state, until the run is finished.
    """
    import signal

    from boxpromptiml.errors import Stopped
    from boxpromptiml.evaluation.outputs import Outputs
    from boxpromptiml.evaluation.plan import open_plan
    from boxpromptiml.evaluation.run import evaluate as run
    from boxpromptiml.metrics import PRESETS

    if preset not in PRESETS:
        raise typer.BadParameter(f"there are {', '.join(PRESETS)}", param_hint="--preset")
    if mode not in PRESETS[preset].modes:
        raise typer.BadParameter(f"{preset} has {', '.join(PRESETS[preset].modes)}", param_hint="--mode")
    outputs = Outputs.checked(json_file, report)
    localizer = StudentOptions(runtime, precision, device, threads, copies, completion, looks).load(model)
    try:
        with open_plan(list(datasets), split=split, on_mismatch=on_mismatch) as plan:
            result = run(
                localizer,
                plan,
                preset,
                mode=mode,
                batch_size=batch_size,
                threads=threads,
                state=outputs.state,
                keep_state=True,  # until the report, which may be interrupted as well, is written
                tie_blind=tie_blind,
                tta=tta,
            )
            outputs.write(result, plan, localizer)
    except KeyboardInterrupt:
        if outputs.state is not None:
            raise
        raise Stopped(
            signal.SIGINT,
            "interrupted; nothing is kept: with --json OUT or --report DIR a run can go on where it stopped",
        ) from None
    _print_result(result)
    if report is not None:
        print(f"report: {outputs.page}")


def _print_result(result: EvaluationResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from boxpromptiml.evaluation.sources import misfits

    table = Table(title=f"{result.preset}, {result.mode}: model {result.model['id']}", title_justify="left")
    table.add_column("dataset")
    for column in ("tampered + authentic", "F1", "IoU", "AUC", "AP", "image AUC", "false area"):
        table.add_column(column, justify="right", overflow="fold")
    rows = [(_short(part.name, part.split), part.figures) for part in result.datasets]
    if len(rows) > 1:
        rows.append(("all together", result.figures))
    for name, figures in rows:
        table.add_row(name, f"{figures.n_tampered} + {figures.n_authentic}", *_cells(figures))
    console = Console(markup=False)
    console.print(table)
    shown = ("f1", "iou", "auc", "image.auc", "false_positive_area")
    intervals = [
        f"{name} {low:.3f} to {high:.3f}"
        for name in shown
        for low, high in [result.ci95.get(name, (None,) * 2)]
        if low is not None
    ]
    if intervals:
        console.print(f"95 % over images: {', '.join(intervals)}", highlight=False)
    calibration = result.calibration
    errors = [
        f"{name} {after.ece:.3f}" + (f" ({before.ece:.3f} uncalibrated)" if before.ece != after.ece else "")
        for name, before, after in (
            ("of the score", calibration.score_before, calibration.score_after),
            ("of the map's pixels", calibration.pixel_before, calibration.pixel_after),
        )
        if before is not None and after is not None
    ]
    if errors:
        console.print(f"calibration error: {', '.join(errors)}", highlight=False)
    if result.figures.n_without_mask:
        console.print(f"{result.figures.n_without_mask} tampered images have no true mask: in image figures only")
    if result.n_skipped:
        console.print(f"{result.n_skipped} images have neither label nor mask: left out")
    for part in result.datasets:
        for said in misfits(part.n_left_out, part.n_mended):
            console.print(f"{part.name}: {said}", highlight=False, soft_wrap=True)


def _cells(figures: Figures) -> list[str]:
    pixel = figures.pixel
    numbers = (pixel.f1, pixel.iou, pixel.auc, pixel.average_precision, figures.image.auc, figures.false_positive_area)
    return ["-" if number != number else f"{number:.3f}" for number in numbers]


def _short(name: str, split: str | None) -> str:
    """The end of a path and the split, so that the table fits 80 columns."""
    short = "/".join(Path(name).parts[-2:])
    return f"{short} ({split})" if split else short
