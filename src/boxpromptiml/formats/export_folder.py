"""The folder of an export: filled beside its place and renamed, so that it is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from boxpromptiml.errors import DatasetError
from boxpromptiml.files import try_lock, write_json
from boxpromptiml.formats.marker import MARKER, marker_of


@contextmanager
def export_folder(out: Path, format: str, dataset: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it becomes `out`, on failure it is removed.

    What an export that was killed has left behind is removed by the next one to the same place.

    Args:
        out: must not exist or be empty, or with `overwrite` be an earlier export of the same format and dataset.
        format: name of the format.
        dataset: the dataset's folder.
        overwrite: replace an earlier export; edits made in it are lost.

    Raises:
        DatasetError: `out` holds something else, or another process is writing it.
    """
    check_folder(out, format, dataset, overwrite=overwrite)
    target = Path(os.path.abspath(out))
    partial = target.with_name(f".{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir(exist_ok=True)
    with (partial / ".lock").open("a+b") as lock:
        if not try_lock(lock):
            raise DatasetError(f"{out}: another process is exporting to it; wait for it, or give another folder")
        _emptied(partial)
        try:
            yield partial
            write_json(partial / MARKER, {"format": format, "dataset": os.fspath(dataset)})
            # Again: meanwhile somebody may have put something there.
            check_folder(out, format, dataset, overwrite=overwrite)
            (partial / ".lock").unlink()
            _put(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def check_folder(out: Path, format: str, dataset: Path, *, overwrite: bool) -> None:
    """Refuse a folder that an export must not replace; see `export_folder`."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise DatasetError(f"{out}: is a file; an export is a folder")
    if not any(out.iterdir()):
        return
    marker = marker_of(out)
    if not marker:
        raise DatasetError(f"{out}: holds something else than an export; give a new or an empty folder")
    if (marker["format"], marker.get("dataset")) != (format, os.fspath(dataset)):
        raise DatasetError(f"{out}: is an export of {marker.get('dataset')} as {marker['format']}; give another folder")
    if not overwrite:
        raise DatasetError(f"{out}: is there already; --overwrite replaces it, and with it what was edited in it")


def _put(partial: Path, target: Path) -> None:
    """Rename `partial` to `target`; an earlier export goes aside first, and away afterwards."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.is_dir():
        if target.is_symlink():
            target = Path(os.path.realpath(target))
        os.rename(target, old)
    try:
        os.rename(partial, target)
    except OSError:
        with suppress(OSError):
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _emptied(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == ".lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
