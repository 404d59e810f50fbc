"""Whole lines, in order, whatever happened."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from boxpromptiml.bulk import LeftOut
from boxpromptiml.bulk.results import ResultsFile, Summary
from boxpromptiml.errors import BoxPromptError

WANTED = {"sha256": "s", "model": "m", "threshold": 0.5, "mask": None, "heatmap": None, "overlay": None}


def line(image: str, **changes: Any) -> dict[str, Any]:
    return {"image": image, **WANTED, "score": 0.1, **changes}


def images(folder: Path) -> list[str]:
    text = (folder / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(row)["image"] for row in text.splitlines()]


def write(folder: Path, *lines: dict[str, Any]) -> None:
    results = ResultsFile.open(folder)
    for one in lines:
        results.append(one)
    results.close()


def test_lines_are_there_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    results = ResultsFile.open(tmp_path / "new" / "folder")
    results.append(line("a"))

    assert images(tmp_path / "new" / "folder") == ["a"]
    results.close()


def test_a_run_that_ended_before_it_began_leaves_no_results(tmp_path: Path) -> None:
    write(tmp_path)
    assert not list(tmp_path.iterdir())
    # What was written before its line tells the next run that it is ours.
    results = ResultsFile.open(tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").touch()
    results.close()
    assert images(tmp_path) == []
    write(tmp_path, line("a"))
    assert images(tmp_path) == ["a"]
    # No images are an answer, too.
    ResultsFile.open(tmp_path / "none").finish([])
    assert images(tmp_path / "none") == []


def test_finish_keeps_order_and_other_images(tmp_path: Path) -> None:
    write(tmp_path, line("old"), line("b"), line("a"))
    results = ResultsFile.open(tmp_path)
    results.append(line("b", score=0.9))
    results.append(line("c"))

    results.finish(["a", "b", "c", "never done"])

    assert images(tmp_path) == ["old", "a", "b", "c"]
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[2])["score"] == 0.9


def test_finish_writes_an_image_that_is_named_twice_once(tmp_path: Path) -> None:
    results = ResultsFile.open(tmp_path)
    results.append(line("b"))
    results.append(line("a"))

    results.finish(["a", "b", "a"])

    assert images(tmp_path) == ["a", "b"]


def test_finish_leaves_an_ordered_file_as_it_is(tmp_path: Path) -> None:
    results = ResultsFile.open(tmp_path)
    results.append(line("a"))
    results.append(line("b"))
    inode = os.stat(results.path).st_ino

    results.finish(["a", "b"])

    assert os.stat(results.path).st_ino == inode


@pytest.mark.parametrize("rest", [b'{"image": "c", "sha', b"\0\0\0\0", b"{"])
def test_half_a_line_is_dropped(tmp_path: Path, rest: bytes) -> None:
    write(tmp_path, line("a"), line("b"))
    with (tmp_path / "results.jsonl").open("ab") as stream:
        stream.write(rest)

    write(tmp_path, line("d"))

    assert images(tmp_path) == ["a", "b", "d"]


@pytest.mark.parametrize("content", ["my notes\n", "[1]\n", '{"picture": "a"}\n'])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.jsonl").write_text(content)

    with pytest.raises(BoxPromptError, match="is no result; move the file away"):
        ResultsFile.open(tmp_path)
    assert (tmp_path / "results.jsonl").read_text() == content


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, True),
        ({"sha256": "other"}, False),
        ({"model": "other"}, False),
        ({"threshold": 0.6}, False),
        ({"mask": "masks/a.png"}, False),
    ],
)
def test_an_earlier_line_holds_for_the_same_question_only(tmp_path: Path, change: dict[str, Any], found: bool) -> None:
    write(tmp_path, line("a"))
    results = ResultsFile.open(tmp_path)

    assert results.finished("a", {**WANTED, **change}) == (line("a") if found else None)
    assert results.finished("b", WANTED) is None
    results.close()


def test_errors_and_missing_files_are_done_again(tmp_path: Path) -> None:
    write(tmp_path, {"image": "bad", "error": "is empty"}, line("a", mask="masks/a.png"))
    results = ResultsFile.open(tmp_path)
    wanted = {**WANTED, "mask": "masks/a.png"}

    assert results.finished("bad", WANTED) is None
    assert results.finished("a", wanted) is None
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"")  # what a power cut may leave
    assert results.finished("a", wanted) is None
    (tmp_path / "masks" / "a.png").write_bytes(b"png")
    assert results.finished("a", wanted) is not None
    results.close()


def test_outputs_never_share_a_name(tmp_path: Path) -> None:
    write(tmp_path, line("x/a.jpg", heatmap="heatmaps/deep/a.png"))
    results = ResultsFile.open(tmp_path)

    names = [results.output_name(image, "deep/a") for image in ("y/a.jpg", "x/a.jpg", "z/a.jpg", "y/a.jpg")]
    upper = results.output_name("X/A.jpg", "DEEP/A")  # the same file on a file system that folds case
    results.close()

    assert names[1] == "deep/a"  # it keeps the one that it had
    assert names[0] == names[3]
    assert len({name.casefold() for name in [*names, upper]}) == 4
    assert all(name.startswith("deep/a-") for name in (names[0], names[2]))


def test_long_names_leave_room_for_the_suffix(tmp_path: Path) -> None:
    results = ResultsFile.open(tmp_path)

    for stem in ("n" * 255, "漢" * 85):
        name = results.output_name(stem, f"folder/{stem}")
        assert name.startswith("folder/")
        assert len(os.fsencode(name.split("/")[1] + ".png")) <= 255
    results.close()


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_names_that_are_not_utf8_stay_readable_json(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    write(tmp_path, line(odd), line("grün.jpg"))

    assert images(tmp_path) == [odd, "grün.jpg"]
    assert "grün" in (tmp_path / "results.jsonl").read_text(encoding="utf-8")
    ResultsFile.open(tmp_path).close()


@pytest.mark.skipif(os.name == "nt", reason="Windows goes without the lock")
def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    first = ResultsFile.open(tmp_path)

    with pytest.raises(BoxPromptError, match="another run is writing to this folder"):
        ResultsFile.open(tmp_path)
    first.close()
    ResultsFile.open(tmp_path).close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(BoxPromptError, match="file"):
        ResultsFile.open(tmp_path / "file")


@pytest.mark.parametrize("folder", ["masks", "heatmaps", "overlays"])
def test_pictures_of_something_else_are_not_written_over(tmp_path: Path, folder: str) -> None:
    """Photos with a folder of true masks beside them are how data sets come."""
    truth = tmp_path / folder / "sub" / "a.png"
    truth.parent.mkdir(parents=True)
    truth.write_bytes(b"hours of work")

    with pytest.raises(BoxPromptError, match=r"a\.png: is in the way, and no result of an earlier run; choose another"):
        ResultsFile.open(tmp_path)
    assert truth.read_bytes() == b"hours of work"
    assert not (tmp_path / "results.jsonl").exists()


def test_pictures_that_a_killed_run_left_without_a_line_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").touch()
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"png")

    ResultsFile.open(tmp_path).close()


def test_summary_counts() -> None:
    summary = Summary(seconds=2.0, left_out=LeftOut(Counter({".heic": 2}), results=3))
    summary.add({"verdict": "tampered"}, skipped=False)
    summary.add({"verdict": "tampered"}, skipped=True)
    summary.add({"error": "x"}, skipped=False)
    summary.add({"verdict": "authentic"}, skipped=False)

    assert summary.to_json() == {
        "images": 4,
        "tampered": 2,
        "failed": 1,
        "skipped": 1,
        "seconds": 2.0,
        "images_per_second": 1.5,
        "unread": {".heic": 2},
        "left_out": {"results": 3, "masks": 0, "folders": 0},
    }
