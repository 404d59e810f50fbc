"""A whole training run: from datasets and a recipe to a model folder."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch.multiprocessing.spawn import ProcessRaisedException

from boxpromptiml.errors import BoxPromptError, ModelError, RecipeError
from boxpromptiml.files import write_json, write_text
from boxpromptiml.model_config import ModelConfig, Provenance
from boxpromptiml.student import Student, build_student, load_checkpoint, save_checkpoint
from boxpromptiml.training.compute import check_machine, loading_workers, precision, strategy, uses_gpu
from boxpromptiml.training.console import Console, note
from boxpromptiml.training.data import TrainingData
from boxpromptiml.training.keeper import Keeper
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.pictures import choose_samples, draw_curves, draw_samples
from boxpromptiml.training.recipe import SUPERVISIONS, Recipe, Supervision
from boxpromptiml.training.recipe_file import dump_recipe
from boxpromptiml.training.recorder import Recorder, Row, tensorboard
from boxpromptiml.training.sampler import batches_per_epoch
from boxpromptiml.training.samples import Samples, gather_samples
from boxpromptiml.training.state import StateFolder, identity
from boxpromptiml.training.summary import TrainingSummary, summarise

LOG_NAME = "logs/metrics.csv"


def is_main_process() -> bool:
    """Whether this is the first of a run's processes (or the only one)."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def train(
    datasets: str | Path | Sequence[str | Path],
    run: str | Path,
    recipe: Recipe | None = None,
    *,
    supervision: Supervision = "pseudo",
    resume: bool = False,
) -> TrainingSummary:
    """Train a student and leave a model folder in `run`.

    The folder holds ``config.json`` and ``model.safetensors`` of the best epoch, ``recipe.yaml``, ``summary.json``,
    ``curves.png``, ``samples.png``, ``logs/`` and, while the run is not complete, ``state/``.

    With several processes every one of them calls this function and returns; what follows should ask
    `is_main_process`.

    Args:
        datasets: one or several dataset folders.
        run: a new or empty folder, or one to resume.
        recipe: None for the default, or for the run's own when resuming.
        supervision: where targets come from: the teacher's soft masks, true masks, filled boxes, or image labels
            alone (multiple-instance learning).
        resume: go on from the newest state in `run`; start if there is none; return the summary if it is complete.

    Raises:
        DatasetError: a dataset cannot be used.
        RecipeError: the folder is in use, or recipe or dataset differ from those of the run to resume.
        ModelError: the backbone is unknown or does not take the input size.
        DivergenceError: loss or weights are no longer numbers.
        Interrupted: Ctrl-C or SIGTERM; the state was saved.
    """
    folders = [datasets] if isinstance(datasets, str | Path) else list(datasets)
    run = Path(run)
    if supervision not in SUPERVISIONS:
        raise RecipeError(f"supervision {supervision!r} is not one of {', '.join(SUPERVISIONS)}")
    states = StateFolder(run)
    recipe = _recipe(run, states, recipe, resume)
    if supervision != "pseudo" and recipe.refinement.start:
        raise RecipeError(
            "refinement corrects pseudo masks; train with --supervision pseudo, or set refinement.start to 0"
        )
    if supervision == "label" and recipe.input.fit == "native":
        raise RecipeError("supervision by labels needs whole images; set input.fit to stretch")
    states = StateFolder(run, recipe.state.keep)
    check_machine(recipe)
    samples = gather_samples(folders, recipe, supervision)
    who = identity(recipe, supervision, len(samples.train))
    if is_main_process():
        states.check(who, samples)
    summary = TrainingSummary.load(run) if resume else None
    if summary is not None:
        return summary
    new = states.read_identity() is None
    if is_main_process():
        _prepare(run, states, recipe, who, samples)
    try:
        with _quiet():
            _fit(run, states, recipe, supervision, samples, folders, resume)
    except (ModelError, RecipeError):
        # A run that never began leaves nothing that would stand in the way of the corrected command.
        if new and is_main_process() and states.latest()[0] is None:
            _undo(run, states)
        raise
    return _finish(run, states, recipe, supervision, samples)


def _fit(
    run: Path,
    states: StateFolder,
    recipe: Recipe,
    supervision: Supervision,
    samples: Samples,
    folders: Sequence[str | Path],
    resume: bool,
) -> None:
    state, notes = states.latest() if resume else (None, [])
    if is_main_process():
        for line in notes:
            note(line)
    position = state or {"epoch": 0, "batch": 0, "step": 0}
    if position["epoch"] >= recipe.epochs:
        return
    world = recipe.compute.devices * recipe.compute.nodes
    data = TrainingData(samples, recipe, states.path, loading_workers(recipe), position["epoch"], position["batch"])
    batches = batches_per_epoch(data.images_per_epoch, recipe.data.batch_size, world)
    if batches == 0:
        raise RecipeError(f"{len(samples.train)} training images are too few for {world} processes")
    steps = -(-batches // recipe.optimizer.accumulate)
    console = Console(recipe.epochs, position["epoch"])

    def save_best(module: StudentTraining, row: Row) -> None:
        figures = {name: value for name, value in row.items() if name.startswith("val_")}
        trained_on = Provenance(
            datasets=[str(folder) for folder in folders],
            supervision=supervision,
            teacher=", ".join(samples.teachers) or None,
            images=len(samples.train),
            recipe=recipe.model_dump(mode="json"),
            validation=figures,
        )
        student = module.best_student
        assert isinstance(student, Student)
        save_checkpoint(run, student, ModelConfig(preprocessing=recipe.input, trained_on=trained_on))

    # The caller's random numbers are its own.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        # Weights of a file are about to be replaced by the state's.
        pretrained = False if state is not None else recipe.pretrained
        student = _student(recipe, pretrained)
        module = StudentTraining(student, recipe, steps, recipe.compute.channels_last, supervision, len(samples.train))
        if state is not None:
            module.load_state_dict(state["module"])
            module.epoch, module.batch, module.step = (position[name] for name in ("epoch", "batch", "step"))
        recorder = Recorder(run / LOG_NAME, save_best, console.report, bool(samples.val))
        if state is not None:
            recorder.load_state_dict(state["recorder"])
        keeper = Keeper(states, recipe, samples, state, recorder)
        trainer = L.Trainer(
            accelerator="cuda" if uses_gpu(recipe) else "cpu",
            devices=recipe.compute.devices,
            num_nodes=recipe.compute.nodes,
            strategy=strategy(recipe),
            precision=precision(recipe),
            max_epochs=recipe.epochs - position["epoch"],
            accumulate_grad_batches=recipe.optimizer.accumulate,
            gradient_clip_val=recipe.optimizer.clip_norm or None,
            logger=tensorboard(run / "logs", position["step"]),
            callbacks=[recorder, keeper, console],
            default_root_dir=run,
            deterministic=recipe.compute.deterministic,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if samples.val else 0,
            reload_dataloaders_every_n_epochs=1 if position["batch"] else 0,
        )
        _run(trainer, module, data)


def _student(recipe: Recipe, pretrained: bool | str) -> Student:
    """A new student; its backbone, or all of it where a model folder is named, starts from the weights given."""
    size = recipe.input.height, recipe.input.width
    if not isinstance(pretrained, str) or not Path(pretrained).is_dir():
        return build_student(recipe.student, pretrained, size)
    student, config = load_checkpoint(pretrained)
    if config.student != recipe.student:
        given, wanted = config.student.model_dump(), recipe.student.model_dump()
        name = next(key for key in wanted if given[key] != wanted[key])
        raise RecipeError(
            f"{pretrained}: its student.{name} is {given[name]}, the recipe's {wanted[name]}; make them the same to "
            "start from that model"
        )
    student.check_input_size(*size)
    return student.train()


def _run(trainer: L.Trainer, module: StudentTraining, data: TrainingData) -> None:
    try:
        trainer.fit(module, datamodule=data)
    except torch.OutOfMemoryError as error:
        raise RecipeError(
            "the GPU ran out of memory; lower data.batch_size (raise optimizer.accumulate to keep the sum), "
            "or use compute.precision=bf16"
        ) from error
    except ProcessRaisedException as error:
        # ddp_fork and ddp_spawn send the traceback of the process as text; its last line is the message.
        last = str(error).strip().splitlines()[-1]
        name, _, message = last.partition(": ")
        raise BoxPromptError(message if "boxpromptiml" in name else last) from error


def _recipe(run: Path, states: StateFolder, recipe: Recipe | None, resume: bool) -> Recipe:
    """The recipe of the run; checks that the folder is free to use."""
    if run.exists() and not run.is_dir():
        raise RecipeError(f"{run}: not a folder; a run is a folder")
    stored = states.read_identity()
    content = run.is_dir() and any(not path.name.startswith(".") for path in run.iterdir())
    if is_main_process() and content and not resume:
        remedy = "add --resume to go on with it, or choose another folder" if stored else "choose another folder"
        raise RecipeError(f"{run}: the folder is not empty; {remedy}")
    if resume and content and stored is None and is_main_process():
        raise RecipeError(f"{run}: nothing to resume, this is not the folder of a training run; choose another folder")
    if recipe is not None:
        return recipe
    return Recipe.model_validate(stored["recipe"]) if resume and stored else Recipe()


def _prepare(run: Path, states: StateFolder, recipe: Recipe, who: dict[str, Any], samples: Samples) -> None:
    try:
        states.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{run}: the folder cannot be made ({error.strerror})") from error
    states.sweep()
    states.write_identity(who, samples)
    write_text(run / "recipe.yaml", dump_recipe(recipe))
    write_json(run / "left_out.json", [asdict(item) for item in samples.left_out])
    counts = samples.counts()
    carved = " (held out from training)" if samples.carved else ""
    note(
        f"{counts['train_tampered']} tampered and {counts['train_authentic']} authentic images to train on, "
        f"{counts['val_tampered']} + {counts['val_authentic']} to choose the epoch{carved}"
    )
    for reason, number in samples.left_out_by_reason().items():
        first = next(item.name for item in samples.left_out if item.reason == reason)
        note(f"left out: {number} x {reason} (first: {first}; all of them: {run / 'left_out.json'})")


def _undo(run: Path, states: StateFolder) -> None:
    for name in ("recipe.yaml", "left_out.json"):
        (run / name).unlink(missing_ok=True)
    for folder in (states.path, run / "logs"):
        shutil.rmtree(folder, ignore_errors=True)
    if not any(run.iterdir()):
        run.rmdir()


def _finish(
    run: Path, states: StateFolder, recipe: Recipe, supervision: Supervision, samples: Samples
) -> TrainingSummary:
    if not is_main_process():
        return _wait_for_summary(run)
    # From the last state, not from memory: with forked or spawned processes the history is in theirs.
    state, _ = states.latest()
    assert state is not None
    summary = summarise(run, state["recorder"], recipe, supervision, samples)
    draw_curves(state["recorder"]["history"], state["recorder"]["best"], run / "curves.png")
    chosen = choose_samples(samples.val or samples.train, recipe.validation.samples)
    if chosen:
        draw_samples(load_checkpoint(run)[0], recipe.input, chosen, run / "samples.png")
    summary.save()
    states.clear()
    for path in states.path.glob("cache-*.bin"):
        path.unlink(missing_ok=True)
    return summary


def _wait_for_summary(run: Path) -> TrainingSummary:
    for _ in range(600):
        summary = TrainingSummary.load(run)
        if summary is not None:
            return summary
        time.sleep(0.1)
    raise RecipeError(f"{run}: the run ended without a summary; resume it with --resume")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's greetings, tips and hints from the user: what matters is said by this package."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*LeafSpec.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
