from __future__ import annotations

import sys
from pathlib import Path

import pytest

from boxpromptiml.cli.main import main


def _run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["boxpromptiml", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "model"], "Missing argument 'DATASET...'; see  boxpromptiml evaluate --help"),
        (["evaluate", "m", "d", "--preset", "f1"], "Invalid value for --preset: there are imdlbenco,"),
        (["evaluate", "m", "d", "--preset", "scaf", "--mode", "double"], "Invalid value for --mode: scaf has origin;"),
        (["evaluate", "m", "d", "--batch-size", "0"], "Invalid value for '--batch-size': "),
        (["evaluate", "m", "d", "--threads"], "requires an argument"),
        (["evaluate", "m", "d", "--presett", "scaf"], "No such option: --presett"),
        (["robustness", "m", "d", "--out", "o", "--attacks", "rain"], "there are blur, noise, jpeg, social, or all"),
        (["study", "supervision", "d", "--out", "o", "--seeds", "a"], "see  boxpromptiml study supervision --help"),
        (["study", "ablation", "d", "--out", "o", "--supervision", "x"], "'x' is not one of"),
        (["bench", "throughput", "m", "--batch", "a"], "'a' is not a list of numbers such as 1,2"),
        (["measure"], "No such command 'measure'"),
        (["study", "colour"], "No such command 'colour'"),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_to_read_on(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(arguments, monkeypatch) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert "Value error" not in line
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Image manipulation localization"),
        (["study"], 2, "supervision"),
        (["--version"], 0, "boxpromptiml 0"),
        (["evaluate", "--help"], 0, "--preset"),
    ],
)
def test_help_is_shown_whole(
    arguments: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (_run(arguments, monkeypatch) or 0) == code
    shown = capsys.readouterr()
    assert words in shown.out + shown.err
    assert "error" not in shown.err


def test_a_verb_keeps_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `protocol check` exits with 1 when something is wrong with the sets: here all of them are missing.
    assert (
        _run(["protocol", "check", "mvss", "--root", str(tmp_path), "--cache", str(tmp_path / "c.db")], monkeypatch)
        == 1
    )
