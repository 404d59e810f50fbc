"""What looking for copies costs: `python -m benchmarks.copies IMAGES...`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from boxpromptiml.bulk import expand_inputs
from boxpromptiml.copymove.search import MAX_SIDE, find_copies
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import decode_picture, read_image_file


def benchmark(inputs: Sequence[str], max_side: int = MAX_SIDE) -> dict[str, Any]:
    """Milliseconds of processor time for each photo, by one thread, searched at so many pixels at most."""
    spent, found = [], 0
    for image in expand_inputs(inputs):
        pixels = np.asarray(decode_picture(read_image_file(image.name), image.name))
        start = time.process_time()
        found += bool(find_copies(pixels, threads=1, max_side=max_side))
        spent.append(1000 * (time.process_time() - start))
    median, most = np.percentile(spent, [50, 90])
    return {"images": len(spent), "found": found, "median_ms": float(median), "most_ms": float(most)}


def main() -> None:
    """Run the benchmark and print a line or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", help="files, folders or globs")
    parser.add_argument("--side", type=int, default=MAX_SIDE, help="pixels, of the longer side; --detail takes 1024")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.side < 1:
        parser.error("--side must be at least 1 pixel")
    try:
        figures = benchmark(options.images, options.side)
    except BoxPromptError as error:
        parser.error(str(error))
    if options.json:
        print(json.dumps(figures))
        return
    print(
        "copies in {found} of {images} images: median {median_ms:.0f} ms, 90 % within {most_ms:.0f} ms".format(
            **figures
        )
    )


if __name__ == "__main__":
    main()
