"""What decoding JPEGs at a part of their size saves and changes: `python -m benchmarks.draft MODEL IMAGES...`.

Processor milliseconds of decoding and resizing one image, on one core, and how far the network's input and its map are
from those of full decoding. The model may have been trained with any `input.draft_margin`; its own is not used.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boxpromptiml.bulk import expand_inputs
from boxpromptiml.images import decode_photo, read_image_file
from boxpromptiml.preprocessing import Fed
from boxpromptiml.runtime import Localizer

MARGINS = (None, 4.0, 2.0, 1.5, 1.0)


def benchmark(model: Path, inputs: Sequence[str], repeat: int = 3) -> list[dict[str, Any]]:
    """One row a margin; of `repeat` times the shortest counts."""
    localizer = Localizer.load(model, threads=1)
    threshold = localizer.config.decision.threshold
    images = [read_image_file(source.name) for source in expand_inputs(inputs)]
    rows: list[dict[str, Any]] = []
    whole: list[tuple[Fed, Any]] = []
    for margin in MARGINS:
        spec = localizer.config.preprocessing.model_copy(update={"draft_margin": margin})
        fed, times, scales = [], [], set()
        for data in images:
            tries = []
            for _ in range(repeat):
                clock = [time.process_time()]
                photo = decode_photo(data, enough=spec.enough)
                clock.append(time.process_time())
                item = spec.feed(photo)
                clock.append(time.process_time())
                tries.append(np.diff(clock))
            scales.add(round(photo.width / photo.picture.width))
            times.append(np.min(tries, axis=0))
            fed.append(item)
        maps = localizer.maps(fed)
        whole = whole or list(zip(fed, maps, strict=True))
        pixels = [np.abs(item.pixels.astype(int) - full.pixels) for item, (full, _) in zip(fed, whole, strict=True)]
        change = [np.abs(values - full) for values, (_, full) in zip(maps, whole, strict=True)]
        sides = [(values > threshold) != (full > threshold) for values, (_, full) in zip(maps, whole, strict=True)]
        decode, resize = 1000 * np.mean(times, axis=0)
        rows.append(
            {
                "margin": margin,
                "scales": sorted(scales),
                "decode_ms": float(decode),
                "resize_ms": float(resize),
                "grey_levels_mean": float(np.mean([np.mean(part) for part in pixels])),
                "grey_levels_max": int(max(np.max(part) for part in pixels)),
                "map_mean": float(np.mean([np.mean(part) for part in change])),
                "map_max": float(max(np.max(part) for part in change)),
                "changed_sides": float(np.mean([np.mean(part) for part in sides])),
            }
        )
    return rows


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model folder with model.onnx")
    parser.add_argument("images", nargs="+", help="JPEG files, folders or globs")
    parser.add_argument("--repeat", type=int, default=3, help="times that each image is decoded")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    rows = benchmark(options.model, options.images, options.repeat)
    if options.json:
        print(json.dumps(rows))
        return
    print("margin   part        decode  resize   levels: mean  max   map: mean     max   change sides")
    for row in rows:
        part = ", ".join(f"1/{scale}" for scale in row["scales"])
        print(
            f"{row['margin'] or 'null':>6}   {part:<10}{row['decode_ms']:>5.1f} ms{row['resize_ms']:>5.1f} ms"
            f"{row['grey_levels_mean']:>15.3f}{row['grey_levels_max']:>5}{row['map_mean']:>12.5f}{row['map_max']:>8.4f}"
            f"{100 * row['changed_sides']:>13.3f} %"
        )


if __name__ == "__main__":
    main()
