from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "boxpromptiml.cli.main", "synthesize", *map(str, arguments)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small photographs and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(6):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=95)
    (folder / "notes.jpg").write_text("not an image")
    return folder


def test_a_dataset_is_made_and_reported(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "dataset"
    done = run(
        folder, "-o", output, "-n", "6", "--authentic", "2", "--size", "96x64", "--set", "kinds.splice=0", "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["made"], summary["kept"]) == (8, 0)
    assert summary["images"][""]["authentic"] == 2
    assert "splice" not in summary["images"][""]
    assert "notes.jpg" in done.stderr
    with Dataset.open(output) as dataset:
        assert {(record.width, record.height) for record in dataset.records()} == {(96, 64)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "2", "--size", "huge"], "--size huge: write it as WIDTHxHEIGHT"),
        (["-n", "2", "--set", "kind.splice=1"], "unknown key kind; the nearest is kinds"),
        (["-n", "2", "--split-by-source", "val=2"], "--split-by-source val=2"),
        (["-n", "2", "--objects", "."], "no folder images/ in it"),
    ],
)
def test_bad_options_end_with_one_line(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(folder, "-o", tmp_path / "dataset", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "dataset").exists()


def test_the_files_of_somebody_else_are_not_touched(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine" / "Tp" / "000000.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"precious")
    done = run(folder, "-o", tmp_path / "mine", "-n", "2")
    assert done.returncode == 2
    assert "holds files that are not ours; choose another folder" in done.stderr
    assert own.read_bytes() == b"precious"


def test_an_empty_folder_and_a_single_photo_are_explained(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", "-o", tmp_path / "dataset", "-n", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no photographs there" in done.stderr
    done = run(folder / "0.jpg", "-o", tmp_path / "dataset", "-n", "1")
    assert done.returncode == 2
    assert "a splice needs a second photo or objects" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_run_goes_on_to_the_same_result(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]], folder: Path, tmp_path: Path, workers: str
) -> None:
    options = ["-n", "120", "--workers", workers]
    assert run(folder, "-o", tmp_path / "whole", *options).returncode == 0
    output = tmp_path / "killed"
    place = "boxpromptiml.cli.synthesis:DatasetStore.add"
    killed = run_signalled(signal.SIGKILL, place, 2, "synthesize", folder, "-o", output, *options)
    assert killed.returncode == -signal.SIGKILL
    with Dataset.open(output) as dataset:
        assert 0 < dataset.count() < 180
    # Worker processes end with their parent and let the folder go.
    time.sleep(1)
    again = run(folder, "-o", output, *options, "--json")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert summary["kept"] > 0
    assert summary["made"] + summary["kept"] == 180
    assert files(output) == files(tmp_path / "whole")
    with Dataset.open(output) as one, Dataset.open(tmp_path / "whole") as other:
        assert [(r.image, r.mask, r.kind, r.group) for r in one.records()] == [
            (r.image, r.mask, r.kind, r.group) for r in other.records()
        ]


def files(folder: Path) -> dict[str, bytes]:
    names = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("dataset.db")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}
