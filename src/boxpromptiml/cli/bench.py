"""Verbs: bench latency, bench throughput."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxpromptiml.cli.network import MODEL_HELP

if TYPE_CHECKING:
    from rich.table import Table

    from boxpromptiml.bench import SpeedResult
    from boxpromptiml.bench.tables import PlainTable

bench_app = typer.Typer(
    help="How fast models are on this machine, and what they cost: each setting in fresh processes, all in turn.",
    no_args_is_help=True,
)

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help=f"{MODEL_HELP} Several are compared.",
        show_default="BOXPROMPTIML_MODEL, or default",
    ),
]
Runtimes = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="NAMES",
        help="onnx, openvino, torch (eager), torch-export, torch-compile, each with -fp16, -bf16 or -int8, "
        "separated by commas; default: those that can run the models here, without torch-compile.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="cpu, or cuda (torch only).")]
Photo = Annotated[
    Path | None,
    typer.Option(
        "--image", metavar="FILE", help="Photo to look at; default: a made JPEG of 1600 x 1200.", show_default=False
    ),
]
Rounds = Annotated[int, typer.Option(min=1, max=1000, help="Turns of every setting; all settings in turn.")]
Seconds = Annotated[float, typer.Option(min=0.01, max=3600, help="Of each measurement of a turn.")]
WithPeak = Annotated[bool, typer.Option("--peak/--no-peak", help="Measure the machine's peak as well.")]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the figures there; FILE.partial keeps what is done, so that an interrupted run goes on.",
        show_default=False,
    ),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]

# Ways to fit a table to a terminal, the first that does is taken: space beside cells, and the widest column of words.
_FITTING = ((1, None), (1, 32), (1, 24), (1, 16), (0, 24), (0, 16))


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.add_typer(bench_app, name="bench")


@bench_app.command("latency")
def latency(
    models: Models = None,
    runtimes: Runtimes = None,
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Thread counts, separated by commas; default: 1 and all usable cores.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    image: Photo = None,
    rounds: Rounds = 3,
    seconds: Seconds = 2.0,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Published figures of other methods, with sources.")
    ] = True,
    peak: WithPeak = True,
    json_file: Json = None,
    as_markdown: Markdown = False,
) -> None:
    """One photo at a time: cold start, percentiles, share of the machine's peak, memory, and where the time goes.

    The network alone, and from a photo on disk to score, mask and regions. Exit code 1: some settings could not be
    measured; 2: wrong usage.
    """
    from boxpromptiml.bench import Effort, measure_speed
    from boxpromptiml.bench.tables import latency_tables

    counts = None if threads is None else _numbers(threads, "--threads")
    state = _partial(json_file)
    result = measure_speed(
        _folders(models),
        runtimes=_names(runtimes),
        threads=counts,
        device=device,
        effort=Effort(rounds, seconds),
        photo=image,
        peak=peak,
        peers=peers,
        state=state,
    )
    _show(result, latency_tables(result), json_file, state, as_markdown)


@bench_app.command("throughput")
def throughput(
    models: Models = None,
    runtimes: Runtimes = None,
    threads: Annotated[str, typer.Option(metavar="NUMBERS", help="Thread counts of a process, by commas.")] = "1",
    batches: Annotated[str, typer.Option("--batch", metavar="NUMBERS", help="Images per call, by commas.")] = "1,8",
    processes: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Processes side by side, by commas; default: 1 and one a usable core.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    image: Photo = None,
    rounds: Rounds = 3,
    seconds: Seconds = 2.0,
    peak: WithPeak = True,
    json_file: Json = None,
    as_markdown: Markdown = False,
) -> None:
    """Images a second by batch, threads and processes, beside what decoding alone allows.

    Exit code 1: some settings could not be measured; 2: wrong usage.
    """
    from boxpromptiml.bench import Effort, measure_speed
    from boxpromptiml.bench.tables import throughput_tables
    from boxpromptiml.machine import usable_cores

    counts, sizes = _numbers(threads, "--threads"), _numbers(batches, "--batch")
    several = [1, usable_cores()] if processes is None else _numbers(processes, "--processes")
    state = _partial(json_file)
    result = measure_speed(
        _folders(models),
        runtimes=_names(runtimes),
        threads=counts,
        batches=sizes,
        processes=several,
        device=device,
        effort=Effort(rounds, seconds),
        photo=image,
        peak=peak,
        decoding=True,
        state=state,
    )
    _show(result, throughput_tables(result), json_file, state, as_markdown)


def _folders(models: list[str] | None) -> list[Path]:
    from boxpromptiml.runtime import find_model

    return [find_model(model) for model in models] if models else [find_model()]


def _names(words: str | None) -> list[str] | None:
    return None if words is None else [word.strip() for word in words.split(",") if word.strip()]


def _numbers(words: str, option: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{words!r} is not a list of numbers such as 1,2", param_hint=option) from None


def _partial(json_file: Path | None) -> Path | None:
    """The state beside the output; the folder must be there before minutes of measuring."""
    if json_file is None:
        return None
    if json_file.is_dir():
        raise typer.BadParameter(f"{json_file} is a folder", param_hint="--json")
    try:
        json_file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{json_file.parent}: {error.strerror}", param_hint="--json") from None
    return json_file.with_name(f"{json_file.name}.partial")


def _show(
    result: SpeedResult, tables: Sequence[PlainTable], json_file: Path | None, state: Path | None, as_markdown: bool
) -> None:
    from boxpromptiml.bench.tables import markdown, notes
    from boxpromptiml.files import write_json

    if json_file is not None:
        write_json(json_file, result.to_json())
    if state is not None:
        state.unlink(missing_ok=True)
    if as_markdown:
        print(markdown(tables, result))
    else:
        print_tables(tables, notes(result))
    if result.failed:
        raise typer.Exit(1)


def print_tables(tables: Sequence[PlainTable], notes: Sequence[str]) -> None:
    """Print tables, and what must be said of them. A number is never cut in two: 1289 would be read as 128."""
    from rich.console import Console

    from boxpromptiml.cli.tables import table_console

    console = table_console()
    unlimited = Console(width=10_000, markup=False)
    for plain in tables:
        for padding, widest in _FITTING:
            table = _drawn(plain, padding, widest)
            if unlimited.measure(table).maximum <= console.width:
                break
        unlimited.print(table)  # a terminal that is too narrow even so breaks the lines itself
    for line in notes:
        console.print(line, highlight=False, markup=False)


def _drawn(plain: PlainTable, padding: int, widest: int | None) -> Table:
    """A table; with a widest column, words are folded there, and heads have one word a line."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=plain.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, padding))
    for place, column in enumerate(plain.columns):
        if place in plain.words:
            table.add_column(column, overflow="fold", max_width=widest)
        else:
            table.add_column(column if widest is None else column.replace(" ", "\n"), justify="right")
    for row in plain.rows:
        table.add_row(*row)
    return table
