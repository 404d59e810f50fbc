"""The beginning of a run: is the folder free, is everything there, does it agree with what was begun before."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from boxpromptiml.errors import ModelError, RecipeError
from boxpromptiml.files import write_json, write_text
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.training.compute import as_launched, check_machine
from boxpromptiml.training.console import note
from boxpromptiml.training.distillation import distillation_digest
from boxpromptiml.training.processes import is_main_process
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.recipe_file import dump_recipe
from boxpromptiml.training.samples import Samples, gather_samples
from boxpromptiml.training.state import StateFolder, identity
from boxpromptiml.training.summary import TrainingSummary
from boxpromptiml.training.synthetic import SyntheticSource


class Begun(NamedTuple):
    """What is known of a run before its first step.

    Attributes:
        states: of the run.
        recipe: with what the launcher says of processes.
        samples: its images.
        source: of synthesised images; None if the recipe asks for none, or the run is complete.
        supervision: what was asked for, or else the run's own.
        new: whether nothing of the run was there before.
    """

    states: StateFolder
    recipe: Recipe
    samples: Samples
    source: SyntheticSource | None
    supervision: Supervision
    new: bool


def begin(
    folders: Sequence[str | Path],
    run: Path,
    recipe: Recipe | None,
    supervision: Supervision | None,
    resume: bool,
    held: Collection[str] | None = None,
) -> Begun:
    """Check everything that can be checked, and make the run's folder unless the run is complete.

    Raises:
        BoxPromptError: as `boxpromptiml.training.run.train`.
    """
    states = StateFolder(run)
    stored = states.read_identity()
    by_default = resume and stored is None and recipe is None
    recipe = as_launched(_recipe(run, states, stored, recipe, resume))
    if is_main_process() and by_default:
        note(f"{run}: nothing to resume; it begins with the default recipe, supervision {supervision or 'pseudo'}")
    if supervision is None:
        supervision = stored["supervision"] if resume and stored else "pseudo"
    if supervision != "pseudo" and recipe.refinement.start:
        raise RecipeError(
            "refinement corrects pseudo masks; train with --supervision pseudo, or set refinement.start to 0"
        )
    if supervision == "label" and recipe.input.fit == "native":
        raise RecipeError("supervision by labels needs whole images; set input.fit to stretch")
    states = StateFolder(run, recipe.state.keep)
    check_machine(recipe)
    samples = gather_samples(folders, recipe, supervision, held)
    if recipe.validation.patience and not samples.val:
        raise RecipeError("validation.patience waits for better validation figures, and there are no such images")
    complete = resume and TrainingSummary.load(run) is not None
    # What a complete run learnt from, and made images of, may be gone.
    source = None if complete else SyntheticSource.of(recipe, samples.train)
    learnt_from = None if complete else distillation_digest(recipe)
    who = identity(recipe, supervision, len(samples.train), learnt_from, {} if source is None else source.content())
    if is_main_process():
        states.check(who, samples, complete)
    if is_main_process() and not complete:
        _prepare(run, states, recipe, who, samples)
    return Begun(states, recipe, samples, source, supervision, stored is None)


def _recipe(
    run: Path, states: StateFolder, stored: dict[str, Any] | None, recipe: Recipe | None, resume: bool
) -> Recipe:
    """The recipe of the run, whose identity is `stored`; checks that the folder is free to use."""
    if run.exists() and not run.is_dir():
        raise RecipeError(f"{run}: not a folder; a run is a folder")
    blank = {states.path} if states.never_began() else set()
    content = run.is_dir() and any(not path.name.startswith(".") and path not in blank for path in run.iterdir())
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
    if _same_seed(recipe):
        note(
            f"{recipe.pretrained}: was trained with seed {recipe.seed} as well: its windows and synthesised images "
            f"come again; for new ones --set seed={recipe.seed + 1}"
        )


def is_model_folder(pretrained: bool | str) -> TypeGuard[str]:
    """Whether a run starts from a whole student, not from a backbone's weights."""
    return isinstance(pretrained, str) and Path(pretrained).is_dir()


def _same_seed(recipe: Recipe) -> bool:
    """Whether the run starts from a model whose own training had the same seed.

    Every random choice about an image follows from seed, epoch and the image's number, and epochs are counted from 0
    by each run: the second would be shown what the first one has seen.
    """
    if not is_model_folder(recipe.pretrained):
        return False
    try:
        return ModelConfig.load(recipe.pretrained).trained_on.recipe.get("seed") == recipe.seed
    except ModelError:  # told of when the student is built
        return False


def undo(run: Path, states: StateFolder) -> None:
    """Remove what `begin` made."""
    for name in ("recipe.yaml", "left_out.json"):
        (run / name).unlink(missing_ok=True)
    for folder in (states.path, run / "logs"):
        shutil.rmtree(folder, ignore_errors=True)
    if not any(run.iterdir()):
        run.rmdir()
