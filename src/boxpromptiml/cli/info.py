"""Verb: info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxpromptiml.cli.network import ModelArgument

if TYPE_CHECKING:
    from boxpromptiml.model_config import ModelConfig
    from boxpromptiml.models.card import ModelCard


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("info")(info)


def info(
    model: ModelArgument = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the model card, from which docs/model/card.md is made.")
    ] = False,
) -> None:
    """Tell what a model is: size, cost, input, training data, figures, calibration, limits, its files.

    All of the last for packaged models, which have a card; every file that the card lists is checked against its
    SHA-256.
    """
    import json

    from boxpromptiml.errors import ModelError
    from boxpromptiml.model_config import ModelConfig
    from boxpromptiml.models.card import ModelCard
    from boxpromptiml.runtime import find_model

    if as_json and as_markdown:
        raise typer.BadParameter("--json and --markdown do not go together")
    folder = find_model(model)
    config = ModelConfig.load(folder)
    _check_weights(folder, config)
    card = ModelCard.load(folder)
    facts = _facts(folder, config)
    if card is not None:
        _check_files(folder, card, facts["files"])
    if as_markdown:
        from boxpromptiml.models.markdown import card_markdown

        if card is None:
            raise ModelError(f"{folder}: has no card; `boxpromptiml package` makes models with one")
        print(card_markdown(card), end="")
    elif as_json:
        print(json.dumps(facts | {"card": None if card is None else card.model_dump(mode="json")}, indent=2))
    else:
        _print_facts(str(model), facts)
        if card is not None:
            _print_card(card)


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
        "copies": config.decision.copies,
        "completion": config.decision.completion,
        "looks": config.decision.looks,
        "adaptive": None if (follows := config.decision.adaptive) is None else follows.model_dump(),
        "student": student,
        "files": [
            {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in paths
            if path.is_file()
        ],
    }


def _check_files(folder: Path, card: ModelCard, found: list[dict[str, Any]]) -> None:
    """Refuse files that are not those of the card."""
    from boxpromptiml.errors import ModelError

    digests = {file["name"]: file["sha256"] for file in found}
    for file in card.files:
        if digests.get(file.name) != file.sha256:
            state = "is missing" if file.name not in digests else "is not the file that card.json beside it describes"
            raise ModelError(f"{folder / file.name}: {state}; install the model again")


def _weights_of(names: list[str]) -> list[str]:
    """OpenVINO's weights lie beside its graph."""
    return [str(Path(name).with_suffix(".bin")) for name in names if name.endswith(".xml")]


def _print_facts(model: str, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=model, show_header=False, title_justify="left")
    trained = facts["trained_on"]
    size = f"{facts['input']['width']}x{facts['input']['height']}"
    rows: dict[str, Any] = {
        "parameters": f"{facts['params'] / 1e6:.2f} M",
        "multiply-adds": f"{facts['flops'] / 1e9:.3f} G at {size}, by one look",
        "backbone": facts["backbone"],
        **{name.replace("_", " "): value for name, value in facts["student"].items()},
        "threshold": f"{facts['threshold']}{', follows each image' if facts['adaptive'] else ''}",
        "looks for copied parts": facts["copies"],
        "completes regions by colour": facts["completion"],
        "looks at an image": "twice, once turned by half" if facts["looks"] == 2 else "once",
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
    Console(markup=False).print(table)


def _print_card(card: ModelCard) -> None:
    from rich.console import Console
    from rich.table import Table

    from boxpromptiml.models.markdown import FIGURES, figure_text

    console = Console(markup=False)
    if card.results:
        table = Table(title="Figures, with 95 % intervals", title_justify="left")
        table.add_column("")
        for result in card.results:
            table.add_column(f"{result.name}\n{result.tampered} + {result.authentic}", justify="right", overflow="fold")
        for key, name in FIGURES.items():
            cells = [figure_text(result.figures[key]) if key in result.figures else "-" for result in card.results]
            if any(cell != "-" for cell in cells):
                table.add_row(name, *cells)
        console.print(table)
    facts = card.calibration
    diagram = facts.score_cross_validated or facts.score_after
    if diagram is not None and diagram.ece is not None and facts.score_before is not None:
        before = facts.score_before.ece
        console.print(
            f"calibration error of the score: {diagram.ece:.3f}" + (f", {before:.3f} uncalibrated" if before else ""),
            highlight=False,
        )
    for title, lines in (
        ("training data", [f"{item.name}: {item.role} ({item.terms})" for item in card.text.training_data]),
        ("method", [card.text.method]),
        ("commands", card.text.commands),
        ("intended use", card.text.intended_use),
        ("misuse", card.text.misuse),
        ("what it cannot see", card.text.limits),
    ):
        shown = [line for line in lines if line]
        if shown:
            console.print(title, style="bold")
            for line in shown:
                console.print(f"  {line}", markup=False, highlight=False)
