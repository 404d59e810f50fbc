from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from boxpromptiml.cli.main import app, main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images whose left part is red, with masks, and one authentic one."""
    root = tmp_path / "set"
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    image = np.random.default_rng(0).integers(100, 140, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(image).save(root / "Au" / "authentic.png")
    for number in range(5):
        columns = 6 + 8 * number
        tampered, mask = image.copy(), np.zeros((64, 64), np.uint8)
        tampered[:, :columns] = (230, 40, 40)
        mask[:, :columns] = 255
        Image.fromarray(tampered).save(root / "Tp" / f"{number}.png")
        Image.fromarray(mask).save(root / "Gt" / f"{number}.png")
    return root


def _invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def _figures(path: Path) -> Any:
    """A report without what differs from run to run."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key not in ("seconds", "environment")}
        return [stripped(item) for item in value] if isinstance(value, list) else value

    return stripped(json.loads(path.read_text()))


def test_the_table_has_every_level_and_the_area(red_model: Path, photos: Path, tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "figures.json"
    result = _invoke("robustness", red_model, photos, "--out", out, "--attacks", "jpeg,social", "--json", copy)
    assert result.exit_code == 0, result.output
    for words in ("imdlbenco, origin", "5 tampered + 1 authentic", "clean", "jpeg", "50", "area", "wechat", "mean"):
        assert words in result.stdout
    assert "jpeg 100: F1" in result.stderr
    assert "(2 of 11 levels" in result.stderr
    assert _figures(copy) == _figures(out / "robustness.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "calls"),
    [
        ("boxpromptiml.runtime:Localizer.probabilities", 14),  # in the middle of a level
        pytest.param("boxpromptiml.evaluation.robustness.store:LevelStore.save", 3, marks=pytest.mark.torture),
        # Evaluated, not saved yet.
        pytest.param("boxpromptiml.evaluation.robustness.store:Outcome.of", 2, marks=pytest.mark.torture),
    ],
)
def test_a_killed_run_goes_on_and_ends_in_the_same_digits(
    run_signalled: Run, red_model: Path, photos: Path, tmp_path: Path, place: str, calls: int
) -> None:
    def command(out: str) -> list[object]:
        options = ["--attacks", "noise", "--batch-size", 2, "--threads", 1]
        return ["robustness", red_model, photos, "--out", tmp_path / out, *options]

    killed = run_signalled(signal.SIGKILL, place, calls, *command("killed"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "levels").glob("*.json") if path.stem != "run"
    }
    assert len(finished) < 7
    assert not (tmp_path / "killed" / "robustness.json").exists()
    again = _invoke(*command("killed"))
    assert again.exit_code == 0, again.output
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    assert again.stderr.count("F1") == 7 - len(finished)
    assert _invoke(*command("straight")).exit_code == 0
    assert _figures(tmp_path / "killed" / "robustness.json") == _figures(tmp_path / "straight" / "robustness.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attacks", "rain"], "blur, noise, jpeg, social, or all"),
        (["--attacks", ","], "blur, noise, jpeg, social, or all"),
        (["--preset", "f1"], "imdlbenco"),
        (["--preset", "micro", "--mode", "double"], "micro has origin"),
        (["--split", "dev"], "dev"),
    ],
)
def test_unknown_choices_are_answered_with_the_known_ones(options: list[str], message: str) -> None:
    result = _invoke("robustness", "red", "set", "--out", "out", *options)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "set", "--out", "out"], "no such model folder"),
        (["red", "nowhere", "--out", "out"], "no such file or folder"),
        (["red", "set", "--out", "set/Tp/0.png"], "is a file, not a folder"),
        (["red", "set", "--out", "set/Tp/0.png/out"], "is in a file, not in a folder"),
        (["red", "set", "--out", "set"], "set: not of a robustness run (it holds Au); choose another --out"),
        (["red", "set", "--out", "out", "--split", "test"], "no image is in the split test; it has no splits"),
        (["red", "set", "set/../set", "--out", "out"], "set/../set: given twice"),
        (["red", "set", "--out", "out", "--json", "."], "is a folder; --json wants the name of a file"),
        (["red", "set", "--out", "out", "--json", "out/robustness.csv"], "is in the way of robustness.csv"),
        (["red", "set", "--out", "out", "--json", "set/Tp/0.png/figures.json"], "0.png: not a folder"),
    ],
)
def test_bad_input_is_one_line(
    make_red_model: Callable[..., Path],
    photos: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photos.parent)
    make_red_model(photos.parent / "red")
    monkeypatch.setattr(sys, "argv", ["boxpromptiml", "robustness", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
