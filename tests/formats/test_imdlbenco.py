from __future__ import annotations

import json
from pathlib import Path

import pytest

from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.imdlbenco import read_json_list
from boxpromptiml.formats.source import Candidate


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_pairs_and_negatives(tmp_path: Path) -> None:
    listed = write(
        tmp_path / "lists" / "all.json", [["a.jpg", "a.png"], ["/abs/b.jpg", "Negative"], ["a.jpg", "a.png"]]
    )
    assert read_json_list(listed).candidates == (
        Candidate(tmp_path / "lists" / "a.jpg", tmp_path / "lists" / "a.png", "tampered", label_by_mask=True),
        Candidate(Path("/abs/b.jpg"), None, "authentic"),
    )


def test_one_image_with_two_masks_is_a_mismatch(tmp_path: Path) -> None:
    listed = write(tmp_path / "all.json", [["a.jpg", "a.png"], ["b.jpg", "b.png"], ["a.jpg", "Negative"]])
    read = read_json_list(listed)
    assert [candidate.image.name for candidate in read.candidates] == ["b.jpg"]
    assert str(read.mismatches[0]) == f"{tmp_path / 'a.jpg'}: is listed in entries 1 and 3 with different masks"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "not JSON"),
        ({"a.jpg": "a.png"}, 'expected a list [["image", "mask"]'),
        ([["a.jpg", "a.png"], ["b.jpg"]], 'entry 2 is ["b.jpg"], expected ["image", "mask"]'),
        ([["a.jpg", None]], "entry 1 is"),
        ([["a.jpg", ""]], "entry 1 is"),
        (["a.jpg"], 'entry 1 is "a.jpg"'),
    ],
)
def test_what_is_no_list_of_pairs_is_named(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_json_list(write(tmp_path / "all.json", content))
    assert message in str(caught.value)
    assert str(tmp_path / "all.json") in str(caught.value)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_json_list(tmp_path / "all.json")
