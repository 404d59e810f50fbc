"""What the command line writes of an evaluation: figures as JSON, a report, and the state of a run under way."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.evaluation.images_csv import write_images_csv
from boxpromptiml.evaluation.plan import Plan
from boxpromptiml.evaluation.report import PAGE_NAME, is_ours, require_matplotlib, write_report
from boxpromptiml.evaluation.result import EvaluationResult
from boxpromptiml.evaluation.state import discard_state
from boxpromptiml.files import write_json
from boxpromptiml.runtime import Localizer

CSV_NAME = "images.csv"
FIGURES_NAME = "figures.json"
STATE_NAME = "state"


@dataclass(frozen=True)
class Outputs:
    """Where an evaluation is written to.

    Attributes:
        json_file: the figures; None if they are not wanted.
        report: folder of the report; None if it is not wanted.
    """

    json_file: Path | None
    report: Path | None

    @classmethod
    def checked(cls, json_file: Path | None, report: Path | None) -> Outputs:
        """Refuse, before the long work, what could not be written after it.

        Raises:
            BoxPromptError: a path that cannot be written to, or files of others in the way.
            MissingExtraError: a report without matplotlib.
        """
        if json_file is not None:
            # The report's figures.json may be named: it is the same.
            own = [] if report is None else [report / name for name in (PAGE_NAME, CSV_NAME, STATE_NAME)]
            check_json(json_file, *own)
        if report is not None:
            require_matplotlib()
            if report.exists() and not report.is_dir():
                raise BoxPromptError(f"{report}: not a folder; choose another --report")
            page = report / PAGE_NAME
            if page.exists() and not is_ours(page):
                raise BoxPromptError(f"{page}: was not written by an evaluation; choose another --report")
            for other in (report / CSV_NAME, report / FIGURES_NAME):
                if other.exists() and not page.exists() and not (report / STATE_NAME).exists():
                    raise BoxPromptError(f"{other}: was not written by an evaluation's report; choose another --report")
            _writable(report.absolute())
        return cls(json_file, report)

    @property
    def state(self) -> Path | None:
        """Folder of the state of a run under way; None where nothing is written."""
        if self.report is not None:
            return self.report / STATE_NAME
        return None if self.json_file is None else self.json_file.with_name(f"{self.json_file.name}.{STATE_NAME}")

    @property
    def page(self) -> Path | None:
        """The report's page."""
        return None if self.report is None else self.report / PAGE_NAME

    def write(self, result: EvaluationResult, plan: Plan, localizer: Localizer) -> None:
        """Write what is wanted, and only then remove the state."""
        figures = result.to_json()
        if self.report is not None:
            names = [source.name for source in plan.sources]
            write_images_csv(self.report / CSV_NAME, result.images, names)
            write_json(self.report / FIGURES_NAME, figures)
            write_report(self.report / PAGE_NAME, result, plan, localizer)
        if self.json_file is not None:
            write_json(self.json_file, figures)
        if self.state is not None:
            discard_state(self.state)


def check_json(path: Path, *others: Path) -> None:
    """Refuse, before the long work, a --json that could not be written after it, or over something else.

    Args:
        path: the file.
        others: files and folders that the same command writes.

    Raises:
        BoxPromptError: a folder, or a file in a place that cannot be written to or that is one of `others`'.
    """
    if path.is_dir():
        raise BoxPromptError(f"{path}: is a folder; --json wants the name of a file")
    place = path.resolve()
    for other in (item.resolve() for item in others):
        if place.is_relative_to(other) or other.is_relative_to(place):
            raise BoxPromptError(f"{path}: is in the way of {other.name}, which is written too; choose another --json")
    _writable(path.absolute().parent)


def _writable(folder: Path) -> None:
    """Raise BoxPromptError where a folder cannot be made or written to."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise BoxPromptError(f"{existing}: not a folder; choose another path")
    if not os.access(existing, os.W_OK):
        raise BoxPromptError(f"{existing}: cannot be written to; choose another path")
