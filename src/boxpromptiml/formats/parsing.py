"""Reading foreign annotation files: what is wrong is named by file, entry and field, many at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from boxpromptiml.errors import DatasetError, MissingExtraError
from boxpromptiml.formats.source import RejectedError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Problems that are named; more would only hide the first ones.
LIMIT = 100

T = TypeVar("T")

Number = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, lt=2**31)]
# JSON has lists only, which strict checking would not take for tuples; what is in them is still checked strictly.
Loose = Strict(False)
Point = Annotated[tuple[Number, Number], Loose]


class Entry(BaseModel):
    """Base of what is read from JSON: types are taken strictly, unknown fields are other tools' own affair."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


@dataclass
class Problems:
    """Collects what is wrong with the entries of a file (or a folder of files).

    Attributes:
        path: the file or folder.
        count: how many there are.
        lines: the first `LIMIT` of them.
    """

    path: Path
    count: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        """Note a problem: where it is (file and entry), what it is and what would mend it."""
        self.count += 1
        if self.count <= LIMIT:
            self.lines.append(f"{where}: {what}")

    def raise_if_any(self) -> None:
        """Raise RejectedError with all that was noted, if anything was."""
        if self.count:
            entries = "1 entry is" if self.count == 1 else f"{self.count:,} entries are"
            more = [f"... and {self.count - LIMIT:,} more"] if self.count > LIMIT else []
            raise RejectedError(f"{self.path}: {entries} malformed, nothing was imported", (*self.lines, *more))


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises DatasetError if it cannot be read or is none."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: is nested too deeply to be an annotation file") from error


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, with or without a byte order mark. Raises DatasetError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def load_xml(path: Path) -> Element:
    """The root of an XML file.

    Raises:
        DatasetError: it cannot be read, is no XML, or declares a document type or entities: annotation files need
            none, and they are how small files become gigabytes.
        MissingExtraError: defusedxml is not installed.
    """
    try:
        import defusedxml
        from defusedxml import ElementTree
    except ModuleNotFoundError as error:
        raise MissingExtraError("defusedxml", "formats") from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        root: Element = ElementTree.fromstring(data, forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise DatasetError(f"{path}: declares a document type or entities, which is refused; remove <!...>") from error
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DatasetError(f"{path}: not XML ({error})") from error
    return root


def checked(problems: Problems, shape: type[T], value: Any, where: str | None = None) -> T | None:
    """`value` as a model (or what a `TypeAdapter` takes); None if it is malformed, after noting each field.

    Args:
        problems: where to note.
        shape: the type.
        value: parsed JSON.
        where: the file; None for that of `problems`.
    """
    try:
        found: T = TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            place = tuple(part for part in detail["loc"] if not _is_type(part))
            entry = f"{where or problems.path}: {_place(value, place)}" if place else str(where or problems.path)
            given = "" if detail["type"] == "missing" else f", got {shortened(detail['input'])}"
            problems.add(entry, f"{detail['msg'][0].lower()}{detail['msg'][1:]}{given}")
        return None
    return found


def number(text: str | None) -> float | None:
    """A finite number of a text file or an XML attribute, else None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str | None) -> int | None:
    """A number of pixels from 1 to 2**31 - 1 of an XML file, else None."""
    value = number(text)
    return int(value) if value is not None and value.is_integer() and 1 <= value < 2**31 else None


def shortened(value: Any) -> str:
    """A value as it may stand in a line of text."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = str(type(value).__name__)
    return text if len(text) <= 60 else text[:57] + "..."


class Categories:
    """Which of a foreign format's categories are tampered regions.

    Args:
        wanted: their names; None for all.
    """

    def __init__(self, wanted: Iterable[str] | None) -> None:
        self.wanted = None if wanted is None else frozenset(wanted)
        self.seen: set[str] = set()

    def takes(self, name: str) -> bool:
        """Whether a shape of this category is a tampered region."""
        self.seen.add(name)
        return self.wanted is None or name in self.wanted

    def check(self, path: Path) -> None:
        """Raise DatasetError where a name was asked for that does not occur."""
        missing = sorted((self.wanted or frozenset()) - self.seen)
        if missing:
            there = ", ".join(sorted(self.seen)[:20]) or "none"
            raise DatasetError(f"{path}: no category {missing[0]!r} (--tampered); there are: {there}")


def _place(value: Any, place: tuple[str | int, ...]) -> str:
    """``annotations[17].bbox[2] (id 4711)``."""
    text, identity, inner = "", None, value
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
        try:
            inner = inner[part]
        except (KeyError, IndexError, TypeError):
            inner = None
        if isinstance(inner, dict) and isinstance(inner.get("id"), int | str):
            identity = inner["id"]
    return text if identity is None else f"{text} (id {identity})"


def _is_type(part: str | int) -> bool:
    """Whether a part of Pydantic's path names an arm of a union rather than a field."""
    return isinstance(part, str) and (part in ("int", "str", "float", "bool") or "[" in part)
