"""Verbs: info, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from boxpromptiml.model_config import ModelConfig

MODEL_HELP = "Model folder, as `boxpromptiml train` writes it."


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("info")(info)
    app.command("export")(export)


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Tell what a model is: size, cost, input, backbone, switches, what it was trained on, its files."""
    import json

    from boxpromptiml.model_config import ModelConfig

    config = ModelConfig.load(model)
    _check_weights(model, config)
    facts = _facts(model, config)
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _print_facts(model, facts)


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help="onnx, openvino or torch (.pt2, torch.export).")
    ] = "onnx",
    precision: Annotated[
        str, typer.Option("--precision", "-p", metavar="PRECISION", help="fp32, fp16, bf16 or int8.")
    ] = "fp32",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; default: in the folder, where `localize` looks, such as model.onnx, model-int8.onnx.",
            show_default=False,
        ),
    ] = None,
    upsample: Annotated[
        bool,
        typer.Option("--upsample", help="Take a second input `size` (height, width) and give the map at that size."),
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET",
            help="For int8: the ranges come from its train split, the F1 loss from its val split; never from test.",
            show_default=False,
        ),
    ] = None,
    validate: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET",
            help="Measure the F1 loss on this one's val split; default: that of --calibrate.",
            show_default=False,
        ),
    ] = None,
    max_f1_loss: Annotated[float, typer.Option(min=0, max=1, help="A file that loses more F1 is refused.")] = 0.01,
    calibration_images: Annotated[int, typer.Option(min=1, max=10000, help="Images that give the ranges.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")] = False,
) -> None:
    """Write a model as a runtime file, with normalisation and sigmoid inside, checked against PyTorch.

    int8, and fp16 and bf16 where a dataset is given, are accepted only if the F1 loss on validation images stays under
    the bound; otherwise nothing is written and the exit code is 2.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from boxpromptiml.export import Calibration, export_model
    from boxpromptiml.runtime.card import FORMATS, PRECISIONS

    if form not in FORMATS:
        raise typer.BadParameter(f"there are {', '.join(FORMATS)}", param_hint="--format")
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"there are {', '.join(PRECISIONS)}", param_hint="--precision")
    calibration = Calibration(calibrate, validate, max_f1_loss, calibration_images)
    if not as_json and calibrate is None and validate is None:
        with Console(stderr=True).status("export"):
            made = export_model(model, form, precision, output=output, upsample=upsample)
    else:  # which shows bars of its own
        made = export_model(
            model,
            form,
            precision,
            output=output,
            upsample=upsample,
            calibration=calibration,
        )
    if as_json:
        answer = asdict(made) | {"path": str(made.path)}
        if made.f1 is not None:
            answer["f1"]["loss"] = made.f1.loss
        print(json.dumps(answer))
        return
    print(
        f"{made.path}: {made.bytes / 1e6:.1f} MB, at most {made.difference.largest:.1g} from PyTorch "
        f"(mean {made.difference.mean:.1g}) on made images"
    )
    if made.quantised is not None:
        print(f"int8: {made.quantised}")
    if made.f1 is not None:
        f1 = made.f1
        print(
            f"F1 {f1.before:.4f} becomes {f1.after:.4f}: a loss of {f1.loss:.4f} (at most {max_f1_loss:g} allowed), "
            f"over {f1.images} val images against their {f1.truth}; {f1.flipped:.2%} of pixels change; "
            f"{f1.before_ms:.1f} ms an image become {f1.after_ms:.1f}"
        )


def _check_weights(folder: Path, config: ModelConfig) -> None:
    """Refuse a config of another model than the weights, without torch as long as the numbers agree."""
    from boxpromptiml.errors import MissingExtraError, ModelError
    from boxpromptiml.model_config import CONFIG_NAME, WEIGHTS_NAME, count_weights

    path = folder / WEIGHTS_NAME
    # A folder may hold nothing but the ONNX file; a config that was written by hand has no count.
    if not config.params or not path.is_file():
        return
    found = count_weights(path)
    if found == config.params:
        return
    try:
        from boxpromptiml.student import load_checkpoint
    except MissingExtraError:
        raise ModelError(
            f"{path}: {found:,} parameters, {CONFIG_NAME} is of a model with {config.params:,}; "
            "weights and config.json must come from the same model"
        ) from None
    # Says which tensors do not fit; a backbone that stores constants among its weights passes.
    load_checkpoint(folder)


def _facts(folder: Path, config: ModelConfig) -> dict[str, Any]:
    from boxpromptiml.files import sha256_of
    from boxpromptiml.model_config import CONFIG_NAME, WEIGHTS_NAME
    from boxpromptiml.runtime.card import FORMATS, PRECISIONS, file_name

    runtime_files = [file_name(form, precision) for form in FORMATS for precision in PRECISIONS]
    names = [CONFIG_NAME, WEIGHTS_NAME, *runtime_files, *_weights_of(runtime_files)]
    paths = [folder / name for name in names]
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


def _weights_of(names: list[str]) -> list[str]:
    """OpenVINO's weights lie beside its graph."""
    return [str(Path(name).with_suffix(".bin")) for name in names if name.endswith(".xml")]


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
