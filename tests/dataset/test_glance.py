"""What a dataset names is read without anything being written beside it, whoever else is at work there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.dataset.glance import image_names, mask_names
from boxpromptiml.dataset.schema import DATABASE


def test_what_is_named_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    with Dataset.create(tmp_path) as dataset:
        dataset.put(ImageRecord("a.jpg", 4, 3, label="tampered", mask="truth/a.png"))
        dataset.put(ImageRecord("b.jpg", 4, 3))
        assert mask_names(tmp_path) == ["truth/a.png"], "while somebody writes, what is in the log counts"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert mask_names(tmp_path) == ["truth/a.png"]
    assert sorted(image_names(tmp_path, 10)) == ["a.jpg", "b.jpg"]
    assert len(image_names(tmp_path, 1)) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_what_is_no_dataset_is_an_error_and_stays_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(sqlite3.Error):
        mask_names(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if content is None else [content])
