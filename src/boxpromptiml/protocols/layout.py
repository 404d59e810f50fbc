"""Where the sets of a protocol lie on a disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boxpromptiml.errors import DatasetError, MissingExtraError
from boxpromptiml.protocols.model import Protocol


def find_sets(
    protocol: Protocol, root: str | Path, places: Mapping[str, str | Path] | None = None
) -> dict[str, Path | None]:
    """Find each set: where `places` says, otherwise ``ROOT/<set>`` (Tp, Gt, Au) or ``ROOT/<set>.json``.

    The case of letters in a set's name does not matter.

    Args:
        protocol: whose sets.
        root: the folder.
        places: paths of some or all sets; relative ones are relative to `root`.

    Returns:
        For every set of the protocol, in order, its path; None where there is nothing.

    Raises:
        DatasetError: `root` is no folder, `places` names an unknown set or a path that is not there, or two entries fit
            one set.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give the folder that holds the protocol's sets as --root")
    given = {name.lower(): root / path for name, path in (places or {}).items()}
    known = {item.name.lower() for item in protocol.sets}
    for name in places or {}:
        if name.lower() not in known:
            raise DatasetError(
                f"--sets names {name!r}; {protocol.name} has {', '.join(item.name for item in protocol.sets)}"
            )
    entries: dict[str, list[Path]] = {}
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            entries.setdefault(entry.name.lower(), []).append(entry)
        elif entry.suffix.lower() == ".json":
            entries.setdefault(entry.stem.lower(), []).append(entry)
    found: dict[str, Path | None] = {}
    for item in protocol.sets:
        key = item.name.lower()
        if key in given:
            if not given[key].exists():
                raise DatasetError(
                    f"{given[key]}: no such file or folder, though --sets says that {item.name} is there; correct the "
                    "path, or leave the set out"
                )
            found[item.name] = given[key]
            continue
        fitting = entries.get(key, [])
        if len(fitting) > 1:
            names = " and ".join(entry.name for entry in fitting)
            raise DatasetError(f"{root}: {names} both fit the set {item.name}; say which with --sets, or rename one")
        found[item.name] = fitting[0] if fitting else None
    return found


def read_places(path: str | Path) -> dict[str, Path]:
    """Read a mapping file, ``set: path``, YAML or JSON; relative paths are relative to the file.

    Raises:
        DatasetError: the file cannot be read or is no such mapping.
        MissingExtraError: a YAML file without PyYAML.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DatasetError(f"{path}: cannot be read ({reason}); write one `set: path` per line") from error
    raw = _parsed(path, text)
    if not isinstance(raw, dict) or not all(isinstance(v, str) and v and isinstance(k, str) for k, v in raw.items()):
        raise DatasetError(f"{path}: expected one `set: path` per line, such as  CASIAv1: /data/CASIA1.0")
    return {name: (path.parent / place).absolute() for name, place in raw.items()}


def _parsed(path: Path, text: str) -> Any:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise DatasetError(f"{path}: not JSON ({error})") from error
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("pyyaml", "train") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: not YAML ({str(error).splitlines()[0]})") from error
