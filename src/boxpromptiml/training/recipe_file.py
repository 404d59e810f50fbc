"""Recipes as YAML files: reading with ``key=value`` overrides, writing with every key explained."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from boxpromptiml.settings_file import load_settings, section_of
from boxpromptiml.training.recipe import Recipe

_LINE = 118


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: dotted path, type and range in words, default, description."""

    path: str
    type: str
    default: Any
    description: str


def load_recipe(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML file with some or all keys of `Recipe`; None = the defaults.
        overrides: ``key=value`` with dotted keys, such as ``optimizer.lr=1e-3`` or ``input.height=256``; they win.

    Raises:
        RecipeError, MissingExtraError: as `boxpromptiml.settings_file.load_settings`.
    """
    return load_settings(
        Recipe, path, overrides, example="optimizer.lr=1e-3", remedy="`boxpromptiml train --print-recipe` prints one"
    )


def dump_recipe(recipe: Recipe | None = None) -> str:
    """A recipe as YAML, every key with its description as a comment; `load_recipe` reads it back unchanged."""
    lines = ["# Training recipe of boxpromptiml. Keys that are left out keep their defaults.", ""]
    _dump(recipe or Recipe(), 0, lines)
    return "\n".join(lines) + "\n"


def recipe_keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[Key]:
    """Every key of a recipe, sections in order, nested keys with dots."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            yield from recipe_keys(section, f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield Key(f"{prefix}{name}", _type(field), default, field.description or "")


def recipe_table(skip: Sequence[str] = ("synthesis.config.",)) -> str:
    """The keys as a Markdown table; keys that start with one of `skip` are documented elsewhere."""
    rows = ["| key | type | default | what it does |", "|---|---|---|---|"]
    for key in recipe_keys():
        if not key.path.startswith(tuple(skip)):
            kind = key.type.replace("|", "or")
            rows.append(f"| `{key.path}` | {kind} | `{_scalar(key.default)}` | {key.description} |")
    return "\n".join(rows) + "\n"


def _dump(model: BaseModel, depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        section = section_of(field)
        text = field.description or ""
        if section is None:
            text += f" [{_type(field)}]"
        elif section.__doc__:
            text = section.__doc__.strip().splitlines()[0]
        if depth == 0 and section is not None:
            lines.append("")
        lines += [f"{indent}# {line}" for line in textwrap.wrap(text, _LINE - len(indent))]
        if section is None:
            lines.append(f"{indent}{name}: {_scalar(value)}")
        else:
            lines.append(f"{indent}{name}:")
            _dump(value, depth + 1, lines)


def _scalar(value: Any) -> str:
    """A value in YAML's flow style on one line."""
    import yaml

    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, float):
        # YAML 1.1 takes 5e-05 for a string; with a dot it is a number everywhere.
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _type(field: FieldInfo) -> str:
    """Type and range of a field in words: ``float >= 0``, ``fp32 | bf16``, ``int > 0 or null``."""
    text = str(field.annotation).replace("typing.", "")
    if text.startswith("Literal["):
        text = text[len("Literal[") : -1].replace("'", "").replace(", ", " | ")
    elif isinstance(field.annotation, type) and not hasattr(field.annotation, "__args__"):
        text = field.annotation.__name__
    if "Annotated[" in text:
        text = "float"
    text = text.replace("tuple[float, float]", "[float, float]").replace("tuple[int, int]", "[int, int]")
    text = text.replace("tuple[float, float, float]", "[float, float, float]").replace("list[str]", "list of str")
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = []
    for rule in field.metadata:
        for name, sign in signs.items():
            limit = getattr(rule, name, None)
            if limit is not None:
                limits.append(f"{sign} {limit:g}" if isinstance(limit, float) else f"{sign} {limit}")
    optional = " | None" in text
    text = text.replace(" | None", "")
    return " ".join([text, ", ".join(limits)]).strip() + (" or null" if optional else "")
