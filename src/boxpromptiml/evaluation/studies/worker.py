"""One run of a study in a process of its own: train, export, evaluate. For ``python -m``; see `child`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boxpromptiml.errors import RecipeError
from boxpromptiml.evaluation.studies.child import INTERRUPTED, serve
from boxpromptiml.evaluation.studies.folder import RunFolder
from boxpromptiml.evaluation.studies.tables import has_table
from boxpromptiml.files import write_json
from boxpromptiml.model_config import ONNX_NAME
from boxpromptiml.training import Recipe

_STARTED = time.monotonic()


def run(path: Path, job: dict[str, Any]) -> int:
    """Do what is left of a run.

    Args:
        path: the run's folder.
        job: ``dataset``, ``truth`` (the dataset that it was derived from with errors, or None), ``supervision``,
            ``recipe``, ``tests`` (folder by name), ``preset``, ``mode``, ``threads``.

    Returns:
        0, or 143 if the training was interrupted and saved its state.
    """
    from boxpromptiml.training.compute import uses_gpu
    from boxpromptiml.training.processes import Interrupted
    from boxpromptiml.training.summary import TrainingSummary

    folder = RunFolder(path)
    recipe = _for_this_machine(Recipe.model_validate(job["recipe"]), job["threads"], uses_gpu)
    clock = time.monotonic()
    timings = {"start": clock - _STARTED}
    if TrainingSummary.load(folder.model) is None:
        try:
            _train(folder, job, recipe)
        except Interrupted:
            return INTERRUPTED
    # Logs for TensorBoard would be most of what a finished run keeps beside its model.
    shutil.rmtree(folder.model / "logs" / "tensorboard", ignore_errors=True)
    timings["train"], clock = time.monotonic() - clock, time.monotonic()
    if not (folder.model / ONNX_NAME).is_file():
        from boxpromptiml.export import export_onnx

        export_onnx(folder.model)
    timings["export"], clock = time.monotonic() - clock, time.monotonic()
    _evaluate(folder, job)
    timings["evaluate"] = time.monotonic() - clock
    timings["total"] = time.monotonic() - _STARTED
    _keep(folder, timings)
    return 0


def _keep(folder: RunFolder, timings: dict[str, float]) -> None:
    """Add the seconds of this process to those of the run's processes before."""
    before = folder.timings()
    write_json(folder.timings_path, {name: round(before.get(name, 0.0) + s, 2) for name, s in timings.items()})


def _train(folder: RunFolder, job: dict[str, Any], recipe: Recipe) -> None:
    from boxpromptiml.training.run import train

    if folder.model.exists() and not (folder.model / "state" / "run.json").is_file():
        shutil.rmtree(folder.model)  # killed before there was anything to resume
    held = _held_out(job["truth"], recipe)
    try:
        train(job["dataset"], folder.model, recipe, supervision=job["supervision"], resume=True, held=held)
    except RecipeError as error:
        if not folder.model.exists():
            raise
        print(f"{error}; this run starts anew", file=sys.stderr)
        shutil.rmtree(folder.model)
        train(job["dataset"], folder.model, recipe, supervision=job["supervision"], resume=True, held=held)


def _held_out(truth: str | None, recipe: Recipe) -> list[str] | None:
    """Images to choose the epoch with, by the true labels; None where the dataset's own tell.

    They are drawn so that labels are balanced: by the labels of an annotator who overlooks things, others would be. All
    derived datasets lie beside each other, so that their names for the images are the same.
    """
    from boxpromptiml.training.samples import gather_samples

    samples = None if truth is None else gather_samples([truth], recipe, "mask")
    return None if samples is None or not samples.carved else [sample.name for sample in samples.val]


def _evaluate(folder: RunFolder, job: dict[str, Any]) -> None:
    preset, mode = job["preset"], job["mode"]
    todo = {name: path for name, path in job["tests"].items() if not has_table(folder.figures(name, preset, mode))}
    if not todo:
        return
    from boxpromptiml.evaluation import evaluate
    from boxpromptiml.evaluation.images_csv import write_images_csv
    from boxpromptiml.runtime import Localizer

    localizer = Localizer.load(folder.model, threads=job["threads"])
    for name, path in todo.items():
        result = evaluate(localizer, path, preset, mode=mode, split="all", threads=job["threads"])
        table = folder.figures(name, preset, mode)
        write_json(table.with_suffix(".json"), result.to_json())
        # Last: a run that has it is done with this test set.
        write_images_csv(table, result.images, [name])


def _for_this_machine(recipe: Recipe, threads: int, uses_gpu: Callable[[Recipe], bool]) -> Recipe:
    """The recipe with this run's share of the machine, and without pictures that nobody will look at."""
    compute = recipe.compute.model_copy(update={"threads": recipe.compute.threads or threads})
    data = recipe.data
    if data.workers is None and threads == 1 and not uses_gpu(recipe):
        data = data.model_copy(update={"workers": 0})  # a loading process would take turns on the one core
    validation = recipe.validation.model_copy(update={"samples": 0})
    return recipe.model_copy(update={"compute": compute, "data": data, "validation": validation})


if __name__ == "__main__":
    serve(run)
