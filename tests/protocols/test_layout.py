"""Sets are found by name under a folder, or where a mapping says."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxpromptiml.errors import DatasetError
from boxpromptiml.protocols import Protocol, find_sets, read_places

PROTOCOL = Protocol.model_validate(
    {
        "name": "p",
        "title": "t",
        "source": "s",
        "sets": [
            {"name": "Alpha", "role": "train"},
            {"name": "Beta", "role": "test"},
            {"name": "Gamma", "role": "ood"},
        ],
    }
)


def test_folders_and_lists_are_found_whatever_the_case_of_letters(tmp_path: Path) -> None:
    (tmp_path / "alpha").mkdir()
    (tmp_path / "BETA.json").write_text("[]")
    assert find_sets(PROTOCOL, tmp_path) == {
        "Alpha": tmp_path / "alpha",
        "Beta": tmp_path / "BETA.json",
        "Gamma": None,
    }


def test_two_entries_that_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Alpha").mkdir()
    (tmp_path / "alpha.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"Alpha and alpha.json both fit the set Alpha; say which with --sets"):
        find_sets(PROTOCOL, tmp_path)


def test_a_mapping_wins_and_is_relative_to_its_file(tmp_path: Path) -> None:
    for folder in ("root/Alpha", "elsewhere/a"):
        (tmp_path / folder).mkdir(parents=True)
    mapping = tmp_path / "elsewhere" / "sets.yaml"
    mapping.write_text("alpha: a\n")
    found = find_sets(PROTOCOL, tmp_path / "root", read_places(mapping))
    assert found == {"Alpha": tmp_path / "elsewhere" / "a", "Beta": None, "Gamma": None}


def test_a_mapping_to_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/a/tpyo: no such file or folder, though --sets says that Beta is there"):
        find_sets(PROTOCOL, tmp_path, {"beta": tmp_path / "a" / "tpyo"})


def test_a_mapping_of_unknown_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--sets names 'Delta'; p has Alpha, Beta, Gamma"):
        find_sets(PROTOCOL, tmp_path, {"Delta": "d"})


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        find_sets(PROTOCOL, tmp_path / "root")


@pytest.mark.parametrize("content", ["- a\n", "alpha: [1]\n", "a: b: c\n", "alpha:\n"])
def test_mappings_that_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sets.yaml"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"sets\.yaml"):
        read_places(path)
