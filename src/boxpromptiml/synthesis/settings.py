"""Synthesis settings from YAML files and ``key=value`` options."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from boxpromptiml.errors import MissingExtraError, RecipeError
from boxpromptiml.synthesis.config import SynthesisConfig


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> SynthesisConfig:
    """Read synthesis settings.

    Args:
        path: YAML file with some or all keys of `SynthesisConfig`; None = the defaults.
        overrides: ``key=value`` with dotted keys, such as ``kinds.splice=0`` or ``area=[0.02, 0.2]``; they win.

    Raises:
        RecipeError: no such file, not YAML, an unknown key (the nearest one is named), or a value out of range.
        MissingExtraError: PyYAML is not installed.
    """
    raw: dict[str, Any] = {}
    source = "--set"
    if path is not None:
        source = str(path)
        raw = _read(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {override}: write it as key=value, such as kinds.splice=0")
        _assign(raw, key.strip(), _yaml(text, f"--set {key}"))
    try:
        return SynthesisConfig.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{source}: {_explain(error)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error}); give a YAML file of synthesis settings") from error
    raw = _yaml(text, str(path))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: holds a {type(raw).__name__}; write one `key: value` per line")
    return raw


def _yaml(text: str, source: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("pyyaml", "train") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise RecipeError(f"{source}: not valid YAML ({first})") from error


def _assign(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = raw.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {key}: {parent} is a value, not a section")
        raw = child
    raw[last] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    known = _keys(first["loc"][:-1])
    near = get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
    return f"unknown key {where}; did you mean {'.'.join([*map(str, first['loc'][:-1]), *near])}?"


def _keys(section: Sequence[int | str]) -> list[str]:
    """The keys of the (nested) section at that place."""
    model: type[BaseModel] = SynthesisConfig
    for name in section:
        annotation = model.model_fields[str(name)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)
