"""What the user named, made into a list of image files: files, folders, globs, and paths on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import find_images


class InputImage(NamedTuple):
    """One image to look at.

    Attributes:
        path: as given, or as found below a folder that was given.
        relative: where its outputs go below the output folder, without suffix: the place below the given folder, or
            the bare name of a file that was given by itself.
    """

    path: Path
    relative: str


class InputError(BoxPromptError):
    """Nothing to work on: a name that leads nowhere, or an empty folder."""


def expand_inputs(
    inputs: Sequence[str], *, out: Path | None = None, lines: Iterable[str] | None = None
) -> list[InputImage]:
    """Expand files, folders (recursively), quoted globs and ``-`` to images: in order, each once.

    A file that is named is taken whatever its suffix; if it is no image, it costs an error line. Folders give their
    files with an image suffix, sorted, hidden ones left out.

    Args:
        inputs: what the user named.
        out: output folder; files below it are results of an earlier run and are left out of folders and globs.
        lines: where ``-`` reads one path a line; a path there that leads nowhere is kept, and costs an error line.

    Raises:
        InputError: a name that leads nowhere, a folder or glob without images, or no input at all.
    """
    found: dict[str, InputImage] = {}
    for name in inputs:
        images = list(_from_lines(lines or ()) if name == "-" else _expanded(name, out))
        if not images:
            raise InputError("standard input: no paths there" if name == "-" else f"{name}: no images there")
        for image in images:
            found.setdefault(os.path.normpath(image.path), image)
    if not found:
        raise InputError("no input: name files, folders, quoted globs, or - for a list on standard input")
    return list(found.values())


def _expanded(name: str, out: Path | None) -> Iterator[InputImage]:
    path = Path(name)
    if path.is_dir():
        for image in find_images(path):
            if not _below(image, out):
                yield InputImage(image, image.relative_to(path).with_suffix("").as_posix())
    elif path.exists():
        yield InputImage(path, path.stem)
    elif glob.has_magic(name):
        root = _fixed_part(name)
        for match in sorted(glob.glob(name, recursive=True)):
            file = Path(match)
            if file.is_file() and not _below(file, out):
                yield InputImage(file, file.relative_to(root).with_suffix("").as_posix())
    else:
        raise InputError(f"{name}: no such file or folder")


def _from_lines(lines: Iterable[str]) -> Iterator[InputImage]:
    for line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            path = Path(text)
            yield InputImage(path, path.stem)


def _fixed_part(pattern: str) -> Path:
    """The folders of a glob before its first wildcard."""
    parts = Path(pattern).parts
    fixed = [part for i, part in enumerate(parts[:-1]) if not any(glob.has_magic(p) for p in parts[: i + 1])]
    return Path(*fixed)


def _below(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())
