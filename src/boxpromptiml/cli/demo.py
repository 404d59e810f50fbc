"""Verbs: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that the demo makes.")] = Path(
        "demo-output"
    ),
    images: Annotated[int, typer.Option(min=20, help="Tampered images to make.")] = 440,
    epochs: Annotated[int | None, typer.Option(min=1, help="Training epochs; fewer is faster and worse.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of photographs' splits, images, boxes and training.")] = 0,
) -> None:
    """Run every step of the method on real photographs and write a report: about four minutes on two cores.

    Synthesise tampered images, loosen boxes, pseudo-label with GrabCut, train a small student (and two to compare it
    with), export, evaluate, localize. Interrupt it at any time: the same command goes on where it stopped.
    """
    import sys
    import time

    from rich.console import Console

    from boxpromptiml.errors import MissingExtraError, Stopped

    try:
        from boxpromptiml.demo.pipeline import run_demo
        from boxpromptiml.demo.settings import DemoSettings
        from boxpromptiml.demo.summary import build_page, terminal_table
        from boxpromptiml.training.processes import Interrupted
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("boxpromptiml"):
            raise
        raise MissingExtraError(error.name or "torch", "train,demo") from error

    start = time.perf_counter()
    try:
        result = run_demo(out, DemoSettings(images=images, epochs=epochs, seed=seed))
    except Interrupted as error:
        message = f"interrupted in training, the state is saved in {out}; go on with the same command"
        raise Stopped(error.signal, message) from error
    build_page(result).write(out / "report.html")
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.print(terminal_table(result))
    console.print(f"{time.perf_counter() - start:.0f} s; open {out / 'report.html'}", soft_wrap=True)
