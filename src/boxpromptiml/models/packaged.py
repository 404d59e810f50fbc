"""The models that come with the package, in folders of this room: ``default``; ``paper`` has its name kept."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from boxpromptiml.errors import ModelError

DEFAULT_NAME = "default"
NAMES = (DEFAULT_NAME, "paper")
CARD_NAME = "card.json"
_CONFIG_NAME = "config.json"  # a folder with one is a model


def packaged_root() -> Path:
    """The folder of the packaged models; wheels are unpacked when they are installed, so it is a real one."""
    return Path(str(files(__package__)))


def packaged_names() -> list[str]:
    """The names whose models this installation has."""
    root = packaged_root()
    return [name for name in NAMES if (root / name / _CONFIG_NAME).is_file()]


def packaged_folder(name: str) -> Path:
    """The folder of a packaged model.

    Raises:
        ModelError: this installation does not have it.
    """
    there = packaged_names()
    if name in there:
        return packaged_root() / name
    have = f"it has {', '.join(there)}" if there else "it comes without any; `boxpromptiml demo` makes one in minutes"
    raise ModelError(
        f"no model {name!r} in this installation: {have}; give --model FOLDER (a folder of that name is ./{name})"
    )


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as the card in a model folder has it; empty where there is no card.

    Raises:
        ModelError: the card cannot be read.
    """
    path = folder / CARD_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {str(file["name"]): str(file["sha256"]) for file in raw["files"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is damaged; install the model again, or remove the card") from error
