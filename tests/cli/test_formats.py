from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from boxpromptiml.cli.main import main
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.regions import Box


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("export-boxes", folder, ...)`` runs the command line in this process."""

    def call(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["boxpromptiml", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset with a boxed, an authentic and a skipped image."""
    (tmp_path / "photos").mkdir()
    for name in "abc":
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / f"{name}.png")
    with Dataset.create(tmp_path / "data") as made:
        made.put(
            [
                ImageRecord("../photos/a.png", 40, 30, label="tampered", boxes=(Box(1, 2, 3, 4), Box(5, 5, 40, 30))),
                ImageRecord("../photos/b.png", 40, 30, label="authentic"),
                ImageRecord("../photos/c.png", 40, 30, skipped=True),
            ]
        )
    return tmp_path / "data"


def test_there_and_back(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("export-boxes", data, "--format", "coco", "-o", out)
    assert done.out == (
        f"{out}: 3 images as coco (1 with boxes, 1 authentic, 1 skipped), 2 boxes, 0 masks\n"
        f"image names are relative to {tmp_path / 'photos'}\n"
    )
    done = run("import", out / "annotations.json", "-o", tmp_path / "again", "--images", tmp_path / "photos")
    assert done.code == 0
    assert "3 images from COCO file (1 tampered, 1 authentic, 1 without a label)" in done.out
    with Dataset.open(tmp_path / "again") as again, Dataset.open(data) as before:
        assert [record.boxes for record in again.records()] == [record.boxes for record in before.records()]
        assert [record.state for record in again.records()] == ["boxed", "authentic", "skipped"]


def test_what_is_lost_is_said(run: Run, data: Path, tmp_path: Path) -> None:
    done = run("export-boxes", data, "--format", "yolo", "-o", tmp_path / "out", "--images", "link")
    assert "1 skipped: comes back as not annotated\n" in done.out
    done = run("export-boxes", data, "--format", "yolo", "-o", tmp_path / "out", "--json", "--overwrite")
    assert json.loads(done.out)["lost"] == {"skipped: comes back as not annotated": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "folders"), "folders consists of masks: say which with --masks true or --masks pseudo"),
        (("--format", "coco", "--prefix", "x"), "--prefix is for label-studio only"),
        (("--format", "yolo", "--images", "reference"), "yolo needs its images in its own folders"),
    ],
)
def test_an_export_that_cannot_be(run: Run, data: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = run("export-boxes", data, "-o", tmp_path / "out", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err


def test_malformed_entries_are_lines_of_their_own(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    entries = [{"id": i, "image_id": 1, "bbox": [1, 2, "x", 4]} for i in range(2)]
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.png"}], "annotations": entries}))
    done = run("import", file, "-o", tmp_path / "data")
    assert done.code == 2
    assert done.err.splitlines() == [
        f'{file}: annotations[0].bbox[2] (id 0): input should be a valid number, got "x"',
        f'{file}: annotations[1].bbox[2] (id 1): input should be a valid number, got "x"',
        f"error: {file}: 2 entries are malformed, nothing was imported",
    ]
    assert not (tmp_path / "data").exists()


def test_options_of_annotations_are_not_for_manifests(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"image": "a", "width": 1, "height": 1}')
    done = run("import", tmp_path / "m.jsonl", "-o", tmp_path / "data", "--tampered", "x")
    assert (done.code, "are not for manifests" in done.err) == (2, True)
