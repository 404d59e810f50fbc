"""Synthesis settings from YAML files and ``key=value`` options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boxpromptiml.settings_file import load_settings
from boxpromptiml.synthesis.config import SynthesisConfig


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> SynthesisConfig:
    """Read synthesis settings.

    Args:
        path: YAML file with some or all keys of `SynthesisConfig`; None = the defaults.
        overrides: ``key=value`` with dotted keys, such as ``kinds.splice=0`` or ``area=[0.02, 0.2]``; they win.

    Raises:
        RecipeError, MissingExtraError: as `boxpromptiml.settings_file.load_settings`.
    """
    return load_settings(
        SynthesisConfig, path, overrides, example="kinds.splice=0", remedy="give a YAML file of synthesis settings"
    )
