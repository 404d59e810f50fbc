"""The images that a run held out from training: the only ones that threshold and calibration may be chosen on."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.errors import DatasetError, ModelError
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.training.recipe import SUPERVISIONS, Recipe, Supervision
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.sources import located, real_place, refuse_repeated
from boxpromptiml.training.state import Listed, read_images
from boxpromptiml.training.usable import LeftOut, check_files, singly, usable

TRUTHS: dict[Supervision, str] = {
    "pseudo": "pseudo masks of the teacher",
    "mask": "true masks",
    "box": "filled boxes",
    "label": "labels alone",
}
_Pairs = Sequence[tuple[ImageRecord, Sample]]


def held_out(run: Path, config: ModelConfig, datasets: Sequence[str | Path] = ()) -> list[Sample]:
    """The validation images of a run, with targets as it was trained on; never test images, never training images.

    Of a dataset that the run was trained on, wherever it lies now and however its folder is spelled: the images that
    the run held out, by its own list, and those that are in the ``val`` split. Of any other: the ``val`` split.

    Args:
        run: the run's folder, which knows what was trained on.
        config: of its model.
        datasets: where the datasets, or some of them, lie now, and others with a ``val`` split; none: where the run
            found them.

    Raises:
        ModelError: the run does not say how it was trained.
        DatasetError: a dataset is not there, has no such images, or the run was trained on some in its ``val`` split.
        RecipeError: the run's list of images is damaged.
    """
    trained = config.trained_on
    supervision, recipe = supervision_of(run, config), recipe_of(run, config)
    folders = list(datasets) or list({real_place(folder): folder for folder in trained.datasets}.values())
    if not folders:
        raise ModelError(f"{run}: does not say what it was trained on; name a dataset with  --validation DATASET")
    refuse_repeated(folders)
    listed = read_images(run)
    parts = [] if listed is None else _parts(listed, trained.datasets)
    found: list[Sample] = []
    for folder in folders:
        left_out: list[LeftOut] = []
        # Test images are not even looked at.
        images = (image for image in located(folder) if image.record.split != "test")
        prefix = f"{folder}: " if len(folders) > 1 else ""
        pairs = list(usable(images, supervision, recipe, prefix, left_out))
        own = _part_of(folder, pairs, parts)
        chosen = [s for r, s in pairs if r.split == "val" or (own is not None and r.image in own.val)]
        if own is None and not chosen:
            raise DatasetError(_nothing(run, folder, left_out, listed is not None))
        _refuse_trained_on([(r, s) for r, s in pairs if r.split == "val"], own, parts)
        check_files(chosen, folder)
        found += [singly(sample) for sample in chosen]
    for word, tampered in (("tampered", True), ("authentic", False)):
        needed = tampered or supervision == "label"  # a threshold needs tampered images, a score alone both kinds
        if found and needed and not any(sample.tampered == tampered for sample in found):
            raise DatasetError(
                f"{folders[0]}: none of the {len(found)} held-out images is {word}; name a dataset with such images in "
                "its val split too, by a further  --validation DATASET"
            )
    return found


@dataclass
class _Part:
    """What a run used of one of its datasets; images as the dataset names them.

    Attributes:
        folder: of the dataset, as it was given.
        train, val: the list's lines by image.
    """

    folder: str
    train: dict[str, Listed] = field(default_factory=dict)
    val: dict[str, Listed] = field(default_factory=dict)

    def has(self, image: str, sample: Sample) -> bool:
        """Whether the run used an image, under its name: by what is known of both."""
        line = self.train.get(image) or self.val.get(image)
        if line is None:
            return False
        if line.bytes is None:
            return sample.digest == line.digest
        if sample.bytes != line.bytes:
            return False
        there = self._file(image)
        # Another one, of the same name and length by chance, or the run's own that was replaced since.
        return there is None or there.stat().st_size != line.bytes or _same_file(there, sample)

    def trained_on(self, image: str, sample: Sample) -> bool:
        """Whether the run may have been trained on an image.

        Lists of earlier versions know nothing of the files: there the name is enough, but where the run's own file is
        another one. The digest, of images that were annotated anew, would call them others.
        """
        line = self.train.get(image)
        if line is None or line.bytes is not None:
            return line is not None and self.has(image, sample)
        there = self._file(image)
        return there is None or _same_file(there, sample)

    def _file(self, image: str) -> Path | None:
        """The run's own file, if it is still there."""
        path = Path(self.folder, image)
        return path if path.is_file() else None


def _same_file(there: Path, sample: Sample) -> bool:
    """Whether a sample is a file, or a copy of it; samples in shards are taken for it."""
    if not isinstance(sample.path, Path):
        return True
    return there.samefile(sample.path) or filecmp.cmp(there, sample.path, shallow=False)


def _parts(listed: Sequence[Listed], folders: Sequence[str]) -> list[_Part]:
    """The list of a run, by its datasets: those of several are named with their folders as they were given."""
    parts = [_Part(folder) for folder in dict.fromkeys(folders)] or [_Part("")]
    # A folder's name may begin with another's.
    prefixes = sorted(((f"{p.folder}: " if len(folders) > 1 else "", p) for p in parts), key=lambda pair: -len(pair[0]))
    for line in listed:
        for prefix, part in prefixes:
            if line.name.startswith(prefix):
                (part.train if line.part == "train" else part.val)[line.name.removeprefix(prefix)] = line
                break
    for part in parts:
        for image in part.train:  # of a dataset that an earlier version let be given twice
            part.val.pop(image, None)
    return parts


def _part_of(folder: str | Path, pairs: _Pairs, parts: Sequence[_Part]) -> _Part | None:
    """Which of the run's datasets this is; None for another one.

    It is known by its images. In the place where the run found it, some of them are enough by their names, since
    annotation may have changed; elsewhere most must be the same, since other datasets use the same names.
    """
    alike: dict[tuple[bool, int], list[_Part]] = {}
    for part in parts:
        lines = part.train | part.val
        same = sum(part.has(record.image, sample) for record, sample in pairs)
        in_place = real_place(folder) == real_place(part.folder) and any(r.image in lines for r, _ in pairs)
        if in_place or 2 * same >= min(len(lines), len(pairs)) > 0:
            alike.setdefault((in_place, same), []).append(part)
    if not alike:
        return None
    # Of several that it may be, what all of them held out.
    first, *others = alike[max(alike)]
    for other in others:
        val = {image: line for image, line in first.val.items() if image in other.val}
        first = _Part(first.folder, first.train | other.train, val)
    return first


def _refuse_trained_on(val: _Pairs, own: _Part | None, parts: Sequence[_Part]) -> None:
    if own is not None:
        seen = [sample for record, sample in val if record.image in own.train]
    else:
        seen = [s for r, s in val if any(part.trained_on(r.image, s) for part in parts)]
    if seen:
        raise DatasetError(
            f"{seen[0].name}: the run was trained on it ({len(seen)} such images among {len(val)} for validation); "
            "name the datasets as they were then with  --validation, or one with a val split of its own"
        )


def _nothing(run: Path, folder: str | Path, left_out: Sequence[LeftOut], known: bool) -> str:
    if not known:
        return (
            f"{run}: its list of images is gone, so what it held out is not known; give --validation DATASET "
            "with a val split"
        )
    reasons = f" ({len(left_out)} images cannot be used: {left_out[0].reason})" if left_out else ""
    return (
        f"{folder}: is none of the datasets that the run was trained on, and has no validation images{reasons}; give "
        "--validation DATASET with a val split"
    )


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
