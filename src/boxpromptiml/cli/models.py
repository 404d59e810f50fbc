"""Verb: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from boxpromptiml.cli.network import ModelArgument


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("export")(export)


def export(
    model: ModelArgument,
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
    from boxpromptiml.runtime import find_model
    from boxpromptiml.runtime.card import FORMATS, PRECISIONS

    if form not in FORMATS:
        raise typer.BadParameter(f"there are {', '.join(FORMATS)}", param_hint="--format")
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"there are {', '.join(PRECISIONS)}", param_hint="--precision")
    folder = find_model(model)
    if output is None and folder != Path(model):
        raise typer.BadParameter(f"{model} is not a folder of yours to write into; give --output", param_hint="MODEL")
    calibration = Calibration(calibrate, validate, max_f1_loss, calibration_images)
    if not as_json and calibrate is None and validate is None:
        with Console(stderr=True).status("export"):
            made = export_model(folder, form, precision, output=output, upsample=upsample)
    else:  # which shows bars of its own
        made = export_model(
            folder,
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
