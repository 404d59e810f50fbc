"""Recipes as YAML files: reading with ``key=value`` overrides, writing with every key explained."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from boxpromptiml.errors import MissingExtraError, RecipeError
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
        overrides: ``key=value`` with dotted keys, such as ``optimizer.lr=1e-3`` or ``input.height=256``; values are
            YAML; they win over the file.

    Raises:
        RecipeError: no such file, not YAML, a key given twice, an unknown key (the nearest one is named), or a value
            of the wrong type or out of range.
        MissingExtraError: PyYAML is not installed.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        raw = _read(Path(path))
        # Without the overrides first, so that an error names the right source.
        _validated(raw, str(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise RecipeError(f"--set {override}: write it as key=value, such as optimizer.lr=1e-3")
        _assign(raw, key, _yaml(text, f"--set {key}"))
    return _validated(raw, "--set" if overrides else str(path))


def dump_recipe(recipe: Recipe | None = None) -> str:
    """A recipe as YAML, every key with its description as a comment; `load_recipe` reads it back unchanged."""
    lines = ["# Training recipe of boxpromptiml. Keys that are left out keep their defaults.", ""]
    _dump(recipe or Recipe(), 0, lines)
    return "\n".join(lines) + "\n"


def recipe_keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[Key]:
    """Every key of a recipe, sections in order, nested keys with dots."""
    for name, field in model.model_fields.items():
        section = _section(field)
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


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(
            f"{path}: cannot be read ({reason}); `boxpromptiml train --print-recipe` prints one"
        ) from error
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

    class Loader(yaml.SafeLoader):
        """YAML lets the last of two equal keys win without a word; here that is an error."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            for i, name in enumerate(names):
                if name in names[:i]:
                    line = node.value[i][0].start_mark.line + 1
                    raise RecipeError(f"{source}, line {line}: the key {name} is given twice; remove one")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RecipeError(f"{source}{line}: not valid YAML ({problem})") from error


def _assign(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = raw.setdefault(parent, {})
        if child is None:  # a section without content in the file
            child = raw[parent] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"--set {key}: {parent} is a value, not a section")
        raw = child
    raw[last] = value


def _validated(raw: dict[str, Any], source: str) -> Recipe:
    # An empty section ("data:" and nothing below) means its defaults.
    given = {name: value for name, value in raw.items() if value is not None or name not in _SECTIONS}
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        raise RecipeError(f"{source}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    # An unknown key explains more than what else is wrong.
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first = details[0]
    where = ".".join(str(part) for part in first["loc"])
    known = {key.path for key in recipe_keys()}
    while first["type"] != "extra_forbidden" and "." in where and where not in known and where not in _SECTIONS:
        # Behind the key come the place in a list or the type of a union that was tried.
        where = where.rpartition(".")[0]
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
        return f"{where}: {message}{given}" if where else message
    return f"unknown key {where}; the nearest is {_nearest(where)}"


def _nearest(path: str) -> str:
    """The known key most like an unknown one: by its last name, keys of the same section before others."""
    section, _, last = path.rpartition(".")
    paths = [key.path for key in recipe_keys()] + list(_SECTIONS)

    def likeness(known: str) -> float:
        known_section, _, known_last = known.rpartition(".")
        ratio = SequenceMatcher(None, last.lower(), known_last.lower()).ratio()
        # "learning_rate" and "lr": initials are what people abbreviate to.
        if "".join(word[:1] for word in last.lower().split("_")) == known_last.lower():
            ratio = 0.9
        return ratio + (0.2 if known_section == section else 0.0)

    return max(paths, key=likeness)


def _dump(model: BaseModel, depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        section = _section(field)
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


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


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


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield prefix + name
            yield from _sections(section, f"{prefix}{name}.")


_SECTIONS = tuple(_sections(Recipe))
