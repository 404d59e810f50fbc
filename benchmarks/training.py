"""Training images a second and the share of time spent waiting for data: `python -m benchmarks.training [DATASET]`.

Trains the student on a few images for two epochs: in the first one images are decoded, in the second one they come from
the cache. Without a DATASET, photographs of 384 x 256 pixels are generated.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.regions import Box
from boxpromptiml.training import Recipe, Supervision, load_recipe
from boxpromptiml.training.cache import ResizedCache
from boxpromptiml.training.items import TrainingImages
from boxpromptiml.training.run import train
from boxpromptiml.training.samples import gather_samples


def generated(folder: Path, images: int) -> Path:
    """A dataset of JPEG files with smooth content, so that decoding costs what it does for photographs."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    records = []
    for i in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8))
        name = f"images/{i:04d}.jpg"
        coarse.resize((384, 256), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        records.append(ImageRecord(name, 384, 256, "tampered", (Box(100, 60, 200, 160),), split="train"))
    with Dataset.create(folder) as dataset:
        dataset.put(records)
    return folder


def excerpt(source: Path, folder: Path, images: int) -> Path:
    """Some training images of a dataset, evenly spread, all in `train`; files stay where they are."""
    with Dataset.open(source) as given, Dataset.create(folder) as dataset:

        def moved(name: str) -> str:
            return dataset.relative(given.path(name))

        usable = [r for r in given.records() if r.split in (None, "train") and r.label is not None]
        for record in usable[:: max(1, len(usable) // images)][:images]:
            pseudo = record.pseudo and replace(record.pseudo, path=moved(record.pseudo.path))
            mask = record.mask and moved(record.mask)
            dataset.put(replace(record, image=moved(record.image), mask=mask, pseudo=pseudo, split="train"))
    return folder


def loading(dataset: Path, recipe: Recipe, supervision: Supervision, folder: Path) -> dict[str, float]:
    """Milliseconds that one core takes for a training image, decoded and from the cache."""
    samples = gather_samples([dataset], recipe, supervision).train
    spec = recipe.input
    ResizedCache.create(folder / "cache.bin", len(samples), spec.height, spec.width, 2**32)
    cache = ResizedCache.open(folder / "cache.bin", spec.height, spec.width)
    images = TrainingImages(samples, spec, recipe.augmentation, 0, cache)
    spent = {}
    for epoch, name in enumerate(("decoded_ms", "cached_ms")):
        started = time.perf_counter()
        for index in range(len(samples)):
            images[epoch, index]
        spent[name] = (time.perf_counter() - started) / len(samples) * 1e3
    return spent


def measure(dataset: Path, recipe: Recipe, supervision: Supervision, run: Path) -> dict[str, Any]:
    """Figures of a run of two epochs."""
    summary = train(dataset, run, recipe, supervision=supervision)
    with (run / "logs/metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    figures: dict[str, Any] = {"workers": recipe.data.workers, "precision": recipe.compute.precision}
    for row, name in zip(rows, ("decoding", "cached"), strict=True):
        figures[f"{name}_images_per_second"] = float(row["images_per_second"])
        figures[f"{name}_data_wait_share"] = float(row["data_wait_share"])
    return figures | {"peak_memory_mb": summary.peak_memory_mb, "gpu_memory_mb": summary.peak_gpu_memory_mb}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path, help="dataset folder; default: generated photographs")
    parser.add_argument("--images", type=int, default=64, help="training images")
    parser.add_argument("--supervision", default="box", choices=("pseudo", "mask", "box"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipe")
    parser.add_argument("--workers", nargs="*", type=int, default=[0, 1, 2], help="numbers of workers to compare")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.dataset
        make = (lambda f, n: excerpt(source, f, n)) if source else generated
        dataset = make(folder / "dataset", options.images)
        results = []
        for workers in options.workers:
            fixed = ["epochs=2", "validation.fraction=0", "validation.samples=0", f"data.workers={workers}"]
            recipe = load_recipe(None, [*options.set, *fixed])
            results.append(measure(dataset, recipe, options.supervision, folder / f"run-{workers}"))
        report = {
            "images": options.images,
            "backbone": recipe.student.backbone,
            "input": [recipe.input.height, recipe.input.width],
            "batch_size": recipe.data.batch_size,
            "threads": recipe.compute.threads or torch.get_num_threads(),
            "loading": loading(dataset, recipe, options.supervision, folder),
            "runs": results,
        }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    spent = report["loading"]
    print(f"{report['backbone']} at {report['input']}, batches of {report['batch_size']}, {report['threads']} threads")
    print(f"loading on one core: {spent['decoded_ms']:.1f} ms an image decoded, {spent['cached_ms']:.1f} ms cached")
    for row in results:
        print(
            f"{row['workers']} workers: {row['decoding_images_per_second']:.1f} images/s while decoding, "
            f"{row['cached_images_per_second']:.1f} from the cache; "
            f"waiting for data {row['decoding_data_wait_share']:.1%} and {row['cached_data_wait_share']:.1%} of the "
            f"time; {row['peak_memory_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
