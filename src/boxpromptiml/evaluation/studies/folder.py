"""The folder of a study: what it is, its runs, and whether a command may go on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxpromptiml import __version__
from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError, RecipeError
from boxpromptiml.evaluation.studies.plan import Plan, Run, comparable, first_difference
from boxpromptiml.evaluation.studies.snapshot import Snapshot
from boxpromptiml.evaluation.studies.tables import RunTable, has_table, read_table
from boxpromptiml.files import try_lock, write_json
from boxpromptiml.model_config import ONNX_NAME
from boxpromptiml.training import Recipe

STUDY_NAME = "study.json"
FAILURE_NAME = "failure.json"
_LOCK = ".lock"
_HELD_OUT = "held_out"  # in ``study.json``: by which labels validation images are drawn


@dataclass(frozen=True)
class RunFolder:
    """``DIR/runs/NAME``: the model, the figures of each test set, what happened.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def model(self) -> Path:
        """The model folder that training leaves."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.path / "log.txt"

    def figures(self, test: str, preset: str, mode: str) -> Path:
        """The per-image figures on a test set (CSV)."""
        return self.path / "figures" / f"{test}-{preset}-{mode}.csv"

    def table(self, test: str, preset: str, mode: str) -> RunTable | None:
        """Those figures, None if they are not there yet."""
        return read_table(self.figures(test, preset, mode))

    def is_done(self, tests: Sequence[str], preset: str, mode: str) -> bool:
        """Whether nothing is left to do."""
        return (self.model / ONNX_NAME).is_file() and all(has_table(self.figures(test, preset, mode)) for test in tests)

    def epochs(self) -> int:
        """Epochs trained so far, as far as its log says."""
        try:
            lines = (self.model / "logs" / "metrics.csv").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0
        return max(0, len(lines) - 1)

    def identity(self) -> dict[str, Any] | None:
        """What was trained here."""
        return _read(self.path / "run.json")

    def timings(self) -> dict[str, float]:
        """Seconds of each step; empty before the run is done."""
        return {name: float(value) for name, value in (_read(self.timings_path) or {}).items()}

    @property
    def timings_path(self) -> Path:
        """File of the seconds of each step."""
        return self.path / "timings.json"

    def failure(self) -> dict[str, Any] | None:
        """``message`` and ``final`` (it would fail again) of a run that failed; None otherwise."""
        return read_failure(self.path)

    def fail(self, message: str) -> None:
        """Keep why the run could not even begin; the next command tries again."""
        write_json(self.path / FAILURE_NAME, {"message": message, "final": False})

    def prepare(self, run: Run) -> None:
        """Make the folder for a run.

        Raises:
            RecipeError: another training is in it.
        """
        now = run.identity()
        then = self.identity()
        if then is not None:
            difference = first_difference(_completed(then), now)
            if difference is not None:
                raise RecipeError(f"{self.path}: {difference}; give the same as then, or choose another --out")
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "run.json", now)


class StudyFolder:
    """``DIR``: ``study.json``, ``datasets/``, ``tests/``, ``runs/`` and the reports.

    Args:
        path: the folder; made when something is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def dataset(self, name: str) -> Path:
        """A derived dataset to train on."""
        return self.path / "datasets" / name

    def annotation(self, name: str) -> Path:
        """Log and lock of making a derived dataset."""
        return self.path / "annotation" / name

    def test(self, name: str) -> Path:
        """A derived dataset to test on."""
        return self.path / "tests" / name

    def run(self, name: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / "runs" / name)

    def check(self) -> None:
        """Refuse a folder that holds something else, before anything is made.

        Raises:
            DatasetError: a file, or a folder with other content.
        """
        if self.path.exists() and not self.path.is_dir():
            raise DatasetError(f"{self.path}: not a folder; choose another --out")
        if not self.path.is_dir() or (self.path / STUDY_NAME).is_file():
            return
        ours = {"datasets", "annotation", "tests", "runs", _LOCK}
        strangers = [entry.name for entry in self.path.iterdir() if entry.name not in ours]
        if strangers:
            raise DatasetError(f"{self.path}: not a study (it holds {strangers[0]}); choose another --out")

    def stored(self) -> dict[str, Any]:
        """The content of ``study.json``; empty for a new study."""
        return _read(self.path / STUDY_NAME) or {}

    def agree(self, plan: Plan) -> None:
        """Make sure that the folder is new, or holds this study: a plan may add seeds, variants and test sets.

        Raises:
            RecipeError: it is another study: other kind, recipe, options, or a variant that means something else.
        """
        stored = self.stored()
        if not stored:
            return
        now = _fixed(plan)
        variants = {variant.name: variant.to_json() for variant in plan.variants}
        both = {name: variant for name, variant in variants.items() if name in stored["variants"]}
        then = {name: stored["variants"][name] for name in both}
        completed = _completed(stored)
        difference = first_difference({key: completed.get(key) for key in now}, now)
        difference = difference or first_difference(then, both, "variants.")
        if difference is not None:
            raise RecipeError(
                f"{self.path}: holds another study ({difference}); give the same as then, or choose another --out"
            )
        self._check_held_out(plan, stored)

    def _check_held_out(self, plan: Plan, stored: Mapping[str, Any]) -> None:
        """Refuse to go on with variants of which an earlier version drew validation images by labels with errors."""
        recipe = plan.base
        errors = [variant["boxes"] for variant in stored["variants"].values() if variant.get("boxes")]
        changed = recipe.data.skip_suspicious or any(boxes["missing"] for boxes in errors)
        if _HELD_OUT in stored or not errors or not changed or not recipe.validation.fraction:
            return
        with Dataset.open(self.dataset("train")) as dataset:
            if not dataset.count(split="val"):
                raise RecipeError(
                    f"{self.path}: an earlier version chose epochs by other images where boxes are missing, and its "
                    "runs cannot be compared with new ones; choose another --out"
                )

    def write(self, plan: Plan, train: Snapshot, tests: Mapping[str, Snapshot]) -> None:
        """Store what the study is now, with what it was before."""
        stored = self.stored()
        content = {
            **_fixed(plan),
            "reference": plan.reference,
            "yardstick": plan.yardstick,
            "training_images": {"digest": train.digest, "source": train.source, **train.facts},
            "tests": {
                **stored.get("tests", {}),
                **{name: {"digest": s.digest, "source": s.source, **s.facts} for name, s in tests.items()},
            },
            "variants": {
                **stored.get("variants", {}),
                **{variant.name: variant.to_json() for variant in plan.variants},
            },
            **({_HELD_OUT: "by true labels"} if plan.kind == "boxes" else {}),
            "seeds": sorted({*stored.get("seeds", []), *plan.seeds}),
            "boxpromptiml": __version__,
        }
        write_json(self.path / STUDY_NAME, content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands out of the folder for as long as this one works on it.

        Raises:
            DatasetError: another one does, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"{self.path}: the folder cannot be made ({error.strerror})") from error
        with locked(self.path / _LOCK, f"{self.path}: another command works on this study; wait for it to end"):
            yield


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a file's lock, which the system gives back when the process ends in any way.

    Raises:
        DatasetError: saying `busy`: another process holds it.
    """
    with path.open("a", encoding="utf-8") as stream:
        if not try_lock(stream):
            raise DatasetError(busy)
        yield


def read_failure(folder: Path) -> dict[str, Any] | None:
    """``message`` and ``final`` of what failed in a folder; None if nothing did."""
    return _read(folder / FAILURE_NAME)


def _fixed(plan: Plan) -> dict[str, Any]:
    """What must not change between the commands of a study."""
    return {"study": plan.kind, "recipe": comparable(plan.base), "options": plan.options}


def _completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that an older version did not know yet had the effect of today's defaults."""
    try:
        recipe = Recipe.model_validate(identity["recipe"])
    except (KeyError, ValueError):
        return dict(identity)
    return {**identity, "recipe": comparable(recipe)}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None
