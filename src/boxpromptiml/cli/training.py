"""Verbs: train."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from boxpromptiml.training import Recipe
    from boxpromptiml.training.summary import TrainingSummary

_Supervision = Literal["pseudo", "mask", "box", "label"]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("train")(train)


def train(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATASET...", help="Dataset folders; folders or URLs of shards.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Folder for the run; new or empty.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML file with training settings; the default is the paper's.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as optimizer.lr=1e-3; repeatable."),
    ] = None,
    supervision: Annotated[
        _Supervision | None,
        typer.Option(
            help="Targets: the teacher's pseudo masks, true masks, filled boxes, or nothing but the images' labels. "
            "[default: pseudo, or RUN's own with --resume]",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where RUN stopped, also in the middle of an epoch.")
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Processes: GPUs, or CPU processes. [compute.devices]", show_default=False),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|MODEL|true",
            help="Weights that the backbone, or a model folder that the student, starts from. [pretrained]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print the recipe with every key explained, and exit.")
    ] = False,
) -> None:
    """Train a student; RUN becomes a model folder with model.safetensors, config.json and model.onnx."""
    from boxpromptiml.training import dump_recipe, load_recipe

    overrides = list(settings or [])
    if devices is not None:
        overrides.append(f"compute.devices={devices}")
    if pretrained is not None:
        overrides.append(f"pretrained={json.dumps(pretrained) if pretrained not in ('true', 'false') else pretrained}")
    given = load_recipe(recipe, overrides) if recipe is not None or overrides else None
    if print_recipe:
        print(dump_recipe(given), end="")
        return
    if not datasets:
        raise typer.BadParameter("give at least one dataset folder", param_hint="DATASET...")
    if output is None:
        raise typer.BadParameter("give a folder for the run", param_hint="--output")
    _train(datasets, output, given, supervision, resume, as_json)


def _train(
    datasets: list[str],
    output: Path,
    recipe: Recipe | None,
    supervision: _Supervision | None,
    resume: bool,
    as_json: bool,
) -> None:
    from boxpromptiml.errors import MissingExtraError, Stopped
    from boxpromptiml.training.sources import check_place

    if "RANK" not in os.environ:  # the processes of a launcher end together
        for folder in datasets:
            # A wrong path is told at once, not after the seconds that the imports below take.
            check_place(folder)
    try:
        from boxpromptiml.training.compute import launched_outside
        from boxpromptiml.training.processes import Interrupted, RunError
        from boxpromptiml.training.run import is_main_process
        from boxpromptiml.training.run import train as run_training
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "lightning", "train") from error

    try:
        summary = run_training(datasets, output, recipe, supervision=supervision, resume=resume)
    except RunError as error:
        if is_main_process():
            raise
        # One process tells the user. Launchers must see that all of them have failed; Lightning, which started those
        # that it watches, must not, or it would end the one that is about to tell.
        raise typer.Exit(2 if launched_outside() else 0) from error
    except Interrupted as error:
        if not is_main_process():
            raise typer.Exit(128 + error.signal if launched_outside() else 0) from error
        message = f"interrupted, the state is saved in {output}; go on with the same command and --resume"
        raise Stopped(error.signal, message) from error
    if not is_main_process():
        return
    onnx = _export(output)
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(summary), indent=2, ensure_ascii=False))
    else:
        _print_summary(summary, onnx)


def _export(run: Path) -> Path:
    from rich.console import Console

    from boxpromptiml.export import export_onnx

    with Console(stderr=True).status("export"):
        return export_onnx(run)


def _print_summary(summary: TrainingSummary, onnx: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=summary.run, show_header=False, title_justify="left")
    table.add_row("epoch chosen", f"{summary.best_epoch} of {summary.epochs}")
    names = {
        "val_f1": "pixel F1 (imdlbenco, tampered images)",
        "val_iou": "pixel IoU (imdlbenco, tampered images)",
        "val_image_accuracy": "image accuracy (balanced, from the labels)",
        "val_false_area": "false area on authentic images",
        "val_loss": "loss",
    }
    for key, name in names.items():
        if key in summary.validation:
            table.add_row(f"validation {name}", f"{summary.validation[key]:.4f}")
    images = summary.images
    table.add_row("training images", f"{images['train_tampered']} tampered, {images['train_authentic']} authentic")
    table.add_row("validation images", f"{images['val_tampered']} tampered, {images['val_authentic']} authentic")
    table.add_row("left out", str(images["left_out"]))
    table.add_row("speed", f"{summary.images_per_second:.1f} images/s, {summary.seconds:.0f} s in all")
    table.add_row("waiting for data", f"{summary.data_wait_share:.1%}")
    table.add_row("peak memory", f"{summary.peak_memory_mb:.0f} MB")
    table.add_row("ONNX", onnx.name)
    Console(markup=False).print(table)
