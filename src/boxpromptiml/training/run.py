"""A whole training run: from datasets and a recipe to a model folder."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from boxpromptiml.errors import BoxPromptError, MissingExtraError, ModelError, RecipeError
from boxpromptiml.model_config import ModelConfig, Provenance
from boxpromptiml.student import Student, build_student, load_checkpoint, save_checkpoint
from boxpromptiml.training.beginning import begin, is_model_folder, undo
from boxpromptiml.training.compute import loading_workers, precision, strategy, uses_gpu
from boxpromptiml.training.console import Console, note
from boxpromptiml.training.data import TrainingData
from boxpromptiml.training.decision import decision_rule
from boxpromptiml.training.distillation import distillation_of
from boxpromptiml.training.keeper import Keeper
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.pictures import choose_samples, draw_curves, draw_samples
from boxpromptiml.training.processes import is_main_process, lost_process, together
from boxpromptiml.training.recipe import SUPERVISIONS, Recipe, Supervision
from boxpromptiml.training.recorder import Recorder, Row, exhausted, tensorboard
from boxpromptiml.training.sampler import batches_per_epoch
from boxpromptiml.training.samples import Samples
from boxpromptiml.training.state import StateFolder
from boxpromptiml.training.summary import TrainingSummary, summarise
from boxpromptiml.training.synthetic import SyntheticSource

LOG_NAME = "logs/metrics.csv"

__all__ = ["LOG_NAME", "is_main_process", "train"]


def train(
    datasets: str | Path | Sequence[str | Path],
    run: str | Path,
    recipe: Recipe | None = None,
    *,
    supervision: Supervision | None = None,
    resume: bool = False,
    held: Collection[str] | None = None,
) -> TrainingSummary:
    """Train a student and leave a model folder in `run`.

    The folder holds ``config.json`` and ``model.safetensors`` of the best epoch, ``recipe.yaml``, ``summary.json``,
    ``curves.png``, ``samples.png``, ``logs/`` and, while the run is not complete, ``state/``.

    With several processes every one of them calls this function and returns; what follows should ask
    `is_main_process`.

    Args:
        datasets: one or several dataset folders; folders or URLs of shards.
        run: a new or empty folder, or one to resume.
        recipe: None for the default, or for the run's own when resuming.
        supervision: where targets come from: the teacher's soft masks, true masks, filled boxes, or image labels
            alone (multiple-instance learning). None for pseudo masks, or for the run's own when resuming.
        resume: go on from the newest state in `run`; start if there is none; return the summary if it is complete.
        held: images to choose the epoch with in a dataset without a ``val`` split, as it names them; None: drawn by the
            seed.

    Raises:
        DatasetError: a dataset cannot be used.
        RecipeError: the folder is in use, or recipe or dataset differ from those of the run to resume.
        ModelError: the backbone is unknown or does not take the input size.
        DivergenceError: loss or weights are no longer numbers.
        Interrupted: Ctrl-C or SIGTERM; the state was saved.
    """
    folders = [datasets] if isinstance(datasets, str | Path) else list(datasets)
    run = Path(run)
    if supervision is not None and supervision not in SUPERVISIONS:
        raise RecipeError(f"supervision {supervision!r} is not one of {', '.join(SUPERVISIONS)}")
    begun = together(lambda: begin(folders, run, recipe, supervision, resume, held))
    summary = TrainingSummary.load(run) if resume else None
    if summary is not None:
        return summary
    states, recipe, samples, supervision = begun.states, begun.recipe, begun.samples, begun.supervision
    try:
        with _quiet():
            _fit(run, states, recipe, supervision, samples, begun.source, folders, resume)
    except (ModelError, RecipeError, MissingExtraError):
        # A run that never began leaves nothing that would stand in the way of the corrected command.
        if begun.new and is_main_process() and states.latest()[0] is None:
            undo(run, states)
        raise
    return _finish(run, states, recipe, supervision, samples)


def _fit(
    run: Path,
    states: StateFolder,
    recipe: Recipe,
    supervision: Supervision,
    samples: Samples,
    source: SyntheticSource | None,
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
    if state is not None:
        recorded = state["recorder"]
        if recorded["history"] and exhausted(recorded["history"], recorded["best"], recipe.validation.patience):
            return
    world = recipe.compute.devices * recipe.compute.nodes
    data = TrainingData(
        samples, recipe, states.path, loading_workers(recipe), source, position["epoch"], position["batch"]
    )
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
        rule = decision_rule(recipe, supervision)
        save_checkpoint(run, student, ModelConfig(preprocessing=recipe.input, decision=rule, trained_on=trained_on))

    # The caller's random numbers are its own.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        # Weights of a file are about to be replaced by the state's.
        pretrained = False if state is not None else recipe.pretrained
        if state is None:
            _check_frozen(recipe)
        student = _student(recipe, pretrained)
        module = StudentTraining(
            student,
            recipe,
            steps,
            recipe.compute.channels_last,
            supervision,
            len(samples.train),
            distillation_of(recipe, student),
        )
        if state is not None:
            module.load_state_dict(state["module"])
            module.epoch, module.batch, module.step = (position[name] for name in ("epoch", "batch", "step"))
        recorder = Recorder(
            run / LOG_NAME,
            save_best,
            console.report,
            bool(samples.val) and recipe.validation.keep == "best",
            recipe.validation.patience,
        )
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


def _check_frozen(recipe: Recipe) -> None:
    """Input channels of an untrained backbone have weight 0: frozen, they would never say anything."""
    frozen = "input" in recipe.student.evidence and recipe.optimizer.frozen_stages
    if frozen and not is_model_folder(recipe.pretrained):
        raise RecipeError(
            "student.evidence input is learnt by the backbone's first layers; set optimizer.frozen_stages to 0, or "
            "start from a model that has learnt it (pretrained)"
        )


def _student(recipe: Recipe, pretrained: bool | str) -> Student:
    """A new student; its backbone, or all of it where a model folder is named, starts from the weights given."""
    size = recipe.input.height, recipe.input.width
    if not is_model_folder(pretrained):
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
    except RuntimeError as error:
        lost = lost_process(error)
        if lost is None:
            raise
        raise lost from error


def _finish(
    run: Path, states: StateFolder, recipe: Recipe, supervision: Supervision, samples: Samples
) -> TrainingSummary:
    if not is_main_process():
        return _wait_for_summary(run)
    # From the last state, not from memory: with forked or spawned processes the history is in theirs.
    state, _ = states.latest()
    assert state is not None
    summary = summarise(run, state["recorder"], supervision, samples)
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
