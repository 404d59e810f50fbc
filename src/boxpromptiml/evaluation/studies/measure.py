"""What the students of a study are measured on, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.errors import RecipeError
from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.metrics import Mode, get_preset


@dataclass(frozen=True)
class Measure:
    """What the students are measured on, and how.

    Attributes:
        tests: further test sets.
        preset: protocol of the pixel figures.
        mode: its mode.
        on_mismatch: for masks of foreign test sets that do not fit their images.
    """

    tests: tuple[Path, ...] = ()
    preset: str = "imdlbenco"
    mode: Mode = "origin"
    on_mismatch: OnMismatch = "error"


def check_measure(measure: Measure) -> None:
    """Refuse a protocol or mode that does not exist.

    Raises:
        RecipeError: naming those that do.
    """
    try:
        rule = get_preset(measure.preset)
    except ValueError as error:
        raise RecipeError(f"--preset: {error}") from error
    if measure.mode not in rule.modes:
        raise RecipeError(f"--mode: {rule.name} has {', '.join(rule.modes)}")
