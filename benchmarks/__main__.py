"""All benchmarks, one after the other, on data that they need no download for: `python -m benchmarks [--json OUT]`.

The photographs are those that scikit-image and scikit-learn ship; the images to train on are synthesised from them; the
student is the default one with random weights, since speed does not depend on what a model has learnt. Sizes are small:
`python -m benchmarks.NAME --help` tells how to measure on data of your own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from boxpromptiml.cli.synthesis import synthesize_dataset
from boxpromptiml.demo.photographs import export_photographs
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import write_json
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.synthesis import PhotoPool


class Sizes(NamedTuple):
    """How much is measured."""

    records: int
    synthesised: int
    training_images: int
    workers: tuple[int, ...]
    photographs: int


USUAL = Sizes(records=20_000, synthesised=50, training_images=64, workers=(0, 1), photographs=14)
QUICK = Sizes(records=1_000, synthesised=3, training_images=16, workers=(0,), photographs=4)


class Material:
    """What the benchmarks work on, made when the first of them asks for it."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self._folder = folder
        self.sizes = sizes

    @cached_property
    def photographs(self) -> list[str]:
        """Paths of PNG photographs."""
        return [str(path) for path in export_photographs(self._folder / "photographs")[: self.sizes.photographs]]

    @cached_property
    def dataset(self) -> str:
        """A dataset of JPEG and PNG images of 384 x 256 pixels, two thirds of them tampered."""
        folder = self._folder / "dataset"
        tampered = -(-2 * self.sizes.training_images // 3)
        synthesize_dataset(
            PhotoPool(self.photographs),
            folder,
            tampered,
            authentic=self.sizes.training_images - tampered,
            size=(256, 384),
            workers=1,
        )
        return str(folder)

    @cached_property
    def model(self) -> str:
        """A model folder: the default student, random weights."""
        import torch

        from boxpromptiml.export import export_onnx
        from boxpromptiml.student import build_student, save_checkpoint

        folder = self._folder / "model"
        config = ModelConfig()
        torch.manual_seed(0)
        save_checkpoint(folder, build_student(config.student), config)
        export_onnx(folder)
        return str(folder)


def _training(material: Material) -> list[str]:
    images, workers = material.sizes.training_images, map(str, material.sizes.workers)
    options = ["--images", str(images), "--supervision", "mask", "--workers", *workers]
    # Four batches an epoch at the least: the first one alone would say little.
    return [material.dataset, *options, "--set", f"data.batch_size={min(16, images // 4)}"]


# Name -> arguments of `python -m benchmarks.NAME`.
BENCHMARKS: dict[str, Callable[[Material], list[str]]] = {
    "dataset": lambda material: [str(material.sizes.records)],
    "synthesis": lambda material: [*material.photographs, "--number", str(material.sizes.synthesised)],
    # The Segment Anything models take minutes to make and are worth measuring on a GPU only.
    "teachers": lambda material: ["--skip-sam"],
    "training": _training,
    "shards": lambda material: [material.dataset, "--supervision", "mask", "--shard-mb", "1", "--rounds", "3"],
    "localize": lambda material: [material.model, *material.photographs],
    "copies": lambda material: [*material.photographs],
    "completion": lambda material: ["default", *material.photographs],  # random weights mark nothing in particular
    "bulk": lambda material: [material.model, *material.photographs, "--repeat", "3"],
    "serve": lambda material: [material.model, *material.photographs, "--rounds", "2", "--seconds", "3"],
    "annotate": lambda material: [str(material.sizes.records // 200)],
    "evaluate": lambda material: [material.model, material.dataset, "--rows", str(material.sizes.records)],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks, each in a process of its own so that none inherits another's memory; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes: whether all runs, not how fast")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there instead of printing tables")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), QUICK if options.quick else USUAL)
        for name in options.only or BENCHMARKS:
            print(f"== {name} ==", flush=True)
            try:
                command = [sys.executable, "-m", f"benchmarks.{name}", *BENCHMARKS[name](material)]
            except BoxPromptError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            started = time.perf_counter()
            output = subprocess.PIPE if options.json else None
            done = subprocess.run([*command, *(["--json"] if options.json else [])], stdout=output, text=True)
            print(f"({time.perf_counter() - started:.0f} s)\n", flush=True)
            if done.returncode:
                failed.append(name)
            elif options.json:
                figures[name] = json.loads(done.stdout)
    if options.json:
        write_json(options.json, figures)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
