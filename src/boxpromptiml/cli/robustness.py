"""Verb: robustness."""

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
    from boxpromptiml.evaluation.robustness import LevelResult, RobustnessResult
    from boxpromptiml.evaluation.robustness.result import Estimate
    from boxpromptiml.evaluation.robustness.run import LevelDone


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("robustness")(robustness)


def robustness(
    model: ModelArgument,
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help="Dataset folders, folders with Tp/ and Gt/ (and Au/), IMDLBenCo lists (.json) or manifests (.jsonl).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder for figures, curves and finished levels.", show_default=False
        ),
    ],
    attacks: Annotated[
        str, typer.Option(metavar="NAMES", help="blur, noise, jpeg and social, separated by commas, or all.")
    ] = "all",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="OUT", help="Write the figures there, too.", show_default=False),
    ] = None,
    preset: Annotated[str, typer.Option(help="Protocol of the pixel figures, as for `evaluate`.")] = "imdlbenco",
    mode: Annotated[
        Literal["origin", "reverse", "double"],
        typer.Option(help="reverse scores the inverted map, double the better of both for each image."),
    ] = "origin",
    split: Annotated[
        Literal["auto", "all", "train", "val", "test"],
        typer.Option(help="auto: the test split where a dataset has one, otherwise all images."),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
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
    """Score a model on blurred, noisy and compressed images: curves, areas under them, and what is kept of clean F1.

    Blur, noise and JPEG are IMDLBenCo's, at its levels; the social networks are simulations. An interrupted run goes
    on where it stopped when the same command is run again.
    """
    from boxpromptiml.evaluation.outputs import check_json
    from boxpromptiml.evaluation.robustness import robustness as run
    from boxpromptiml.evaluation.robustness.store import LEVELS, OUTPUTS
    from boxpromptiml.files import write_json
    from boxpromptiml.metrics import PRESETS

    chosen = _attacks(attacks)
    if preset not in PRESETS:
        raise typer.BadParameter(f"there are {', '.join(PRESETS)}", param_hint="--preset")
    if mode not in PRESETS[preset].modes:
        raise typer.BadParameter(f"{preset} has {', '.join(PRESETS[preset].modes)}", param_hint="--mode")
    if json_file is not None:
        check_json(json_file, *(out / name for name in (*OUTPUTS[1:], LEVELS)))
    localizer = StudentOptions(runtime, precision, device, threads, copies, completion, looks).load(model)
    result = run(
        localizer,
        list(datasets),
        out,
        attacks=chosen,
        preset=preset,
        mode=mode,
        split=split,
        seed=seed,
        batch_size=batch_size,
        threads=threads,
        on_mismatch=on_mismatch,
        on_level=_report,
    )
    if json_file is not None:
        write_json(json_file, result.to_json())
    _print_result(result)
    print(f"written: {out}/robustness.json, robustness.csv, robustness.png")


def _attacks(words: str) -> list[str]:
    from boxpromptiml.evaluation.robustness import ATTACKS

    names = [word.strip() for word in words.split(",") if word.strip()]
    if names == ["all"]:
        return list(ATTACKS)
    unknown = [name for name in names if name not in ATTACKS]
    if unknown or not names:
        raise typer.BadParameter(f"there are {', '.join(ATTACKS)}, or all", param_hint="--attacks")
    return names


def _report(done: LevelDone) -> None:
    """A line a level, on standard error: standard output is left to results."""
    import sys

    figure = "-" if done.f1 is None else f"{done.f1:.3f}"
    left = f", about {done.seconds_left / 60:.0f} min left" if done.seconds_left >= 60 else ""
    print(f"{done.label}: F1 {figure} ({done.done} of {done.total} levels{left})", file=sys.stderr, flush=True)


def _print_result(result: RobustnessResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from boxpromptiml.evaluation.sources import misfits

    report = result.clean.report
    title = f"{report['preset']}, {report['mode']}: model {report['model']['id']}"
    count = f"{report['n_tampered']} tampered + {report['n_authentic']} authentic images"
    table = Table(title=f"{title}, {count}", title_justify="left")
    table.add_column("attack")
    for column in ("level", "F1", "95 %", "retention", "AUC", "image\nAUC", "false\narea"):
        table.add_column(column, justify="right")
    table.add_row("clean", "", *_cells(result.clean))
    for attack in result.attacks:
        table.add_section()
        for place, level in enumerate(attack.levels):
            table.add_row(attack.attack.name if place == 0 else "", str(level.level), *_cells(level))
        name = "area" if attack.attack.numeric else "mean"
        table.add_row("", name, _figure(attack.area.value), _range(attack.area), _figure(attack.retention.value))
    Console(markup=False).print(table)
    for part in report["datasets"]:
        for said in misfits(part.get("n_left_out", 0), part.get("n_mended", 0)):
            print(f"{part['dataset']}: {said}")


def _cells(level: LevelResult) -> list[str]:
    report = level.report
    others = (report["pixel"]["auc"], report["image"]["auc"], report["authentic"]["false_positive_area"])
    return [
        _figure(level.f1.value),
        _range(level.f1),
        _figure(level.retention.value),
        *(_figure(float("nan") if value is None else value) for value in others),
    ]


def _range(estimate: Estimate) -> str:
    return f"{_figure(estimate.low)}-{_figure(estimate.high)}"


def _figure(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
