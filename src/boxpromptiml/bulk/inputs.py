"""What the user named, made into a stream of images: files, folders, globs, lists, archives, tables and URLs."""

from __future__ import annotations

import glob
import io
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from boxpromptiml import storage
from boxpromptiml.bulk.datasets import lists_images
from boxpromptiml.bulk.folders import LeftOut, files_below
from boxpromptiml.bulk.names import RESULTS_NAME, RUN_NAME, is_result
from boxpromptiml.bulk.seen import Seen
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import IMAGE_SUFFIXES, UNREAD_SUFFIXES

TAR_SUFFIXES = frozenset({".tar", ".tar.gz", ".tgz"})
TABLE_SUFFIXES = frozenset({".parquet"})
LIST_SUFFIXES = frozenset({".txt", ".lst"})
MANIFEST_SUFFIXES = frozenset({".jsonl"})

_WEB = re.compile("https?://", re.IGNORECASE)

Kind = Literal["image", "tar", "parquet"]
_KINDS: dict[str, Kind | Literal["list"]] = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(TAR_SUFFIXES, "tar"),
    **dict.fromkeys(TABLE_SUFFIXES, "parquet"),
    **dict.fromkeys(LIST_SUFFIXES | MANIFEST_SUFFIXES, "list"),
}


class Source(NamedTuple):
    """Where one image is, or many: an image file, or a container of images.

    Attributes:
        kind: ``image``, ``tar`` (webdataset) or ``parquet``.
        name: path or URL as given, or as found below a folder that was given.
        relative: where its outputs go below the output folder, without suffix: the place below the given folder, or
            the bare name of a file that was given by itself.
    """

    kind: Kind
    name: str
    relative: str


class InputError(BoxPromptError):
    """Nothing to work on: a name that leads nowhere, or an empty folder."""


def expand_inputs(
    inputs: Sequence[str],
    *,
    out: str | None = None,
    lines: Iterable[str] | None = None,
    left_out: LeftOut | None = None,
) -> Iterator[Source]:
    """Stream files, folders (recursively), globs, lists, archives, tables and ``-`` as sources: in order, each once.

    A file that is named is taken whatever its suffix; if it is no image, it costs an error line. Folders give their
    files with an image suffix, sorted, but for hidden ones, results of earlier runs and masks (see `files_below`); a
    folder without any gives its archives and tables. A list (``.txt``, ``.lst``: a path or URL a line; ``.jsonl``: a
    manifest) stands for what it names, relative to its own folder. Any of them may be a URL that fsspec
    reads. Names are not held in memory: they are told apart in a database on disk.

    Args:
        inputs: what the user named.
        out: output folder or URL; what an earlier run has written there is left out of globs, too, which otherwise
            give all that they lead to.
        lines: where ``-`` reads one path a line; a path there that leads nowhere is kept, and costs an error line.
        left_out: counts what is not looked at.

    Raises:
        InputError: a name that leads nowhere, a folder, glob or list without images, or no input at all; an empty name.
        StorageError: a URL that cannot be reached, or that needs a package which is not installed.
        MissingExtraError: a URL, and fsspec is not installed.
    """
    if not inputs:
        raise InputError("no input: name files, folders, quoted globs, lists, or - for a list on standard input")
    # Paths would take them for the working folder: an unset variable in a script is more likely.
    if not all(name.strip() for name in inputs):
        raise InputError("an input has an empty name; the working folder is called .")
    if out is not None and not out.strip():
        raise InputError("the name of the output folder is empty; the working folder is called .")
    left_out = LeftOut() if left_out is None else left_out
    with Seen() as seen:
        for name in inputs:
            empty, here = True, LeftOut()
            for source in _from_lines(lines or ()) if name == "-" else _expanded(name, out, here):
                empty = False
                if seen.is_new(_identity(source.name)):
                    yield source
            if empty:
                raise InputError(_nothing(name, here))
            left_out.add(here)


def _nothing(name: str, left_out: LeftOut) -> str:
    if name == "-":
        return "standard input: no paths there"
    text = f"{name}: no images there"
    if unread := left_out.unread_text():
        text += f" that are read, only {unread}"
    if others := left_out.others_text():
        text += f"{' and' if unread else ', only'} {others}"
    if left_out.dataset and lists_images(left_out.dataset):
        return (
            f"{text}; to look at the images that the dataset {left_out.dataset} lists elsewhere, run  boxpromptiml "
            f"manifest {shlex.quote(left_out.dataset)} -o m.jsonl; boxpromptiml localize m.jsonl --out OUT"
        )
    if left_out.first:
        text += f"; what is left out is looked at where it is named itself: {left_out.first}"
    return text


def _identity(name: str) -> str:
    """What a name has in common with its other spellings."""
    if storage.is_url(name):
        return name
    # No Path of every name: their parts stay in memory.
    return os.path.normpath(str(storage.local_path(name)) if name.startswith("file://") else name)


def _expanded(name: str, out: str | None, left_out: LeftOut) -> Iterator[Source]:
    is_url = storage.is_url(name)
    if is_url:
        storage.check_driver(name)  # or every image would be told of it
    if is_url and "*" in _place_of(name):
        yield from _from_glob_of_urls(name, out, left_out)
    elif is_url and _kind(name) is not None:
        yield from _from_file(name)  # taken at its word: asking a store for every name would cost a round trip
    elif storage.is_folder(name):
        yield from _from_folder(name, left_out)
    elif storage.is_file(name):
        yield from _from_file(name)
    elif not is_url and glob.has_magic(name):
        yield from _from_glob(name, out, left_out)
    else:
        raise InputError(f"{name}: no such file or folder")


def _kind(name: str) -> Kind | Literal["list"] | None:
    return _KINDS.get(storage.suffix_of(name))


def _place_of(url: str) -> str:
    """A URL without what a web address asks behind ``?``, where a signature may hold any character."""
    return url.partition("?")[0] if _WEB.search(url) else url


def _source(name: str, relative: str | None = None) -> Source:
    kind = _kind(name)
    if relative is None:
        relative = os.path.splitext(name.rstrip("/").rsplit("/", 1)[-1])[0]
    return Source(kind if kind == "tar" or kind == "parquet" else "image", name, relative)


def _from_file(name: str) -> Iterator[Source]:
    if _kind(name) == "list":
        yield from _from_list(name)
    else:
        yield _source(name)


def _from_folder(folder: str, left_out: LeftOut) -> Iterator[Source]:
    root = folder if storage.is_url(folder) else str(storage.local_path(folder))
    for suffixes in (IMAGE_SUFFIXES | UNREAD_SUFFIXES, TAR_SUFFIXES | TABLE_SUFFIXES):
        empty = True
        for name in files_below(root, suffixes, left_out):
            empty = False
            yield _source(name, os.path.splitext(_below(name, root))[0])
        if not empty:
            break


def _below(name: str, root: str) -> str:
    """The part of a name below a folder of the walk that found it."""
    return name if root == "." else name[len(root.rstrip("/")) :].lstrip("/").replace(os.sep, "/")


class _Results:
    """What an earlier run has left in the output folder, of the files that a glob leads to.

    Args:
        root: the folder of the glob.
        out: the output folder; None: there is none.
        left_out: counts what was asked for and is there.
    """

    def __init__(self, root: str, out: str | None, left_out: LeftOut) -> None:
        self._place = None if out is None else _place(root, out)
        self._left_out = left_out
        self._of_runs = (
            {name: storage.is_file(f"{out.rstrip('/')}/{name}") for name in (RESULTS_NAME, RUN_NAME)}
            if out is not None and self._place is not None
            else {}
        )

    def leave_out(self, name: str, inner: str) -> bool:
        """Whether a file, by its place below the folder, with forward slashes, is a result; then it is counted."""
        if self._place is None or (self._place and not inner.startswith(f"{self._place}/")):
            return False
        place = inner[len(self._place) :].lstrip("/")
        found = is_result(place) and self._of_runs[RESULTS_NAME if "/" in place else RUN_NAME]
        if found:
            self._left_out.add_results(name, 1)
        return found


def _place(root: str, out: str) -> str | None:
    """Where the output folder is below a folder, with forward slashes; None if it is not in there, "" if it is it."""
    if storage.is_url(out) != storage.is_url(root):
        return None
    if storage.is_url(out):
        root, out = _usual(root).rstrip("/") + "/", _usual(out).rstrip("/") + "/"
        return out[len(root) :].rstrip("/") if out.startswith(root) else None
    folder, results = storage.local_path(root).resolve(), storage.local_path(out).resolve()
    if not results.is_relative_to(folder):
        return None
    return "" if results == folder else results.relative_to(folder).as_posix()


def _from_glob(pattern: str, out: str | None, left_out: LeftOut) -> Iterator[Source]:
    root = _fixed_part(pattern)
    results = _Results(str(root), out, left_out)
    for match in sorted(glob.glob(pattern, recursive=True)):
        file = Path(match)
        inner = file.relative_to(root)
        if file.is_file() and not results.leave_out(match, inner.as_posix()):
            yield _source(str(file), inner.with_suffix("").as_posix())


def _from_glob_of_urls(pattern: str, out: str | None, left_out: LeftOut) -> Iterator[Source]:
    root = pattern[: pattern.index("*")].rpartition("/")[0]
    results = _Results(root, out, left_out)
    for name in storage.matches(pattern):
        if not results.leave_out(name, _below(_usual(name), _usual(root))):
            yield _source(name)


def _usual(url: str) -> str:
    """A URL with two slashes before its first part: some file systems list their files with three."""
    scheme, _, rest = url.partition(":")
    return f"{scheme}://{rest.lstrip('/')}"


def _from_lines(lines: Iterable[str], folder: str = "") -> Iterator[Source]:
    for line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            name = storage.joined(folder, text)
            if storage.is_url(name):
                _check_driver(name)
            yield _source(name)


def _check_driver(url: str) -> None:
    """As `storage.check_driver`; but a kind of URL that nobody knows costs its own line an error, as any wrong name."""
    try:
        storage.check_driver(url)
    except storage.MissingDriverError:
        raise
    except storage.StorageError:
        pass


def _from_list(name: str) -> Iterator[Source]:
    folder = storage.folder_of(name)
    with io.TextIOWrapper(storage.open_stream(name), encoding="utf-8-sig", errors="surrogateescape") as lines:
        if storage.suffix_of(name) in MANIFEST_SUFFIXES:
            yield from _from_lines(_manifest_images(name, lines), folder)
        else:
            yield from _from_lines(lines, folder)


def _manifest_images(name: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            image = json.loads(line)["image"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{name}: line {number} is no line of a manifest ({{"image": ...}})') from error
        if not isinstance(image, str) or not image:
            raise InputError(f"{name}: line {number}: image must be a path")
        yield image


def _fixed_part(pattern: str) -> Path:
    """The folders of a glob before its first wildcard."""
    parts = Path(pattern).parts
    fixed = [part for i, part in enumerate(parts[:-1]) if not any(glob.has_magic(p) for p in parts[: i + 1])]
    return Path(*fixed)
