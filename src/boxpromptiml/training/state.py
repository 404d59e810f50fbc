"""States of a run on disk: what ``--resume`` goes on from, and what a run must agree with to be resumed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from boxpromptiml.errors import BoxPromptError, RecipeError
from boxpromptiml.files import atomic_path, write_json, write_text
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.samples import Samples

FOLDER = "state"
_IMAGES = "images.tsv"
_LEARNT_FROM = "SHA-256 of distillation.model"
_CONTENT = "what is in "  # before the name of a setting that names folders
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
            if "DataLoader worker" in str(error):
                raise  # told wherever the main process happens to be
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
        write_text(self.path / _IMAGES, "".join(f"{line.written()}\n" for line in _listed(samples)))
        write_json(self.path / "run.json", identity)

    def never_began(self) -> bool:
        """Whether a run was killed before it wrote its identity: what it left is not worth keeping."""
        return self.path.is_dir() and all(
            path.name == _IMAGES or path.name.startswith(".") for path in self.path.iterdir()
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

    def check(self, identity: Mapping[str, Any], samples: Samples, complete: bool = False) -> None:
        """Raise RecipeError, naming the first difference, unless a run of that identity may go on here.

        Args:
            identity: of the run that would go on.
            samples: its images.
            complete: the run has ended: what it took from other models and folders does not matter any more.
        """
        stored = self.read_identity()
        if stored is None:
            return
        run = self.path.parent
        # Settings that this version has and the one before had not were at their defaults.
        recipe = Recipe.model_validate(stored["recipe"]).model_dump(mode="json")
        then, now = _flat(stored | {"recipe": recipe}), _flat(identity)
        for key in dict.fromkeys([*then, *now]):
            if key.startswith(_FREE) or (complete and key.startswith((_LEARNT_FROM, _CONTENT))):
                continue
            if key.startswith(_CONTENT) and key not in then:  # a version that did not look into the folders
                continue
            if then.get(key) != now.get(key):
                raise RecipeError(
                    f"{run}: cannot resume, {key} was {then.get(key)!r} and is now {now.get(key)!r}; "
                    "give the same as then, or train into another folder"
                )
        images = read_images(run)
        if images is None:
            return
        for before, after in zip_longest(images, _listed(samples)):
            if before is None or after is None or not before.agrees(after):
                raise RecipeError(
                    f"{run}: cannot resume, the dataset has changed: {_difference(before, after)}; "
                    "undo that, or train into another folder"
                )

    def _files(self) -> list[Path]:
        return sorted(self.path.glob("state-*.pt"), reverse=True)


class Listed(NamedTuple):
    """An image of a run.

    Attributes:
        part: train or val.
        digest: see `Sample.digest`.
        bytes: of its file; None in the list of a version that did not keep it.
        name: as in `Sample.name`.
    """

    part: str
    digest: str
    bytes: int | None
    name: str

    @classmethod
    def read(cls, line: str) -> Self:
        """The way back from `written`."""
        part, key, name = line.split("\t", 2)
        digest, _, length = key.partition("-")
        return cls(part, digest, int(length) if length else None, name.replace("\0", "\n"))

    def written(self) -> str:
        """As a line of the list."""
        key = self.digest if self.bytes is None else f"{self.digest}-{self.bytes}"
        name = self.name.replace("\n", "\0")  # which no file can have in its name
        return f"{self.part}\t{key}\t{name}"

    def agrees(self, other: Listed) -> bool:
        """Whether nothing is known that tells the two apart."""
        same = (self.part, self.digest, self.name) == (other.part, other.digest, other.name)
        return same and (self.bytes is None or other.bytes is None or self.bytes == other.bytes)


def read_images(run: Path) -> list[Listed] | None:
    """The images of a run, those for training first; None if it does not say.

    Raises:
        RecipeError: the list is damaged.
    """
    path = run / FOLDER / _IMAGES
    try:
        text = path.read_bytes().decode("utf-8")
        # Not at every character that Unicode calls the end of a line: names of files may hold them.
        return [Listed.read(line) for line in text.split("\n") if line]
    except OSError:
        return None
    except ValueError as error:
        raise RecipeError(f"{path}: is damaged, so it is not known what the run was trained on") from error


def identity(
    recipe: Recipe,
    supervision: Supervision,
    images: int,
    learnt_from: str | None = None,
    content: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What must not change between the start of a run and its resumption, apart from the images' list.

    `learnt_from` is the SHA-256 of the weights of the recipe's `distillation.model`; `content` says by setting what is
    in the folders that it names.
    """
    return {
        "supervision": supervision,
        "training images": images,
        "recipe": recipe.model_dump(mode="json"),
        **({} if learnt_from is None else {_LEARNT_FROM: learnt_from}),
        **{f"{_CONTENT}{setting}": found for setting, found in (content or {}).items()},
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


def _listed(samples: Samples) -> Iterator[Listed]:
    for part, images in (("train", samples.train), ("val", samples.val)):
        for sample in images:
            yield Listed(part, sample.digest, sample.bytes, sample.name)


def _difference(before: Listed | None, after: Listed | None) -> str:
    then, now = before.name if before else "no image", after.name if after else "no image"
    if before is None or after is None or then != now:
        return f"{then} then, {now} now"
    if before._replace(bytes=None) == after._replace(bytes=None):
        return f"{now} (its file: {before.bytes} bytes then, {after.bytes} now)"
    return f"{now} (its annotation or its part: {before.part} then, {after.part} now)"
