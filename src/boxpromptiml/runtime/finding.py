"""Which model folder is meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from boxpromptiml.errors import ModelError
from boxpromptiml.models import DEFAULT_NAME, NAMES, hub_folder, is_hub_id, packaged_folder, packaged_names
from boxpromptiml.runtime.card import SUFFIXES, FileFormat, Precision, file_name, parse_name

_VARIABLE = "BOXPROMPTIML_MODEL"


class FoundModel(NamedTuple):
    """What a name stands for.

    Attributes:
        folder: the model folder.
        file: format and precision of the runtime file that was named; None: the folder was. It need not be there.
    """

    folder: Path
    file: tuple[FileFormat, Precision] | None


def is_there_a_model(model: str | Path | None) -> bool:
    """Whether `find_model` has something to look for: a model was given, the environment names one, or the package
    comes with one."""
    return bool(model) or bool(os.environ.get(_VARIABLE)) or DEFAULT_NAME in packaged_names()


def find_model(model: str | Path | None = None) -> Path:
    """The model folder to use.

    Args:
        model: the name of a packaged model, as ``default``; a folder, or a runtime file in one; or a hub id,
            ``owner/name`` or ``owner/name@revision``, which is downloaded once. None takes the environment variable
            ``BOXPROMPTIML_MODEL``, or else ``default``. A folder of one of those names is ``./default``.

    Raises:
        ModelError: there is no such model.
        MissingExtraError: a hub id without huggingface_hub.
    """
    return resolve_model(model).folder


def resolve_model(model: str | Path | None = None) -> FoundModel:
    """As `find_model`, with the runtime file where one was named, by `model` or by the environment variable."""
    if model == "":
        raise ModelError("an empty name is no model; leave --model out for the packaged one")
    if not is_there_a_model(model):
        raise ModelError(
            f"no model: this version of the package comes without one; give --model FOLDER or set {_VARIABLE}; "
            "`boxpromptiml demo` makes a small one in minutes, `boxpromptiml train` makes your own"
        )
    chosen = model or os.environ.get(_VARIABLE) or DEFAULT_NAME
    if isinstance(chosen, str) and chosen in NAMES:
        return FoundModel(packaged_folder(chosen), None)
    path = Path(chosen)
    # Not `Path.is_dir`, which fails for a name that is too long for any file.
    file = None if os.path.isdir(path) else parse_name(path.name)
    folder = path if file is None else path.parent
    if os.path.isdir(folder):
        return FoundModel(folder, file)
    if isinstance(chosen, str) and is_hub_id(chosen):
        return FoundModel(hub_folder(chosen), None)
    if os.path.isfile(path):
        remedy = "name the folder that has its config.json"
        runtime = next((form for form, suffix in SUFFIXES.items() if suffix == path.suffix), None)
        if runtime is not None:
            remedy += f", or put the file into that folder as {file_name(runtime, 'fp32')}"
        raise ModelError(f"{chosen}: a file, and no model folder; {remedy}")
    names = ", ".join(packaged_names()) or "none"
    raise ModelError(f"{chosen}: no such model folder (packaged models: {names}); `boxpromptiml train` makes one")
