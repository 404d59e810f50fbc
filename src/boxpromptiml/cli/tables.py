"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console


def table_console() -> Console:
    """Full lines into files and pipes, the terminal's width on a terminal; brackets in names are no markup."""
    console = Console(markup=False)
    return console if console.is_terminal else Console(width=10_000, markup=False)
