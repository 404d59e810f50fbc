"""Levels that are done, in the output folder: an interrupted run goes on with the first one that is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.evaluation.result import EvaluationResult
from boxpromptiml.evaluation.state import discard_state
from boxpromptiml.files import atomic_path, write_json
from boxpromptiml.metrics import ImageScore

LEVELS = "levels"
OUTPUTS = ("robustness.json", "robustness.csv", "robustness.png")
_IDENTITY = "run.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation at one level came to.

    Attributes:
        report: `EvaluationResult.to_json`.
        rows: float64 (n, 10), fields of `ImageScore`: the tampered images with masks, in the order of the evaluation.
    """

    report: dict[str, Any]
    rows: NDArray[np.float64]

    @classmethod
    def of(cls, result: EvaluationResult) -> Outcome:
        """Keep what is needed of an evaluation."""
        table = result.images
        return cls(result.to_json(), table.pixels[table.tampered & table.scored])


def check_folder(folder: Path) -> None:
    """Refuse an output folder that holds something else, before the long work.

    Raises:
        BoxPromptError: a file, outputs whose levels are gone, or a folder with other content.
    """
    if folder.exists() and not folder.is_dir():
        raise BoxPromptError(f"{folder}: is a file, not a folder; choose another --out")
    if not folder.is_dir() or (folder / LEVELS / _IDENTITY).is_file():
        return
    there = {entry.name for entry in folder.iterdir()}
    if LEVELS in there and (folder / LEVELS).is_dir() and not any((folder / LEVELS).iterdir()):
        there.remove(LEVELS)  # a full disk has stopped it at once
    taken = [name for name in (*OUTPUTS, LEVELS) if name in there]
    if taken:
        raise BoxPromptError(f"{folder / taken[0]}: not of a run that can go on; choose another --out")
    strangers = sorted(there)
    if strangers:
        raise BoxPromptError(f"{folder}: not of a robustness run (it holds {strangers[0]}); choose another --out")


class LevelStore:
    """The folder ``levels/`` of an output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def open(cls, out: str | Path, identity: dict[str, Any]) -> LevelStore:
        """Open the levels of an output folder, or begin there.

        Args:
            out: the output folder, made where it is missing.
            identity: what the figures depend on, as JSON has it: name (for people) -> value.

        Raises:
            BoxPromptError: the folder belongs to another run or to something else, or cannot be written.
        """
        folder = Path(out)
        check_folder(folder)
        path = folder / LEVELS / _IDENTITY
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            differing = [name for name, value in identity.items() if known.get(name) != value]
        except FileNotFoundError:
            write_json(path, identity)
            return cls(path.parent)
        except NotADirectoryError as error:
            raise BoxPromptError(f"{folder}: is in a file, not in a folder; choose another --out") from error
        except (ValueError, AttributeError) as error:
            raise BoxPromptError(f"{path}: damaged; remove {folder} to start afresh") from error
        if differing:
            raise BoxPromptError(
                f"{folder}: holds the robustness with another {', '.join(differing)}; "
                "choose another --out, or remove the folder to start afresh"
            )
        return cls(path.parent)

    def state(self, key: str) -> Path:
        """Where the evaluation of a level keeps what it has done."""
        return self._folder / f"{key}.state"

    def load(self, key: str) -> Outcome | None:
        """What a level came to; None if it is not done.

        Raises:
            BoxPromptError: its files are damaged.
        """
        record, rows = self._paths(key)
        try:
            report = json.loads(record.read_text(encoding="utf-8"))
            table = np.load(rows)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            raise BoxPromptError(f"{record}: damaged; remove it to compute that level again") from error
        if table.shape != (report["n_tampered"] - report["n_without_mask"], len(ImageScore._fields)):
            raise BoxPromptError(f"{rows}: damaged; remove it to compute that level again")
        return Outcome(report, table)

    def save(self, key: str, outcome: Outcome) -> None:
        """Keep what a level came to; after this it is done, and its evaluation's state is not needed any more."""
        record, rows = self._paths(key)
        with atomic_path(rows) as temporary, temporary.open("wb") as file:
            np.save(file, outcome.rows)
        write_json(record, outcome.report)
        discard_state(self.state(key))

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self._folder / f"{key}.json", self._folder / f"{key}.npy"
