"""What `protocol list`, `show`, `check` and `run` print."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from boxpromptiml.protocols import Protocol
from boxpromptiml.protocols.check import CheckReport, SetReport
from boxpromptiml.protocols.results import ProtocolResults
from boxpromptiml.protocols.table import comparison, own_figures

# Files that a check names for each kind of problem of a set; --json has all.
_SHOWN = 5
_ROLES = {"train": "training", "test": "test", "ood": "test, out of distribution"}
_PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}


def print_list(protocols: Sequence[Protocol]) -> None:
    """Print one line a protocol."""
    table = Table("name", "what", "sets")
    table.columns[0].no_wrap = True
    for protocol in protocols:
        sets = f"{len(protocol.training)} to train, {len(protocol.tests)} to test"
        table.add_row(protocol.name, protocol.title, sets)
    Console(markup=False).print(table)


def print_protocol(protocol: Protocol) -> None:
    """Print all of a protocol, with sources."""
    console = Console(markup=False)
    console.print(f"{protocol.name}: {protocol.title}", style="bold", highlight=False)
    console.print(protocol.description, highlight=False)
    console.print(f"scored by the preset {protocol.preset} ({protocol.mode}); source: {protocol.source}\n")
    console.print(_sets_table(protocol))
    console.print("where they come from:")
    for reference, names in _origins(protocol).items():
        _print_item(console, f"{', '.join(names)}: {reference}")
    console.print()
    for grid in comparison(protocol):
        console.print(grid.terminal())
    for row in protocol.rows:
        remark = f"; {row.remark}" if row.remark else ""
        _print_item(console, f"{row.method}: {row.source}{remark}")
    _print_notes(console, protocol)


def print_check(report: CheckReport) -> None:
    """Print what a check found: a table of the sets, then the problems, then the pairs."""
    console = Console(markup=False)
    table = Table(title=f"protocol {report.protocol.name}", title_justify="left")
    for column, justify in (
        ("set", "left"),
        ("role", "left"),
        ("tampered", "right"),
        ("authentic", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    leaked = {pair.test_set: 0 for pair in report.duplicates}
    for found in {(pair.test_set, pair.test_image) for pair in report.duplicates}:
        leaked[found[0]] += 1
    for item in report.sets:
        verdict = ", ".join(_verdicts(item, leaked.get(item.name, 0))) or "as expected"
        table.add_row(item.name, _ROLES[item.role], str(item.tampered), str(item.authentic), verdict)
    console.print(table)
    for item in report.sets:
        for kind in dict.fromkeys(problem.kind for problem in item.problems):
            same = [problem for problem in item.problems if problem.kind == kind]
            for problem in same[:_SHOWN]:
                place = "" if problem.file is None else f"{problem.file}: "
                console.print(f"{item.name}, {kind}: {place}{problem.detail}", **_PLAIN)
            if len(same) > _SHOWN:
                console.print(f"{item.name}, {kind}: ... and {len(same) - _SHOWN} more (--json lists all)", **_PLAIN)
    for pair in report.duplicates[:_SHOWN]:
        how = (
            "the same file" if pair.kind == "exact" else f"nearly the same picture ({pair.distance} of 64 bits differ)"
        )
        console.print(f"{pair.test_image} ({pair.test_set}) is {how}", end=" ", **_PLAIN)
        console.print(f"as {pair.train_image} ({pair.train_set})", **_PLAIN)
    if len(report.duplicates) > _SHOWN:
        console.print(f"... and {len(report.duplicates) - _SHOWN} more pairs (--json lists all)", **_PLAIN)
    for note in report.protocol.notes:
        if note.leak:
            console.print(f"known leak: {note.text} [{note.source}]", **_PLAIN)


def print_results(results: ProtocolResults, out: Path) -> None:
    """Print a run's figures beside the published ones, and what to know of them."""
    console = Console(markup=False)
    console.print(own_figures(results).terminal())
    for grid in comparison(results.protocol, results):
        console.print(grid.terminal())
    if results.remarks:
        console.print("not comparable with the published figures:")
    for remark in results.remarks:
        console.print(f"  {remark}", **_PLAIN)
    for overlap in results.overlaps:
        console.print(f"duplicates: {overlap}", **_PLAIN)
    for note in results.protocol.notes:
        if note.leak:
            console.print(f"known leak: {note.text} [{note.source}]", **_PLAIN)
    for deviation in results.protocol.deviations:
        console.print(f"by design: {deviation}", **_PLAIN)
    console.print(f"tables and figures: {out / 'results.md'}, {out / 'results.json'}", **_PLAIN)


def _sets_table(protocol: Protocol) -> Table:
    table = Table("set", "role", "images")
    table.add_column("source of the number", overflow="fold")
    for item in protocol.sets:
        counts = [f"{count.count:,}" for count in item.tampered] or ["not published"]
        sources = [count.source for count in item.tampered] or ["-"]
        if item.use == "all":
            counts += [f"+ {count.count:,} authentic" for count in item.authentic] or ["+ authentic ones"]
            sources += [count.source for count in item.authentic]
        table.add_row(item.name, _ROLES[item.role], "\nor ".join(counts).replace("or +", "+"), "\n".join(sources))
    return table


def _origins(protocol: Protocol) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in protocol.sets:
        if item.origin is not None:
            page = f" ({item.origin.page})" if item.origin.page else ""
            found.setdefault(f"{item.origin.reference} {item.origin.terms}{page}", []).append(item.name)
    return found


def _print_notes(console: Console, protocol: Protocol) -> None:
    for title, notes in (
        ("known leaks", [note for note in protocol.notes if note.leak]),
        ("to know", [note for note in protocol.notes if not note.leak]),
    ):
        if notes:
            console.print(f"\n{title}:")
        for note in notes:
            _print_item(console, f"{note.text} [{note.source}]")
    if protocol.deviations:
        console.print("\nhow a run here differs:")
        for deviation in protocol.deviations:
            _print_item(console, deviation)


def _print_item(console: Console, text: str) -> None:
    """An indented item: wrapped between words on a terminal, one full line into files and pipes."""
    if console.is_terminal:
        # An address that is longer than a line stays in one piece, so that it can be clicked and copied.
        lines = textwrap.wrap(
            text,
            console.width,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        text = "\n".join(lines)
    else:
        text = f"  {text}"
    console.print(text, **_PLAIN)


def _verdicts(item: SetReport, leaked: int) -> list[str]:
    kinds = dict.fromkeys(problem.kind for problem in item.problems)
    words = []
    for kind in kinds:
        same = [problem for problem in item.problems if problem.kind == kind]
        whole = kind in ("missing", "layout", "count")
        words.append(same[0].detail if kind == "count" else kind if whole else f"{len(same)} x {kind}")
    return [*words, f"{leaked} in training too"] if leaked else words
