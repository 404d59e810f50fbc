"""Settings from YAML files and ``key=value`` options, checked against a pydantic model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from boxpromptiml.errors import MissingExtraError, RecipeError

M = TypeVar("M", bound=BaseModel)
_LIKE = 0.65  # the likeness from which on a key may have been meant, see `_remedy`


def load_settings(
    model: type[M], path: str | Path | None = None, overrides: Sequence[str] = (), *, example: str, remedy: str
) -> M:
    """Read settings.

    Args:
        model: what the settings are; unknown keys are errors if it forbids extra ones.
        path: YAML file with some or all keys of `model`; None = the defaults. A section without content has its
            defaults.
        overrides: ``key=value`` with dotted keys; values are YAML; they win over the file, which must be valid
            without them too.
        example: such a ``key=value``, for the error.
        remedy: what to do about a file that cannot be read, for the error.

    Raises:
        RecipeError: no such file, not YAML, a key given twice, an unknown key (those that may be meant are named), or
            a value of the wrong type or out of range.
        MissingExtraError: PyYAML is not installed.
    """
    raw: dict[str, Any] = {}
    settings = None
    if path is not None:
        raw = _read(Path(path), remedy)
        # Without the overrides first, so that an error names the right source.
        settings = _validated(model, raw, str(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise RecipeError(f"--set {override}: write it as key=value, such as {example}")
        _assign(raw, key, _yaml(text, f"--set {key}"))
    if settings is not None and not overrides:
        return settings
    return _validated(model, raw, "--set")


def setting_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all sections and keys of a model, a section before its keys."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = section_of(field)
        if section is not None:
            yield from setting_paths(section, f"{prefix}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section of its own; None for a plain key."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _read(path: Path, remedy: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(f"{path}: cannot be read ({reason}); {remedy}") from error
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


def _validated(model: type[M], raw: dict[str, Any], source: str) -> M:
    try:
        return model.model_validate(_without_empty_sections(model, raw))
    except ValidationError as error:
        raise RecipeError(f"{source}: {_explain(model, error)}") from error


def _without_empty_sections(model: type[BaseModel], raw: dict[str, Any]) -> dict[str, Any]:
    """``data:`` with nothing below means the section's defaults, not null."""
    given: dict[str, Any] = {}
    for name, value in raw.items():
        section = section_of(model.model_fields[name]) if name in model.model_fields else None
        if section is not None and isinstance(value, dict):
            given[name] = _without_empty_sections(section, value)
        elif section is None or value is not None:
            given[name] = value
    return given


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    known = list(setting_paths(model))
    # An unknown key explains more than what else is wrong.
    first = min(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}; {_remedy(where, known)}"
    while "." in where and where not in known:
        # Behind the key come the place in a list or the type of a union that was tried.
        where = where.rpartition(".")[0]
    message = first["msg"].removeprefix("Value error, ")
    if not isinstance(first["input"], dict) and ", got " not in message:
        message += f", got {first['input']!r}"
    return f"{where}: {message}" if where else message


def _remedy(path: str, known: Sequence[str]) -> str:
    """The known path most like an unknown one: by its last name, those of the same section before others.

    Where none is like it, what the section has.
    """
    section, _, last = path.rpartition(".")
    prefix = f"{section}." if section else ""
    beside = dict.fromkeys(key.removeprefix(prefix).split(".")[0] for key in known if key.startswith(prefix))

    def likeness(candidate: str) -> float:
        its_section, _, its_last = candidate.rpartition(".")
        ratio = SequenceMatcher(None, last.lower(), its_last.lower()).ratio()
        # "learning_rate" and "lr": initials are what people abbreviate to.
        if "".join(word[:1] for word in last.lower().split("_")) == its_last.lower():
            ratio = 0.9
        return ratio + (0.2 if its_section == section else 0.0)

    nearest = max(known, key=likeness)
    if likeness(nearest) < _LIKE and beside:
        return f"{section or 'there'} {'has' if section else 'are'} {', '.join(beside)}"
    return f"the nearest is {nearest}"
