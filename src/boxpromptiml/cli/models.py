"""Verbs: info, export, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from boxpromptiml.cli.arguments import OnMismatch

if TYPE_CHECKING:
    from boxpromptiml.evaluation import EvaluationResult
    from boxpromptiml.model_config import ModelConfig

MODEL_HELP = "Model folder, as `boxpromptiml train` writes it."


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("info")(info)
    app.command("export")(export)
    app.command("evaluate")(evaluate)


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Tell what a model is: size, cost, input, backbone, switches, what it was trained on, its files."""
    import json

    from boxpromptiml.model_config import ModelConfig

    facts = _facts(model, ModelConfig.load(model))
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _print_facts(model, facts)


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; default: model.onnx in the folder.", show_default=False),
    ] = None,
) -> None:
    """Write a model as one ONNX file, with normalisation and sigmoid inside, and check it against PyTorch."""
    from rich.console import Console

    from boxpromptiml.export import export_onnx

    errors = Console(stderr=True)
    with errors.status("export"):
        path = export_onnx(model, output)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, checked against PyTorch")


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
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
    preset: Annotated[str, typer.Option(help="Protocol of the pixel figures: imdlbenco or micro.")] = "imdlbenco",
    mode: Annotated[
        Literal["origin", "reverse", "double"],
        typer.Option(help="reverse scores the inverted map, double the better of both for each image."),
    ] = "origin",
    split: Annotated[
        Literal["auto", "all", "train", "val", "test"],
        typer.Option(help="auto: the test split where a dataset has one, otherwise all images."),
    ] = "auto",
    on_mismatch: Annotated[
        OnMismatch,
        typer.Option(help="For masks that do not fit their images, in data sets that are not imported yet."),
    ] = "error",
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Images per inference.")] = 8,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of the network and of reading; default: all cores.", show_default=False),
    ] = None,
) -> None:
    """Score a model against true masks, through the runtime that `localize` uses."""
    from boxpromptiml.evaluation import evaluate as run
    from boxpromptiml.files import write_json
    from boxpromptiml.metrics import PRESETS
    from boxpromptiml.runtime import Localizer

    if preset not in PRESETS:
        raise typer.BadParameter(f"there are {', '.join(PRESETS)}", param_hint="--preset")
    if mode not in PRESETS[preset].modes:
        raise typer.BadParameter(f"{preset} has {', '.join(PRESETS[preset].modes)}", param_hint="--mode")
    localizer = Localizer.load(model, threads=threads)
    result = run(
        localizer,
        list(datasets),
        preset,
        mode=mode,
        split=split,
        batch_size=batch_size,
        threads=threads,
        on_mismatch=on_mismatch,
    )
    if json_file is not None:
        write_json(json_file, result.to_json())
    _print_result(result)


def _facts(folder: Path, config: ModelConfig) -> dict[str, Any]:
    from boxpromptiml.files import sha256_of
    from boxpromptiml.model_config import CONFIG_NAME, ONNX_NAME, WEIGHTS_NAME

    paths = [folder / name for name in (CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME)]
    spec, student = config.preprocessing, config.student.model_dump(mode="json")
    return {
        "params": config.params,
        "flops": config.flops,
        "input": {"height": spec.height, "width": spec.width, "resizer": spec.resizer},
        "backbone": student.pop("backbone"),
        "trained_on": config.trained_on.model_dump(mode="json"),
        "threshold": config.decision.threshold,
        "score_fraction": config.decision.score_fraction,
        "student": student,
        "files": [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in paths
            if path.is_file()
        ],
    }


def _print_facts(model: Path, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(model), show_header=False, title_justify="left")
    trained = facts["trained_on"]
    rows: dict[str, Any] = {
        "parameters": f"{facts['params'] / 1e6:.2f} M",
        "multiply-adds": f"{facts['flops'] / 1e9:.3f} G at {facts['input']['width']}x{facts['input']['height']}",
        "backbone": facts["backbone"],
        **{name.replace("_", " "): value for name, value in facts["student"].items()},
        "threshold": facts["threshold"],
        "trained on": ", ".join(trained["datasets"]) or "not recorded",
        "images": trained["images"],
        "supervision": trained["supervision"],
        "teacher": trained["teacher"],
        "validation": ", ".join(f"{key} {value:.3f}" for key, value in trained["validation"].items()) or None,
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, ("on" if value else "off") if isinstance(value, bool) else str(value))
    for file in facts["files"]:
        table.add_row(file["name"], f"{file['bytes'] / 1e3:,.0f} kB, sha256 {file['sha256'][:16]}")
    Console().print(table)


def _print_result(result: EvaluationResult) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result.preset}, {result.mode}: model {result.model['id']}", title_justify="left")
    table.add_column("dataset")
    for column in ("tampered + authentic", "F1", "IoU", "AUC", "image AUC", "false area"):
        table.add_column(column, justify="right", overflow="fold")
    rows = [(_short(name, split), figures) for name, split, figures in result.datasets]
    if len(rows) > 1:
        rows.append(("all together", result.figures))
    for name, figures in rows:
        numbers = (*figures.pixel, figures.image_auc, figures.false_positive_area)
        count = f"{figures.n_tampered} + {figures.n_authentic}"
        table.add_row(name, count, *(_figure(number) for number in numbers))
    console = Console()
    console.print(table)
    intervals = [f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in result.ci95.items()]
    if intervals:
        console.print(f"95 % over images: {', '.join(intervals)}", highlight=False)
    if result.figures.n_without_mask:
        console.print(f"{result.figures.n_without_mask} tampered images have no true mask: in image AUC only")
    if result.n_skipped:
        console.print(f"{result.n_skipped} images have neither label nor mask: left out")


def _short(name: str, split: str | None) -> str:
    """The end of a path and the split, so that the table fits 80 columns."""
    short = "/".join(Path(name).parts[-2:])
    return f"{short} ({split})" if split else short


def _figure(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
