"""Verb: package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("package")(package)


def package(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `boxpromptiml train`.", show_default=False)],
    name: Annotated[
        str, typer.Option("--name", "-n", help="What the model is called: default, paper, or any name with --output.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The new folder; without it the model becomes one of the package, for `--name default` or `paper`.",
            show_default="in the package, under its name",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the packaged model that is there already.")
    ] = False,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            "--validation",
            metavar="DATASET",
            help="Where threshold and calibration come from: a dataset that was trained on (of which the images that "
            "the run held out are used), or the val split of another; repeatable. Never test images.",
            show_default="where the run found its datasets",
        ),
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(
            "--results",
            metavar="NAME=DATASET",
            help="Evaluate the finished model on it, for the card; can be given several times.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="YAML with what only people know: training data and its terms, commands, use, limits.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Literal["fp32", "fp16"],
        typer.Option(help="How the matrices are stored; fp16 takes half the room, and the network computes in fp32."),
    ] = "fp32",
    max_false_area: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Choose a threshold that marks at most this share of authentic images, with 95 % confidence.",
            show_default="none",
        ),
    ] = None,
    cut: Annotated[
        float | None,
        typer.Option(
            min=0.004,
            max=0.996,
            help="Threshold of the network's own map (with --adaptive: of the adapted one), which becomes 0.5; 0.5 "
            "keeps it, and the map gets a temperature alone.",
            show_default="chosen",
        ),
    ] = None,
    copies: Annotated[
        bool,
        typer.Option(
            "--copies", help="The model also looks for parts of an image that are there twice, see docs/localizing.md."
        ),
    ] = False,
    completion: Annotated[
        bool,
        typer.Option(
            "--completion",
            help="The model also completes what it marks of an object to all of it, see docs/localizing.md; the "
            "threshold is chosen with it.",
        ),
    ] = False,
    looks: Annotated[
        int,
        typer.Option(
            min=1,
            max=2,
            help="How often the network looks at an image: 2: also turned by half, averaged, for twice its time.",
        ),
    ] = 1,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="The threshold follows each image: less is asked for where traces are faint all over it, as after "
            "compression. See docs/localizing.md.",
        ),
    ] = False,
    max_mb: Annotated[
        float,
        typer.Option(min=0.001, max=1e6, help="Refuse more than that; in the package, together with the other models."),
    ] = 25.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Make a trained model ready to be handed on: ONNX file, threshold, calibrated scores, and a card.

    Threshold and calibration are chosen on the training images that the run held out, never on test images. The same
    command gives the same bytes. See docs/packaging.md.
    """
    from boxpromptiml.models import NAMES
    from boxpromptiml.models.card import CardText
    from boxpromptiml.packaging import package_model
    from boxpromptiml.settings_file import load_settings

    if output is None and name not in NAMES:
        raise typer.BadParameter(f"another name than {', '.join(NAMES)} needs --output FOLDER", param_hint="--name")
    pairs: dict[str, Path] = {}
    for item in results or []:
        key, equals, place = item.partition("=")
        if not equals or not key.replace("-", "").replace("_", "").isalnum() or not place or key in pairs:
            raise typer.BadParameter(
                f"{item!r}: write NAME=DATASET, each name once, of letters, digits and -", param_hint="--results"
            )
        pairs[key] = Path(place)
    card_text = load_settings(CardText, text, example="title=...", remedy="docs/packaging.md has an example")
    made = package_model(
        run,
        name,
        output=output,
        overwrite=overwrite,
        validation=validation or (),
        results=pairs,
        text=card_text,
        weights=weights,
        max_false_area=max_false_area,
        cut=cut,
        copies=copies,
        completion=completion,
        looks=looks,
        adaptive=adaptive,
        max_bytes=int(max_mb * 1e6),
    )
    if as_json:
        print(made.card.model_dump_json(indent=2))
        return
    facts = made.card.calibration
    print(f"{made.folder}: {made.bytes / 1e6:.1f} MB")
    print(f"on {facts.tampered} tampered and {facts.authentic} authentic held-out images ({facts.truth}):")
    if facts.cut is not None:
        chosen = facts.cut
        print(f"threshold {chosen.cut:.3f}, now 0.5: F1 {chosen.f1_at_half:.3f} before, {chosen.f1_at_cut:.3f} now")
        if chosen.false_area_at_half is not None and chosen.false_area_at_cut is not None:
            areas = chosen.false_area_at_half, chosen.false_area_at_cut
            print(f"of authentic images {areas[0]:.2%} was marked before, {areas[1]:.2%} now")
    for what, before, after in (
        ("score", facts.score_before, facts.score_cross_validated or facts.score_after),
        ("map", facts.pixel_before, facts.pixel_after),
    ):
        if before is not None and after is not None and before.ece is not None and after.ece is not None:
            print(f"calibration error of the {what}: {before.ece:.3f} before, {after.ece:.3f} now")
    for result in made.card.results:
        numbers = (f"{key} {result.figures[key].value:.3f}" for key in ("f1", "image.auc") if key in result.figures)
        print(f"{result.name}: {', '.join(numbers)}")
