"""The student from a photo on disk to mask and score, beside the field's networks at their own input sizes.

Both sides are measured in one run, in turn, several rounds, with the same photos and the same number of threads: ours
in this environment, the peers (PyPI `imdlbenco`, random weights: speed does not depend on them) in `.venv-parity`,
which `make parity` builds. Nothing is downloaded.

    python -m benchmarks.peers                                 all of it, one thread
    python -m benchmarks.peers --threads 2 --json peers.json
    python -m benchmarks.peers --peers SparseViT --ways fp32,bf16,onnx --rounds 3
    python -m benchmarks.peers student                         a model folder of yours instead
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.peers.measuring import Entry, measure
from benchmarks.peers.report import TARGET, network_rows, photo_rows, ratio_rows
from benchmarks.peers.sides import ROOT
from benchmarks.peers.students import DRAFT, NAIVE, make_students
from boxpromptiml.bench.machine_facts import load_average, machine_facts
from boxpromptiml.bench.photo import made_jpeg
from boxpromptiml.files import write_json

# IMDLBenCo's names stand in `benchmarks.peers.networks`, which only its own environment can import.
PEERS = ("SparseViT", "MVSS-Net", "Mesorch", "TruFor", "IML-ViT")
SIZES = ((384, 256), (1600, 1200), (4000, 3000))


def entries(models: dict[str, tuple[Path, list[str]]], peers: list[str], ways: list[str]) -> list[Entry]:
    """Who takes part; peers between our own, so that whatever slows the machine down hits both."""
    ours = [
        Entry(name, runtime, True, {"kind": "student", "folder": str(folder), "runtime": runtime}, 0)
        for name, (folder, runtimes) in models.items()
        for runtime in runtimes
    ]
    naive = [
        Entry(name, NAIVE, False, {"kind": "naive", "folder": str(folder)}, 0)
        for name, (folder, _) in models.items()
        if name != DRAFT
    ]
    theirs = [Entry(name, way, False, {"kind": "peer", "name": name, "way": way}, 1) for way in ways for name in peers]
    return [*ours[::2], *theirs[::2], *naive, *theirs[1::2], *ours[1::2]]


def main() -> int:
    """Run the comparison and print the tables; 1 if a peer or a student could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="model folders; default: three with random weights")
    parser.add_argument(
        "--python", type=Path, default=ROOT / ".venv-parity/bin/python", help="of the peers' environment"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="default: all")
    parser.add_argument(
        "--ways", default="fp32,bf16", help="of the peers: fp32, bf16 (autocast), onnx; default: fp32,bf16"
    )
    parser.add_argument("--runtimes", help="of the students; default: onnx, and openvino, openvino-bf16 if installed")
    parser.add_argument(
        "--photos", nargs="+", type=Path, help="default: made JPEGs of 384 x 256, 1600 x 1200, 4000 x 3000"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=1, help="of a peer in a round, at least")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a student and photo in a round, at least")
    parser.add_argument(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="processor: its time, which hardly depends on what else the machine does",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there as well")
    options = parser.parse_args()
    peers, ways = options.peers.split(","), options.ways.split(",")
    if unknown := [name for name in peers if name not in PEERS]:
        parser.error(f"unknown peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if not options.python.exists():
        parser.error(f"{options.python}: no such interpreter; `make .venv-parity/.ready` builds it")
    usual = ["onnx", *(["openvino", "openvino-bf16"] if find_spec("openvino") else [])]
    runtimes = options.runtimes.split(",") if options.runtimes else usual
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or _photos(Path(folder))
        if options.models:
            models = {path.name: (path, runtimes) for path in options.models}
        else:
            models = make_students(Path(folder), photos[0], runtimes)
        taking_part = entries(models, peers, ways)
        before, start = load_average(), time.monotonic()
        figures = measure(
            taking_part,
            (sys.executable, options.python),
            photos,
            threads=options.threads,
            rounds=options.rounds,
            calls=options.calls,
            seconds=options.seconds,
            clock=options.clock,
        )
    order = {
        entry.id: number for number, entry in enumerate(sorted(taking_part, key=lambda e: (e.side, not e.ours, e.name)))
    }
    kinds = {entry.id: entry.job["kind"] for entry in taking_part}
    for row in figures["entries"]:
        row["kind"] = kinds[f"{row['name']}, {row['way']}"]
    figures["entries"].sort(key=lambda row: order[f"{row['name']}, {row['way']}"])
    figures["machine"] = machine_facts({}) | {"load": [before, load_average()]}
    figures["seconds"] = round(time.monotonic() - start, 1)
    if options.json:
        write_json(options.json, figures)
    _print(figures, [photo.name for photo in photos])
    return 1 if any("error" in row for row in figures["entries"]) else 0


def _photos(folder: Path) -> list[Path]:
    paths = []
    for width, height in SIZES:
        path = folder / f"{width}x{height}.jpg"
        path.write_bytes(made_jpeg(width, height))
        paths.append(path)
    return paths


def _print(figures: dict[str, Any], photos: list[str]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    machine = figures["machine"]
    console.print(
        f"{machine['cpu']}, {figures['threads']} threads, {figures['clock']} time, medians of {figures['rounds']} "
        f"rounds, load {machine['load'][0]:.1f} before and {machine['load'][1]:.1f} after, {figures['seconds']:.0f} s",
        highlight=False,
    )
    for precision, peak in figures["peaks"].items():
        if peak is not None:
            console.print(f"peak {precision}: {peak[1] / 1e9:.0f} GFLOP/s ({peak[0]}, a large matrix product)")
    _table(console, "networks alone (FLOPs: two a multiply-add)", *network_rows(figures))
    for photo in photos:
        _table(console, f"{photo}: from the file to mask and score, ms", *photo_rows(figures, photo))
        _table(console, f"{photo}: times faster than the fastest peer (target {TARGET})", *ratio_rows(figures, photo))


def _table(console: Console, title: str, head: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(head):
        table.add_column(column, justify="left" if number < 2 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
