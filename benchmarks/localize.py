"""How fast `boxpromptiml localize` is, and where its time goes: `python -m benchmarks.localize MODEL IMAGES...`."""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import run_command
from boxpromptiml.bulk import ResultsFile, Source, expand_inputs, localize_images
from boxpromptiml.files import write_bytes
from boxpromptiml.images import decode_picture, encode_png, read_image_file
from boxpromptiml.runtime import Localizer, draw_overlay
from boxpromptiml.runtime.overlay import encode_overlay, shrink


def stages(localizer: Localizer, images: Sequence[Source]) -> dict[str, float]:
    """Mean milliseconds per image of each step, one image after the other, nothing overlapped."""
    steps = ["read and hash", "decode", "resize", "network", "mask and regions", "overlay", "encode and write"]
    spent = dict.fromkeys(steps, 0.0)
    spec = localizer.config.preprocessing
    localizer.probabilities(np.zeros((1, 3, spec.height, spec.width), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        for image in images:
            clock = [time.perf_counter()]
            data = read_image_file(image.name)
            digest = hashlib.sha256(data).hexdigest()
            clock.append(time.perf_counter())
            picture = decode_picture(data, image.name)
            clock.append(time.perf_counter())
            fed = localizer.feed(picture)
            clock.append(time.perf_counter())
            values = localizer.maps([fed])[0]
            clock.append(time.perf_counter())
            result = localizer.result(values, *picture.size, image=image.name, sha256=digest, copies=fed.copies)
            clock.append(time.perf_counter())
            overlay = draw_overlay(shrink(picture), result)
            clock.append(time.perf_counter())
            write_bytes(Path(folder, "mask.png"), encode_png(result.mask.view(np.uint8) * np.uint8(255)), durable=False)
            write_bytes(Path(folder, "heatmap.png"), encode_png(result.map16), durable=False)
            write_bytes(Path(folder, "overlay.jpg"), encode_overlay(overlay), durable=False)
            json.dumps(result.to_json())
            clock.append(time.perf_counter())
            for step, seconds in zip(steps, np.diff(clock), strict=True):
                spent[step] += float(seconds)
    return {step: 1000 * seconds / len(images) for step, seconds in spent.items()}


def pipeline(localizer: Localizer, images: Sequence[Source], batch_size: int, workers: int | None) -> float:
    """Milliseconds per image of the whole run, steps overlapped as the command does it."""
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsFile.open(folder)
        start = time.perf_counter()
        for _ in localize_images(localizer, images, results, batch_size=batch_size, workers=workers):
            pass
        results.finish(image.name for image in images)
        return 1000 * (time.perf_counter() - start) / len(images)


def command(model: str, images: Sequence[Source], *options: str) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of the command in a process of its own, started cold."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["localize", "-", "--out", folder, "--model", model, *options]
        return run_command(arguments, "\n".join(image.name for image in images))


def benchmark(model: str, inputs: Sequence[str], *, batch_size: int = 4, threads: int | None = None) -> dict[str, Any]:
    """All figures: ms per step, ms and images a second end to end, cold start, peak memory."""
    images = list(expand_inputs(inputs))
    localizer = Localizer.load(model, threads=threads)
    end_to_end = pipeline(localizer, images, batch_size, threads)
    options = ["--batch-size", str(batch_size), *([] if threads is None else ["--threads", str(threads)])]
    cold, _ = command(model, images[:1], *options)
    _, peak = command(model, images, *options)
    return {
        "images": len(images),
        "batch_size": batch_size,
        "threads": threads,
        "steps_ms": stages(localizer, images),
        "end_to_end_ms": end_to_end,
        "images_per_second": 1000 / end_to_end,
        "cold_start_seconds": cold,
        "peak_memory_mib": peak,
    }


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder with model.onnx")
    parser.add_argument("images", nargs="+", help="files, folders or globs")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = benchmark(options.model, options.images, batch_size=options.batch_size, threads=options.threads)
    if options.json:
        print(json.dumps(figures))
        return
    for step, milliseconds in figures["steps_ms"].items():
        print(f"{step:<44}{milliseconds:>10.2f} ms/image")
    print(f"{'end to end, overlapped':<44}{figures['end_to_end_ms']:>10.2f} ms/image")
    print(f"{'end to end, overlapped':<44}{figures['images_per_second']:>10.2f} images/s")
    print(f"{'the command for one image, cold start':<44}{figures['cold_start_seconds']:>10.2f} s")
    print(f"{'peak memory of the command':<44}{figures['peak_memory_mib']:>10.0f} MiB")


if __name__ == "__main__":
    main()
