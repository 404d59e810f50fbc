"""Images a second of the synthesis: `python -m benchmarks.synthesis PHOTOS... [--objects DIR] [--json]`."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from boxpromptiml.synthesis import KINDS, ObjectPool, PhotoPool, SynthesisConfig, Synthesizer


def measure(
    synthesizer: Synthesizer, number: int, size: tuple[int, int] | None, authentic: bool = False
) -> dict[str, float]:
    """Make `number` images on one core with photos in memory; images per second of wall and of processor time."""
    make = synthesizer.make_authentic if authentic else synthesizer.make
    for i in range(number):  # fills the caches with the photos that the timed loop uses
        make(np.random.default_rng([0, i]), size)
    wall, processor = time.perf_counter(), time.process_time()
    for i in range(number):
        make(np.random.default_rng([0, i]), size)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"images_per_s": round(number / wall, 1), "images_per_cpu_s": round(number / processor, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--objects", action="append", type=Path, help="folder with images/ and instances/; repeatable")
    parser.add_argument("--size", default="384x256", help="WIDTHxHEIGHT, or native")
    parser.add_argument("--number", type=int, default=200, help="images per row")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    size = None
    if arguments.size != "native":
        width, height = arguments.size.split("x")
        size = int(height), int(width)
    photos = PhotoPool(arguments.photos)
    objects = ObjectPool(arguments.objects) if arguments.objects else None
    rows = {"default mix": measure(Synthesizer(photos, objects), arguments.number, size)}
    for kind in KINDS:
        weights = {
            name: float(name == kind.replace("-", "_")) for name in ("splice", "copy_move", "removal", "retouch")
        }
        config = SynthesisConfig.model_validate({"kinds": weights})
        rows[kind] = measure(Synthesizer(photos, objects, config), arguments.number, size)
    rows["authentic"] = measure(Synthesizer(photos, objects), arguments.number, size, authentic=True)
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    result = {"size": arguments.size, "photos": len(photos), "objects": len(objects) if objects else 0, "rows": rows}
    result["peak_memory_mib"] = round(peak)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.size}, {len(photos)} photos, {result['objects']} with objects, one thread")
    for name, row in rows.items():
        print(f"{name:12} {row['images_per_s']:7.1f} images/s {row['images_per_cpu_s']:7.1f} images per CPU second")
    print(f"peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
