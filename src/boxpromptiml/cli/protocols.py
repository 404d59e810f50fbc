"""Verbs: protocol list, show, check, run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from boxpromptiml.cli.arguments import OnMismatch
from boxpromptiml.cli.network import (
    MODEL_HELP,
    CompletionOption,
    CopiesOption,
    DeviceOption,
    LooksOption,
    PrecisionOption,
    RuntimeOption,
    ThreadsOption,
)

app = typer.Typer(
    name="protocol",
    help="The field's protocols: which sets, how many images, what others got; check and run them.",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A protocol of `protocol list`, or the path of a protocol file.", show_default=False
    ),
]
RootOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder of the sets: DIR/<set> with Tp/, Gt/ (and Au/), or DIR/<set>.json.",
        show_default=False,
    ),
]
SetsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="YAML or JSON file, `set: path`, for sets that lie elsewhere.", show_default=False
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where hashes are kept.", show_default="in the user's cache folder"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(parent: typer.Typer) -> None:
    """Add the verbs to the app."""
    parent.add_typer(app)


@app.command("list")
def list_protocols(as_json: JsonOption = False) -> None:
    """List the protocols that come with the package."""
    from boxpromptiml.cli.protocol_tables import print_list
    from boxpromptiml.protocols import load_protocol, protocol_names

    protocols = [load_protocol(name) for name in protocol_names()]
    if as_json:
        print(json.dumps([{"name": p.name, "title": p.title, "sets": len(p.sets)} for p in protocols], indent=2))
        return
    print_list(protocols)


@app.command("show")
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a protocol: sets, counts, where they come from, published figures, known leaks; all with sources."""
    from boxpromptiml.cli.protocol_tables import print_protocol
    from boxpromptiml.protocols import load_protocol

    protocol = load_protocol(name)
    if as_json:
        print(protocol.model_dump_json(indent=2))
        return
    print_protocol(protocol)


@app.command("check")
def check(
    name: NameArgument,
    root: RootOption,
    sets: SetsOption = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Tell, but do not fail for, this kind of problem; repeatable."),
    ] = None,
    max_distance: Annotated[
        int, typer.Option(min=0, max=16, help="Bits of 64 in which the hashes of near-duplicates may differ.")
    ] = 8,
    cache: CacheOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.", show_default="one a core")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the sets of a protocol: what is missing, broken, of another count, or in training and test at once.

    Exit code 1 if anything is wrong. A second check reads only files that are new or have changed.
    """
    from boxpromptiml.cli.protocol_tables import print_check
    from boxpromptiml.protocols import find_sets, load_protocol, read_places
    from boxpromptiml.protocols.check import KINDS, check_protocol
    from boxpromptiml.protocols.facts import FactsCache, default_cache

    for kind in ignore or []:
        if kind not in KINDS:
            raise typer.BadParameter(f"there are {', '.join(KINDS)}", param_hint="--ignore")
    protocol = load_protocol(name)
    places = find_sets(protocol, root, None if sets is None else read_places(sets))
    report = check_protocol(
        protocol, places, FactsCache(cache or default_cache()), workers=workers, max_distance=max_distance
    )
    if as_json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        print_check(report)
    if set(report.kinds()) - set(ignore or []):
        raise typer.Exit(1)


@app.command("run")
def run(
    name: NameArgument,
    root: RootOption,
    out: Annotated[
        Path,
        typer.Option(metavar="OUT", help="Folder for everything; an interrupted run goes on.", show_default=False),
    ],
    sets: SetsOption = None,
    supervision: Annotated[
        Literal["pseudo", "mask", "box"],
        typer.Option(help="Train from the teacher's pseudo masks, true masks, or filled boxes."),
    ] = "pseudo",
    teacher: Annotated[Literal["grabcut", "sam"], typer.Option(help="Who turns boxes into masks.")] = "grabcut",
    weights: Annotated[
        str | None, typer.Option(help="sam: hub id or folder.", show_default="SAM ViT-H, as in the paper")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML file with training settings; the default is the paper's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One training setting, such as epochs=5; repeatable."),
    ] = None,
    loosen: Annotated[float, typer.Option(min=0, help="Boxes are larger than the regions by this share a side.")] = 0.1,
    jitter: Annotated[
        float, typer.Option(min=0, help="Standard deviation of a side's error, as a share of the box.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of the boxes and of --per-set.")] = 0,
    per_set: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many images of each training set, a fixed draw.", show_default="all"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"{MODEL_HELP} Evaluate it, train nothing.")
    ] = None,
    on_mismatch: Annotated[
        OnMismatch, typer.Option(help="For masks that do not fit their images, as in `import`.")
    ] = "error",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Run with the sets that are there; the table says so.")
    ] = False,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train on a protocol's training sets, evaluate on its test sets, print the table beside the published figures.

    Killed at any point, the same command goes on where it stopped. OUT/results.md and OUT/results.json have the tables.
    """
    from boxpromptiml.cli.protocol_tables import print_results
    from boxpromptiml.errors import MissingExtraError
    from boxpromptiml.protocols import find_sets, load_protocol, read_places
    from boxpromptiml.protocols.run import run_protocol
    from boxpromptiml.protocols.settings import RunSettings
    from boxpromptiml.training import load_recipe

    protocol = load_protocol(name)
    places = find_sets(protocol, root, None if sets is None else read_places(sets))
    given = RunSettings(
        supervision=supervision,
        teacher=teacher,
        weights=weights,
        loosen=loosen,
        jitter=jitter,
        seed=seed,
        per_set=per_set,
        on_mismatch=on_mismatch,
        recipe=load_recipe(recipe, settings or []) if recipe is not None or settings else None,
        model=model,
        allow_missing=allow_missing,
        runtime=runtime,
        precision=precision,
        device=device,
        threads=threads,
        copies=copies,
        completion=completion,
        looks=looks,
        cache=cache,
    )
    try:
        results = run_protocol(protocol, places, out, given)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "lightning", "train") from error
    except Exception as error:
        _raise_for_training(error, out)
        raise
    if results is None:
        return
    if as_json:
        print(json.dumps(results.to_json(), indent=2, ensure_ascii=False))
    else:
        print_results(results, out)


def _raise_for_training(error: Exception, out: Path) -> None:
    """Turn what training raises, in one or several processes, into what the command line does with it."""
    import sys

    # Only what has been imported can have been raised; importing it here would take seconds.
    if "boxpromptiml.training.run" not in sys.modules:
        return
    from boxpromptiml.errors import Stopped
    from boxpromptiml.training.processes import Interrupted, RunError
    from boxpromptiml.training.run import is_main_process

    if isinstance(error, Interrupted | RunError) and not is_main_process():
        raise typer.Exit from error
    if isinstance(error, Interrupted):
        message = f"interrupted, the state is saved in {out}; run the same command again to go on where it stopped"
        raise Stopped(error.signal, message) from error
