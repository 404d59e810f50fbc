"""Verbs: study supervision, study boxes, study ablation, study training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxpromptiml.cli.arguments import DatasetArgument, OnMismatch

if TYPE_CHECKING:
    from boxpromptiml.evaluation.studies import Plan, Preview, StudyReport

study_app = typer.Typer(
    help="Studies: train variants of one recipe with several seeds and compare them, with confidence intervals.",
    no_args_is_help=True,
)

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the study; the same command goes on with it.")
]
Tests = Annotated[
    list[Path] | None,
    typer.Option(
        "--test",
        metavar="DATASET2",
        help="A further test set, such as one out of distribution: dataset folder, Tp/Gt folder, list; repeatable.",
    ),
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="YAML file with training settings.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One training setting; repeatable.")
]
Seeds = Annotated[str, typer.Option(help="Train every variant once with each of these seeds.")]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Runs at a time; the cores are shared among them.")]
Preset = Annotated[str, typer.Option(help="Protocol of the pixel figures.")]
Mode = Annotated[Literal["origin", "reverse", "double"], typer.Option(help="The protocol's mode.")]
Only = Annotated[str, typer.Option(metavar="A,B", help="Only these variants.", show_default="all")]
Mismatch = Annotated[OnMismatch, typer.Option(help="For masks of --test sets that do not fit their images.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and how long it takes, and exit.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.add_typer(study_app, name="study")


@study_app.command("supervision")
def supervision(
    dataset: DatasetArgument,
    out: Out,
    test: Tests = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
    seeds: Seeds = "0,1,2",
    jobs: Jobs = 1,
    preset: Preset = "imdlbenco",
    mode: Mode = "origin",
    only: Only = "",
    on_mismatch: Mismatch = "error",
    dry_run: DryRun = False,
) -> None:
    """Pseudo masks against true masks, filled boxes and image labels: same images, same recipe, several seeds."""
    from boxpromptiml.evaluation.studies import SUPERVISION, SUPERVISION_REFERENCE, Measure, make_plan

    plan = make_plan(
        "supervision",
        SUPERVISION,
        SUPERVISION_REFERENCE,
        seeds=_numbers(seeds),
        recipe_file=recipe,
        settings=settings or (),
        only=_names(only),
    )
    _run(plan, dataset, out, Measure(tuple(test or ()), preset, mode, on_mismatch), jobs, dry_run)


def _parts(kind: Literal["ablation", "training"], text: str) -> None:
    """Add a verb that takes parts out of a recipe, one at a time."""

    @study_app.command(kind, help=text)
    def verb(
        dataset: DatasetArgument,
        out: Out,
        test: Tests = None,
        recipe: RecipeFile = None,
        settings: Settings = None,
        seeds: Seeds = "0,1,2",
        jobs: Jobs = 1,
        preset: Preset = "imdlbenco",
        mode: Mode = "origin",
        only: Only = "",
        on_mismatch: Mismatch = "error",
        targets: Annotated[
            Literal["pseudo", "mask", "box"], typer.Option("--supervision", help="What all variants are trained on.")
        ] = "pseudo",
        dry_run: DryRun = False,
    ) -> None:
        from boxpromptiml.evaluation.studies import WHOLE, Measure, ablation, make_plan, training
        from boxpromptiml.training import load_recipe

        variants = ablation(targets) if kind == "ablation" else training(load_recipe(recipe, settings or ()), targets)
        plan = make_plan(
            kind,
            variants,
            WHOLE,
            seeds=_numbers(seeds),
            recipe_file=recipe,
            settings=settings or (),
            only=_names(only),
        )
        _run(plan, dataset, out, Measure(tuple(test or ()), preset, mode, on_mismatch), jobs, dry_run)


_parts(
    "ablation",
    "What each part of the method buys: gates, memory and its size, dual guidance, temperature, alpha, loss.",
)
_parts(
    "training",
    "What each part of a training recipe buys: synthesis, native windows, evidence, weights, augmentation, loss.",
)


@study_app.command("boxes")
def boxes(
    dataset: DatasetArgument,
    out: Out,
    test: Tests = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
    seeds: Seeds = "0,1,2",
    jobs: Jobs = 1,
    preset: Preset = "imdlbenco",
    mode: Mode = "origin",
    only: Only = "",
    on_mismatch: Mismatch = "error",
    loosen: Annotated[str, typer.Option(metavar="A,B", help="Shares by which boxes are too large.")] = "0,0.25,0.5",
    jitter: Annotated[str, typer.Option(metavar="A,B", help="Shares by which their sides are off.")] = "0,0.15,0.3",
    missing: Annotated[str, typer.Option(metavar="A,B", help="Shares of regions that are overlooked.")] = "0.2,0.5",
    swapped: Annotated[
        str, typer.Option(metavar="A,B", help="Shares of images with the boxes of another image.")
    ] = "0.1,0.3",
    base: Annotated[
        str, typer.Option(metavar="LOOSEN,JITTER[,MISSING,SWAPPED]", help="Quality that the others depart from.")
    ] = "0.1,0.05",
    box_seed: Annotated[int, typer.Option(min=0, help="Seed of the errors in the boxes.")] = 0,
    teacher: Annotated[Literal["grabcut", "box", "sam"], typer.Option(help="Who turns boxes into masks.")] = "grabcut",
    weights: Annotated[str | None, typer.Option(help="sam: hub id or folder.", show_default="SAM ViT-H")] = None,
    dry_run: DryRun = False,
) -> None:
    """How good boxes have to be: too large, imprecise, missing, mixed up; teacher IoU and student F1 for each.

    Boxes are derived from the true masks, in datasets inside DIR; DATASET is not changed.
    """
    from boxpromptiml.errors import RecipeError
    from boxpromptiml.evaluation.studies import BOXES_REFERENCE, BOXES_YARDSTICK, BoxErrors, Measure, make_plan
    from boxpromptiml.evaluation.studies import boxes as variants_of

    if weights is not None and teacher != "sam":
        raise RecipeError(f"--weights is for --teacher sam; {teacher} has none")
    quality = _shares(base, "--base")
    if not 1 <= len(quality) <= 4:
        raise typer.BadParameter("give loosen and jitter, and perhaps missing and swapped", param_hint="--base")
    levels = {"loosen": loosen, "jitter": jitter, "missing": missing, "swapped": swapped}
    plan = make_plan(
        "boxes",
        variants_of(BoxErrors(*quality), {name: _shares(text, f"--{name}") for name, text in levels.items()}),
        BOXES_REFERENCE,
        yardstick=BOXES_YARDSTICK,
        seeds=_numbers(seeds),
        recipe_file=recipe,
        settings=settings or (),
        only=_names(only),
        options={"seed": box_seed, "teacher": {"name": teacher, **({"weights": weights} if weights else {})}},
    )
    _run(plan, dataset, out, Measure(tuple(test or ()), preset, mode, on_mismatch), jobs, dry_run)


def _run(plan: Plan, dataset: Path, out: Path, measure: object, jobs: int, dry_run: bool) -> None:
    from boxpromptiml.evaluation.studies import Measure, check_measure, preview_study, run_study

    assert isinstance(measure, Measure)
    check_measure(measure)
    if dry_run:
        _print_preview(preview_study(plan, dataset, out, measure, jobs=jobs), plan, jobs)
        return
    report = run_study(plan, dataset, out, measure, jobs=jobs)
    _print_report(report)
    if report.failures:
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a list of whole numbers such as 0,1,2", param_hint="--seeds"
        ) from None


def _shares(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of shares such as 0,0.25", param_hint=option) from error


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _print_preview(preview: Preview, plan: Plan, jobs: int) -> None:
    from boxpromptiml.evaluation.studies.engine import duration

    images = ", ".join(f"{number} in {name}" for name, number in preview.images.items())
    print(f"images: {images}")
    print(f"variants: {', '.join(variant.name for variant in plan.variants)}")
    print(f"runs: {len(preview.todo)} left of {len(preview.todo) + len(preview.done)}, {preview.epochs} epochs")
    for name in preview.todo:
        print(f"  {name}")
    if preview.seconds is not None:
        source = "the runs that are done" if preview.measured else "a few training steps"
        print(f"estimate: {duration(preview.seconds)} with --jobs {jobs}, without pseudo masks, from {source}")


def _print_report(report: StudyReport) -> None:
    from rich.table import Table

    from boxpromptiml.cli.tables import table_console
    from boxpromptiml.evaluation.studies.report import misfits_of, rows_of

    console = table_console()
    for test in report.results:
        header, rows = rows_of(report, test, brief=True)
        table = Table(title=f"study {report.kind}, {report.preset} on {test}", title_justify="left")
        for number, name in enumerate(header):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        for said in misfits_of(report, test):
            console.print(f"{test}: {said}", highlight=False)
    for name, message in report.failures.items():
        console.print(f"failed: {name}: {message}", markup=False, highlight=False, soft_wrap=True)
    if report.results:
        console.print(f"{report.folder}: report.md, report.csv, report.json, report.png", highlight=False)
