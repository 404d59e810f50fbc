from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import is_manifest, read_source


def test_the_format_is_chosen_by_what_is_there(source: Path, paint: Callable[..., Path]) -> None:
    paint("a.png")
    assert read_source(source).format == "folder of images"
    paint("Tp/a.png")
    assert read_source(source).format == "Tp folders"
    paint("Gt/a.png")
    paint("Au/b.png")
    Dataset.create(source).close()  # the dataset may live in the folder of its images
    assert read_source(source).format == "Tp+Gt+Au folders"
    (source / "list.JSON").write_text('[["a.png", "Negative"]]')
    assert read_source(source / "list.JSON").format == "IMDLBenCo list"
    assert is_manifest(source / "m.jsonl")
    assert not is_manifest(source / "list.JSON")


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _text(folder: Path) -> Path:
    (_empty(folder) / "a.txt").touch()
    return folder / "a.txt"


def _dataset(folder: Path) -> Path:
    Dataset.create(folder).close()
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "no such file or folder"),
        (_empty, r"no images in it; give a folder with Tp/ .* Gt/ .* IMDLBenCo list .* manifest"),
        (_text, r"a\.txt: not a format that is read; give a folder with Tp/"),
        (_dataset, "is a dataset already"),
    ],
)
def test_what_is_accepted_is_said_when_nothing_is_recognised(
    source: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_source(make(source))
