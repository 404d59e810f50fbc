"""The `boxpromptiml` command: one file per group of verbs, heavy imports inside the verbs."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from rich.console import Console

from boxpromptiml import __version__
from boxpromptiml.errors import BoxPromptError, Stopped
from boxpromptiml.files import os_reason

app = typer.Typer(
    name="boxpromptiml",
    help="Image manipulation localization trained from coarse boxes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer carries its own Click, under a private name; this is the base of all its complaints about a command line.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

# Each module defines register(app).
_GROUPS = (
    "importing",
    "dataset",
    "formats",
    "annotate",
    "page",
    "synthesis",
    "teachers",
    "shards",
    "training",
    "models",
    "info",
    "package",
    "evaluation",
    "weights",
    "localize",
    "serve",
    "studies",
    "robustness",
    "bench",
    "protocols",
    "label_studio",
    "demo",
)


def _version(value: bool) -> None:
    if value:
        print(f"boxpromptiml {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


for _group in _GROUPS:
    import_module(f"boxpromptiml.cli.{_group}").register(app)


def main() -> None:
    """Run the command line: bad input prints one line and exits with 2, Ctrl-C exits with 130."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        code = app(
            prog_name="boxpromptiml", standalone_mode=False
        )  # otherwise Typer frames what is wrong in half a dozen lines
    except _UsageError as error:
        line = _usage_line(error)
        if line:
            errors.print(f"error: {line}")
        sys.exit(2)
    except typer.Abort:
        errors.print("aborted")
        sys.exit(1)
    except BoxPromptError as error:
        errors.print(f"error: {error}")
        sys.exit(2)
    except Stopped as stopped:
        errors.print(str(stopped))
        sys.exit(128 + stopped.signal)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:  # a full disk, a folder that may not be written to
        where = error.filename2 or error.filename or "file system"
        errors.print(f"error: {where}: {os_reason(error)}")
        sys.exit(2)
    if code == 130:  # what Typer makes of Ctrl-C
        errors.print("interrupted; run the same command again to go on where it stopped")
    sys.exit(code)


def _usage_line(error: Any) -> str:
    """What is wrong with the command line, and where to read on; empty where the help has been shown instead."""
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a verb
        return ""
    command = "boxpromptiml" if error.ctx is None else error.ctx.command_path
    return f"{message.rstrip('.')}; see  {command} --help"


if __name__ == "__main__":
    main()
