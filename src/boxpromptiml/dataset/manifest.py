"""The manifest: a dataset as JSON Lines, one image a line, to be read by people and other programs and read back.

Paths are relative to the manifest's folder (or another one, given as `base`), boxes absolute half-open pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boxpromptiml.dataset.paths import relative_path
from boxpromptiml.dataset.records import ImageRecord, Label, PseudoMask, check_record
from boxpromptiml.dataset.store import Dataset
from boxpromptiml.errors import BoxPromptError, DatasetError
from boxpromptiml.images import image_size
from boxpromptiml.regions import Box

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class _Region(BaseModel):
    model_config = _STRICT
    box: tuple[int, int, int, int]


class _Pseudo(BaseModel):
    model_config = _STRICT
    teacher: str
    settings: dict[str, Any] = {}
    qualities: tuple[float | None, ...] = ()
    flags: tuple[tuple[str, ...], ...] = ()
    fallbacks: tuple[str | None, ...] = ()


class _Line(BaseModel):
    """One image. What is missing is unknown; sizes that are missing are read from the image file."""

    model_config = _STRICT
    image: str = Field(min_length=1)
    width: int | None = None
    height: int | None = None
    label: Label | None = None
    regions: tuple[_Region, ...] = ()
    mask: str | None = None
    pseudo_mask: str | None = None
    pseudo: _Pseudo | None = None
    split: str | None = None
    group: str | None = None
    kind: str | None = None
    seconds: float | None = None
    review: str | None = None
    skipped: bool = False


def record_to_json(record: ImageRecord) -> dict[str, Any]:
    """The manifest's object for a record. What is not known is left out, except the label; so is the version."""
    line: dict[str, Any] = {
        "image": record.image,
        "width": record.width,
        "height": record.height,
        "label": record.label,
    }
    if record.boxes:
        line["regions"] = [{"box": list(box)} for box in record.boxes]
    if record.mask is not None:
        line["mask"] = record.mask
    if record.pseudo is not None:
        line["pseudo_mask"] = record.pseudo.path
        line["pseudo"] = {
            "teacher": record.pseudo.teacher,
            "settings": record.pseudo.settings,
            "qualities": record.pseudo.qualities,
            "flags": record.pseudo.flags,
            "fallbacks": record.pseudo.fallbacks,
        }
    for key in ("split", "group", "kind", "seconds", "review"):
        value = getattr(record, key)
        if value is not None:
            line[key] = value
    if record.skipped:
        line["skipped"] = True
    return line


def record_from_json(text: str | bytes, folder: str | Path = ".") -> ImageRecord:
    """Read one line of a manifest.

    Args:
        text: a JSON object.
        folder: where the image is, should its size be missing from the line.

    Raises:
        DatasetError: no JSON, an unknown key, a value of the wrong type or a record that contradicts itself; the
            message names the field.
        ImageError: the size is missing and the image cannot be read.
    """
    try:
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        raise DatasetError(_explained(error)) from error
    if (line.pseudo_mask is None) != (line.pseudo is None):
        missing, present = ("pseudo", "pseudo_mask") if line.pseudo is None else ("pseudo_mask", "pseudo")
        raise DatasetError(f"field '{missing}' is missing: it belongs to '{present}'")
    width, height = line.width, line.height
    if width is None or height is None:
        width, height = image_size(Path(folder) / line.image)
    record = ImageRecord(
        image=line.image,
        width=width,
        height=height,
        label=line.label,
        boxes=tuple(Box(*region.box) for region in line.regions),
        mask=line.mask,
        pseudo=_pseudo_mask(line),
        split=line.split,
        group=line.group,
        kind=line.kind,
        seconds=line.seconds,
        review=line.review,
        skipped=line.skipped,
    )
    check_record(record)
    if line.skipped and not record.skipped:
        raise DatasetError("field 'skipped': an image that has regions or is authentic was not skipped")
    return record


def write_manifest(dataset: Dataset, stream: IO[str], base: str | Path | None = None) -> int:
    """Write the manifest of a dataset and return the number of lines.

    Args:
        dataset: what to write.
        stream: where to, as text.
        base: the folder that paths are relative to; None for the dataset's own.
    """
    lines = 0
    moved = _mover(dataset.path, base)
    for record in dataset.records():
        line = record_to_json(record)
        for key in ("image", "mask", "pseudo_mask"):
            if key in line:
                line[key] = moved(line[key])
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines += 1
    return lines


def read_manifest(
    path: str | Path,
    *,
    base: str | Path | None = None,
    on_error: Callable[[DatasetError], None] | None = None,
) -> Iterator[ImageRecord]:
    """Yield the records of a manifest, with paths as they stand in it.

    Args:
        path: the file.
        base: the folder that its paths are relative to, to look up sizes that it lacks; None for the file's own.
        on_error: called for each malformed line, which is then left out; None to raise at the first one.

    Raises:
        DatasetError: the file cannot be read, or a line is malformed: the message names file, line and field.
    """
    return (record for _, record in read_lines(path, base=base, on_error=on_error))


def read_lines(
    path: str | Path,
    *,
    base: str | Path | None = None,
    on_error: Callable[[DatasetError], None] | None = None,
) -> Iterator[tuple[int, ImageRecord]]:
    """As `read_manifest`, each record with the number of its line."""
    path = Path(path)
    seen: dict[str, int] = {}
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                record = record_from_json(text, base or path.parent)
                first = seen.setdefault(record.image, number)
                if first != number:
                    raise DatasetError(f"field 'image': {record.image!r} stands in line {first} as well")
            except BoxPromptError as error:
                located = DatasetError(f"{path}:{number}: {error}")
                if on_error is None:
                    raise located from error
                on_error(located)
                continue
            yield number, record


def _pseudo_mask(line: _Line) -> PseudoMask | None:
    if line.pseudo is None or line.pseudo_mask is None:
        return None
    # The model's field names are those of the record.
    return PseudoMask(path=line.pseudo_mask, **dict(line.pseudo))


def _mover(path_of: Callable[[str], Path], base: str | Path | None) -> Callable[[str], str]:
    if base is None:
        return lambda name: name
    return lambda name: relative_path(path_of(name), Path(base))


def _explained(error: ValidationError) -> str:
    """Pydantic's errors on one line, each with its field."""
    return "; ".join(_explained_one(dict(problem)) for problem in error.errors(include_url=False)[:3])


def _explained_one(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return f"not a JSON object ({problem['ctx']['error']})"
        case "extra_forbidden":
            *parents, key = problem["loc"]
            known = _keys(parents)
            near = get_close_matches(str(key), known, n=1)
            return f"unknown field '{where}'; " + (
                f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
            )
        case "missing":
            return f"field '{where}' is missing"
        case _:
            at = f"field '{where}': " if where else ""
            return f"{at}{problem['msg'][0].lower()}{problem['msg'][1:]}, not {json.dumps(problem['input'])[:60]}"


def _keys(parents: list[int | str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"regions": _Region, "pseudo": _Pseudo}
    return list(models.get(str(parents[0]), _Line).model_fields if parents else _Line.model_fields)
