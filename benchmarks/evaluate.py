"""How fast `boxpromptiml evaluate` is, and where its time goes: `python -m benchmarks.evaluate MODEL DATASETS...`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import run_command
from boxpromptiml.evaluation import ImageTable, evaluate, open_plan
from boxpromptiml.evaluation.plan import Task
from boxpromptiml.evaluation.pooled import ImagePixels, PixelCurves
from boxpromptiml.evaluation.scoring import Scorer
from boxpromptiml.metrics import PRESETS
from boxpromptiml.runtime import Localizer

# Many rows in a process of its own: what it takes beyond the interpreter.
_ROWS = """
import json, pathlib, sys
import numpy as np
from boxpromptiml.evaluation import ImageTable
from boxpromptiml.evaluation.pooled import ImagePixels, PixelCurves
from boxpromptiml.evaluation.table import make_row
from boxpromptiml.metrics import get_preset
count = int(sys.argv[1])
rng = np.random.default_rng(0)
preset = get_preset("imdlbenco")
def resident():
    status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss would tell of the parent, too
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("Vm")}
before = resident()["VmRSS"]
table, curves = ImageTable(count), PixelCurves()
for number in range(count):
    truth = np.zeros((32, 32), bool)
    truth[: number % 20] = True
    values = (0.7 * rng.random((32, 32), np.float32) + np.float32(0.3) * truth).astype(np.float32)
    tampered = bool(truth.any())
    row = make_row(preset.score(values, truth), score=float(values.max()), positive_area=float((values > 0.5).mean()),
                   region_share=float(truth.mean()), tampered=tampered)
    table.append(row, 0, f"Tp/folder/image-{number:09}.jpg", "splice" if tampered else None)
    curves.add(ImagePixels.of(values, truth), tampered=tampered)
after = resident()["VmRSS"]
print(json.dumps({"images": count, "bytes_per_image": table.nbytes / count, "before_mib": before, "after_mib": after}))
"""


def stages(localizer: Localizer, tasks: Sequence[Task], preset: str) -> dict[str, float]:
    """Milliseconds per image of each step, one image after the other, nothing overlapped.

    The median over images: a machine that is busy with other things as well disturbs it least.
    """
    steps = ["read, decode and resize", "network", "mask, figures and pixel counts", "row and sums"]
    spent: dict[str, list[float]] = {step: [] for step in steps}
    scorer = Scorer(localizer, PRESETS[preset], "origin")
    table, curves = ImageTable(len(tasks)), PixelCurves()
    spec = localizer.config.preprocessing
    localizer.probabilities(np.zeros((1, 3, spec.height, spec.width), np.uint8))
    for task in tasks:
        clock = [time.perf_counter()]
        fed = scorer.load(task)
        clock.append(time.perf_counter())
        (values,) = localizer.maps([fed])
        clock.append(time.perf_counter())
        scored = scorer.score(task, values, fed.copies)
        clock.append(time.perf_counter())
        table.append(scored.row, task.dataset, task.name, task.kind)
        if scored.pixels is not None:
            curves.add(scored.pixels, tampered=scored.tampered)
        clock.append(time.perf_counter())
        for step, seconds in zip(steps, np.diff(clock), strict=True):
            spent[step].append(float(seconds))
    return {step: 1000 * float(np.median(seconds)) for step, seconds in spent.items()}


def pooled_share(side: int = 224, images: int = 20) -> float:
    """Milliseconds that the counts for the pooled curves take of an image's scoring."""
    rng = np.random.default_rng(0)
    values, truth = rng.random((side, side), np.float32), rng.random((side, side)) < 0.2
    start = time.perf_counter()
    for _ in range(images):
        ImagePixels.of(values, truth)
    return 1000 * (time.perf_counter() - start) / images


def command(model: Path, datasets: Sequence[Path], *options: str) -> float:
    """Peak memory (MiB) of the command in a process of its own."""
    return run_command(["evaluate", str(model), *map(str, datasets), *options])[1]


def benchmark(
    model: Path, datasets: Sequence[Path], *, batch_size: int, threads: int | None, limit: int, rows: int
) -> dict[str, Any]:
    """All figures: ms per step and end to end for each preset, peak memory, bytes a row."""
    peak = command(model, datasets, "--batch-size", str(batch_size))
    localizer = Localizer.load(model, threads=threads)
    figures: dict[str, Any] = {"batch_size": batch_size, "threads": threads, "steps_ms": {}, "end_to_end_ms": {}}
    with open_plan(datasets) as plan:
        figures["images"] = len(plan)
        for preset in PRESETS:
            figures["steps_ms"][preset] = stages(localizer, list(islice(plan.tasks(), limit)), preset)
            result = evaluate(localizer, plan, preset, batch_size=batch_size, threads=threads)
            figures["end_to_end_ms"][preset] = 1000 * result.seconds / len(plan)
    figures["pooled_ms"] = pooled_share()
    figures["peak_memory_mib"] = peak
    done = subprocess.run([sys.executable, "-c", _ROWS, str(rows)], capture_output=True, text=True, check=True)
    figures["rows"] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model folder with model.onnx")
    parser.add_argument("datasets", nargs="+", type=Path, help="what `boxpromptiml evaluate` takes")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--limit", type=int, default=50, help="images whose steps are measured one by one")
    parser.add_argument("--rows", type=int, default=20_000, help="synthetic images of 32 x 32 pixels, for memory")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = benchmark(
        options.model,
        options.datasets,
        batch_size=options.batch_size,
        threads=options.threads,
        limit=options.limit,
        rows=options.rows,
    )
    if options.json:
        print(json.dumps(figures))
        return
    for preset, steps in figures["steps_ms"].items():
        for step, milliseconds in steps.items():
            print(f"{preset + ': ' + step:<48}{milliseconds:>10.2f} ms/image")
        print(f"{preset + ': end to end, overlapped':<48}{figures['end_to_end_ms'][preset]:>10.2f} ms/image")
    print(f"{'of which counts for pooled curves (224 x 224)':<48}{figures['pooled_ms']:>10.2f} ms/image")
    print(f"{'peak memory of the command':<48}{figures['peak_memory_mib']:>10.0f} MiB")
    rows = figures["rows"]
    print(f"{'a row with its name':<48}{rows['bytes_per_image']:>10.0f} bytes")
    name = f"memory after {rows['images']:,} synthetic images"
    print(f"{name:<48}{rows['after_mib']:>10.1f} MiB, {rows['before_mib']:.1f} before the first")


if __name__ == "__main__":
    main()
