"""What completing objects costs: `python -m benchmarks.completion MODEL IMAGES...`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from boxpromptiml.bulk import expand_inputs
from boxpromptiml.images import decode_picture, read_image_file
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.completing import complete


def benchmark(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """Milliseconds of processor time for each photo in which something is marked, by one thread."""
    localizer = Localizer.load(model, threads=1, copies=False, completion=False)
    threshold = localizer.config.decision.threshold
    spent, images = [], list(expand_inputs(inputs))
    for image in images:
        fed = localizer.feed(decode_picture(read_image_file(image.name), image.name))
        (values,) = localizer.maps([fed])
        if (values > threshold).any():
            start = time.process_time()
            complete(values, fed.picture, threshold, threads=1)
            spent.append(1000 * (time.process_time() - start))
    median, most = np.percentile(spent, [50, 90]) if spent else (float("nan"),) * 2
    return {"images": len(images), "marked": len(spent), "median_ms": float(median), "most_ms": float(most)}


def main() -> None:
    """Run the benchmark and print a line or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name or folder of a model that sees photos at their own size")
    parser.add_argument("images", nargs="+", help="files, folders or globs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = benchmark(options.model, options.images)
    if options.json:
        print(json.dumps(figures))
        return
    print(
        "{marked} of {images} images marked: median {median_ms:.0f} ms, 90 % within {most_ms:.0f} ms".format(**figures)
    )


if __name__ == "__main__":
    main()
