"""The images that a run held out from training: the only ones that threshold and calibration may be chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boxpromptiml.errors import DatasetError, ModelError
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.training.recipe import SUPERVISIONS, Recipe, Supervision
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.samples import gather_samples

TRUTHS: dict[Supervision, str] = {
    "pseudo": "pseudo masks of the teacher",
    "mask": "true masks",
    "box": "filled boxes",
    "label": "labels alone",
}


def held_out(run: Path, config: ModelConfig, datasets: Sequence[str | Path] = ()) -> list[Sample]:
    """The validation images of a run, with targets as it was trained on; never test images, never training images.

    Args:
        run: the run's folder, which knows what was trained on.
        config: of its model.
        datasets: where the datasets lie now, or others with a ``val`` split; none: where the run found them.

    Raises:
        ModelError: the run does not say how it was trained.
        DatasetError: a dataset is not there, has no validation images, or the run was trained on some of them.
    """
    trained = config.trained_on
    supervision = supervision_of(run, config)
    recipe = recipe_of(run, config)
    folders = list(datasets) or trained.datasets
    if not folders:
        raise ModelError(f"{run}: does not say what it was trained on; name a dataset with  --validation DATASET")
    if recipe.validation.fraction == 0:  # the run chose no epoch; a `val` split may be there all the same
        section = recipe.validation.model_copy(update={"fraction": 0.1})
        recipe = recipe.model_copy(update={"validation": section})
    samples = gather_samples(folders, recipe, supervision)
    used = _trained_on(run)
    if used is None and samples.carved:
        raise DatasetError(
            f"{run}: its list of images is gone, so what it held out is not known; give --validation DATASET "
            "with a val split"
        )
    seen = [sample.name for sample in samples.val if used is not None and sample.name in used]
    if seen:
        raise DatasetError(
            f"{seen[0]}: the run was trained on it ({len(seen)} such images among {len(samples.val)} for validation); "
            "name the datasets as they were then with  --validation, or one with a val split of its own"
        )
    return samples.val


def recipe_of(run: Path, config: ModelConfig) -> Recipe:
    """The recipe of a run.

    Raises:
        ModelError: there is none, or it is of another version.
    """
    if not config.trained_on.recipe:
        raise ModelError(f"{run}: has no recipe in its config; only what `boxpromptiml train` made can be packaged")
    try:
        return Recipe.model_validate(config.trained_on.recipe)
    except ValueError as error:
        raise ModelError(f"{run}: its recipe is of another version; use the one that trained it") from error


def supervision_of(run: Path, config: ModelConfig) -> Supervision:
    """What the run was trained from.

    Raises:
        ModelError: it does not say.
    """
    for supervision in SUPERVISIONS:
        if supervision == config.trained_on.supervision:
            return supervision
    raise ModelError(f"{run}: does not say what it was trained from; only what `boxpromptiml train` made is packaged")


def _trained_on(run: Path) -> set[str] | None:
    """Names of the images that the run was trained on; None if it does not say."""
    path = run / "state" / "images.tsv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return {name for part, _, name in (line.split("\t", 2) for line in lines) if part == "train"}
