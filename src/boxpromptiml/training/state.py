"""States of a run on disk: what ``--resume`` goes on from, and what a run must agree with to be resumed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from boxpromptiml.errors import BoxPromptError, RecipeError
from boxpromptiml.files import atomic_path, write_json, write_text
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.samples import Samples

FOLDER = "state"
LEARNT_FROM = "SHA-256 of distillation.model"
# Settings that do not change the result of an epoch; all others must be equal when a run is resumed.
_FREE = (
    "data.workers",
    "data.cache",
    "data.cache_limit_mb",
    "data.shard_cache",
    "data.shard_cache_mb",
    "validation.batch_size",
    "validation.patience",
    "validation.samples",
    "compute.strategy",
    "compute.threads",
    "state.",
)


class StateFolder:
    """``RUN/state``: numbered states, the newest few kept, and the identity of the run.

    Args:
        run: the run's folder.
        keep: states to keep.
    """

    def __init__(self, run: Path, keep: int = 2) -> None:
        self.path = run / FOLDER
        self._keep = keep

    def save(self, state: Mapping[str, Any], step: int) -> Path:
        """Write a state atomically, then remove those beyond the newest few.

        Raises:
            BoxPromptError: it cannot be written; those before are whole.
        """
        path = self.path / f"state-{step:09d}.pt"
        try:
            with atomic_path(path) as temporary:
                torch.save(dict(state), temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer says nothing of disks
            free = shutil.disk_usage(self.path).free / 2**20
            raise BoxPromptError(
                f"{path}: the state cannot be written ({free:.0f} MB are free there); make room, then go on with the "
                "same command and --resume"
            ) from error
        for old in self._files()[self._keep :]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest state that is whole (tensors on the CPU), and a line for each damaged one that was passed over.

        Raises:
            RecipeError: there are states, and all of them are damaged.
        """
        notes: list[str] = []
        files = self._files()
        for path in files:
            try:
                return _load(path), notes
            except Exception as error:  # whatever a damaged archive makes zipfile, pickle or torch raise
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                notes.append(f"{path}: damaged ({reason}), trying the state before")
        if files:
            raise RecipeError(f"{files[0]}: this state and all before it are damaged; train into another folder")
        return None, notes

    def clear(self) -> None:
        """Remove the states; they are of no use to a complete run."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.path.glob(".*"):
            path.unlink(missing_ok=True)

    def write_identity(self, identity: Mapping[str, Any], samples: Samples) -> None:
        """Keep what a resumed run is compared with."""
        write_text(self.path / "images.tsv", "".join(f"{line}\n" for line in _lines(samples)))
        write_json(self.path / "run.json", identity)

    def never_began(self) -> bool:
        """Whether a run was killed before it wrote its identity: what it left is not worth keeping."""
        return self.path.is_dir() and all(
            path.name == "images.tsv" or path.name.startswith(".") for path in self.path.iterdir()
        )

    def read_identity(self) -> dict[str, Any] | None:
        """The identity that was kept, None if there is none.

        Raises:
            RecipeError: it cannot be read.
        """
        path = self.path / "run.json"
        if not path.exists():
            return None
        try:
            identity = json.loads(path.read_text(encoding="utf-8"))
            Recipe.model_validate(identity["recipe"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{path}: damaged or of another version; train into another folder") from error
        return dict(identity)

    def check(self, identity: Mapping[str, Any], samples: Samples) -> None:
        """Raise RecipeError, naming the first difference, unless a run of that identity may go on here."""
        stored = self.read_identity()
        if stored is None:
            return
        run = self.path.parent
        # Settings that this version has and the one before had not were at their defaults.
        recipe = Recipe.model_validate(stored["recipe"]).model_dump(mode="json")
        then, now = _flat(stored | {"recipe": recipe}), _flat(identity)
        for key in dict.fromkeys([*then, *now]):
            if not key.startswith(_FREE) and then.get(key) != now.get(key):
                raise RecipeError(
                    f"{run}: cannot resume, {key} was {then.get(key)!r} and is now {now.get(key)!r}; "
                    "give the same as then, or train into another folder"
                )
        try:
            old = (self.path / "images.tsv").read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for before, after in zip_longest(old, _lines(samples)):
            if before != after:
                raise RecipeError(
                    f"{run}: cannot resume, the dataset has changed: {_difference(before, after)}; "
                    "undo that, or train into another folder"
                )

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("state-*.pt"), reverse=True)


def identity(recipe: Recipe, supervision: Supervision, images: int, learnt_from: str | None = None) -> dict[str, Any]:
    """What must not change between the start of a run and its resumption, apart from the images' list.

    `learnt_from` is the SHA-256 of the weights of the recipe's `distillation.model`.
    """
    return {
        "supervision": supervision,
        "training images": images,
        "recipe": recipe.model_dump(mode="json"),
        **({} if learnt_from is None else {LEARNT_FROM: learnt_from}),
    }


def _load(path: Path) -> dict[str, Any]:
    # torch reads tensors without checking them; the archive has a checksum for each.
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"checksum of {broken}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {key: value for key, value in identity.items() if key != "recipe"}

    def walk(section: Mapping[str, Any], prefix: str) -> None:
        for key, value in section.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    walk(identity["recipe"], "")
    return flat


def _lines(samples: Samples) -> list[str]:
    def line(part: str, sample: Sample) -> str:
        return f"{part}\t{sample.digest}\t{sample.name}"

    return [line("train", s) for s in samples.train] + [line("val", s) for s in samples.val]


def _difference(before: str | None, after: str | None) -> str:
    then, now = ((line or "\t\t").split("\t", 2) for line in (before, after))
    if then[2] == now[2]:
        return f"{now[2]} (its annotation or its part: {then[0]} then, {now[0]} now)"
    return f"{then[2] or 'no image'} then, {now[2] or 'no image'} now"
