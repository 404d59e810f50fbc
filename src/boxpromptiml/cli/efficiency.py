"""Verb: efficiency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from boxpromptiml.evaluation.efficiency import EfficiencyResult


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("efficiency")(efficiency)


def efficiency(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Model folders, as `boxpromptiml train` writes them."),
    ],
    runtimes: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="NAMES",
            help="onnx, openvino, torch (eager), torch-export, torch-compile, each with -fp16, -bf16 or -int8, "
            "separated by commas; default: those that can run the models here, without torch-compile.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Thread counts, separated by commas; default: 1 and all usable cores.",
            show_default=False,
        ),
    ] = None,
    batches: Annotated[
        str, typer.Option("--batch", metavar="NUMBERS", help="Images per call, separated by commas.")
    ] = "1,8",
    device: Annotated[str, typer.Option(help="cpu, or cuda (torch only).")] = "cpu",
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Decoded end to end; default: a made JPEG of 1600 x 1200.", show_default=False
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Turns of every setting; all settings in turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, max=3600, help="Of each measurement of a turn.")] = 2.0,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Published figures of other methods, with sources.")
    ] = True,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="OUT",
            help="Write the figures there; OUT.partial keeps what is done, so that an interrupted run goes on.",
            show_default=False,
        ),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Measure what models cost: parameters, FLOPs (multiply-adds), latency, throughput, memory, file size.

    Every setting is measured in fresh processes, all settings in turn, the network alone and from JPEG bytes to a map.
    Exit code 1: some settings could not be measured; 2: wrong usage.
    """
    from boxpromptiml.evaluation.efficiency import Effort, measure_efficiency
    from boxpromptiml.evaluation.efficiency.tables import markdown
    from boxpromptiml.files import write_json

    names = None if runtimes is None else [word.strip() for word in runtimes.split(",") if word.strip()]
    counts = None if threads is None else _numbers(threads, "--threads")
    sizes = _numbers(batches, "--batch")
    state = None if json_file is None else _partial(json_file)
    result = measure_efficiency(
        models,
        runtimes=names,
        threads=counts,
        batches=sizes,
        device=device,
        effort=Effort(rounds, seconds),
        image=image,
        peers=peers,
        state=state,
    )
    if json_file is not None:
        write_json(json_file, result.to_json())
    if state is not None:
        state.unlink(missing_ok=True)
    if as_markdown:
        print(markdown(result))
    else:
        _print(result)
    if result.failed:
        raise typer.Exit(1)


def _numbers(words: str, option: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{words!r} is not a list of numbers such as 1,2", param_hint=option) from None


def _partial(json_file: Path) -> Path:
    """The state beside the output; the folder must be there before minutes of measuring."""
    if json_file.is_dir():
        raise typer.BadParameter(f"{json_file} is a folder", param_hint="--json")
    try:
        json_file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{json_file.parent}: {error.strerror}", param_hint="--json") from None
    return json_file.with_name(f"{json_file.name}.partial")


def _print(result: EfficiencyResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from boxpromptiml.evaluation.efficiency.tables import notes, size_table, speed_table

    console = Console()
    for plain in (size_table(result), speed_table(result)):
        table = Table(title=plain.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for place, column in enumerate(plain.columns):
            table.add_column(column, justify="left" if place in plain.words else "right", overflow="fold")
        for row in plain.rows:
            table.add_row(*row)
        console.print(table)
    for line in notes(result):
        console.print(line, highlight=False, markup=False)
