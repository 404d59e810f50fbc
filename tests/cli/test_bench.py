"""`boxpromptiml bench` as a person types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boxpromptiml.bench import Timing
from boxpromptiml.bench.tables import PlainTable
from boxpromptiml.cli.bench import print_tables
from boxpromptiml.cli.main import app
from boxpromptiml.errors import BoxPromptError

QUICK = ("--rounds", "2", "--seconds", "0.02", "--threads", "1", "--no-peak")


def run(verb: str, *arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["bench", verb, *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_latency_tables_and_json(red_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/figures.json"
    printed = run("latency", red_model, *QUICK, "--runtime", "onnx", "--json", out)
    for word in ("onnx", "TruFor", "published [1]", "multiply-adds", "arxiv.org", "decode", "where the time goes"):
        assert word in printed
    (row,) = [line for line in printed.splitlines() if line.split()[:1] == ["onnx"]]
    assert len(row.split()) == 12
    (cell,) = json.loads(out.read_text())["cells"]
    assert (cell["batch"], cell["processes"]) == (1, 1)
    assert cell["network"]["median_ms"] <= cell["network"]["p95_ms"] <= cell["network"]["p99_ms"]
    assert not out.with_name("figures.json.partial").exists()


def test_throughput_tables_and_json(red_model: Path, tmp_path: Path) -> None:
    options = ("--runtime", "onnx", "--batch", "1,2", "--processes", "2", "--json", tmp_path / "figures.json")
    printed = run("throughput", red_model, *QUICK, *options, "--markdown")
    assert "| onnx | 2 | 1 | 1 |" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [(cell["batch"], cell["processes"]) for cell in figures["cells"]] == [(1, 2), (2, 2)]
    assert figures["decodings"][0]["timing"]["images_per_second"] > 0
    assert figures["cells"][0]["share_of_decoding"] > 0


def test_the_machine_s_peak(red_model: Path, tmp_path: Path) -> None:
    options = ("--rounds", "1", "--seconds", "0.02", "--threads", "1", "--runtime", "onnx", "--no-peers")
    printed = run("latency", red_model, *options, "--json", tmp_path / "figures.json")
    assert "GFLOP/s" in printed
    (peak,) = json.loads((tmp_path / "figures.json").read_text())["peaks"]
    assert peak["library"] in ("numpy", "torch")


def test_the_model_of_the_environment(red_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(red_model))
    assert "red" in run("latency", *QUICK, "--runtime", "onnx", "--no-peers")


def test_markdown_without_peers(red_model: Path) -> None:
    printed = run("latency", red_model, *QUICK, "--runtime", "onnx", "--markdown", "--no-peers")
    assert "| onnx | 1 |" in printed
    assert "TruFor" not in printed


def test_a_cell_that_fails_is_said_and_ends_with_1(red_model: Path) -> None:
    printed = run("latency", red_model, *QUICK, "--runtime", "onnx,torch", "--no-peers", code=1)
    assert "failed" in printed


# As wide as figures of slow networks are.
WIDE = PlainTable(
    "latency",
    ("model", "runtime", "threads", "file MB", "cold s", "ms", "p95", "p99", "GFLOP/s", "% of peak", "peak MB"),
    [
        ("small", "onnx", "1", "26.3", "11.25", "1187", "1289", "1301", "107", "55", "1213 + 512 GPU"),
        ("a-model-with-a-long-name", "torch-compile-bf16", "16", "26.3", "failed", *["-"] * 6),
    ],
    (0, 1),
)


def printed_rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line below the heads."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    return [line.split() for line in plain.split("\u2500")[-1].splitlines() if line.strip()]


def test_files_and_pipes_get_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([WIDE], [])
    assert printed_rows(capsys) == [" ".join(row).split() for row in WIDE.rows]


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 120, 140, 200])
def test_a_terminal_gets_whole_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Words may be folded where it is narrow; of 1289 cut in two the first line would say 128."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_tables([WIDE], [])
    first, second, *folded = printed_rows(capsys)
    assert first == " ".join(WIDE.rows[0]).split()
    assert second[2:] == list(WIDE.rows[1][2:])
    names = [second[:2], *folded]
    assert "".join(line[0] for line in names) == "a-model-with-a-long-name"
    assert "".join(line[1] for line in names if len(line) > 1) == "torch-compile-bf16"


@pytest.mark.parametrize(
    "options",
    [
        ("latency", "--threads", "two"),
        ("throughput", "--batch", "1;2"),
        ("throughput", "--processes", "all"),
        ("latency", "--json", "."),
        ("latency", "--rounds", "0"),
        ("latency", "--seconds", "0"),
    ],
)
def test_wrong_usage_exits_with_2(red_model: Path, options: tuple[str, str, str]) -> None:
    verb, *rest = options
    run(verb, red_model, *rest, code=2)


def test_bad_input_is_one_line(red_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BoxPromptError, match=r"no config\.json there"):
        run("latency", tmp_path)
    with pytest.raises(BoxPromptError, match="unknown runtime vulkan"):
        run("latency", red_model, "--runtime", "vulkan")


def test_a_killed_run_goes_on(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]], red_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    options = ("--runtime", "onnx", "--batch", "1,2", "--processes", "1", "--json", out)
    arguments = ("bench", "throughput", red_model, *QUICK, *options)
    place = "boxpromptiml.bench.turn_store:TurnStore.put"
    killed = run_signalled(signal.SIGKILL, place, 5, *arguments)
    assert killed.returncode == -signal.SIGKILL
    kept = json.loads((tmp_path / "figures.json.partial").read_text())["answers"]
    assert len(kept) == 5
    run(*arguments[1:])
    # Both turns of batch 2 were done (the second round goes backwards): its figures are of these very calls.
    done = [turn["answers"][0]["network_ms"] for key, turn in kept.items() if "batch 2" in key]
    assert len(done) == 2
    assert json.loads(out.read_text())["cells"][1]["network"] == asdict(Timing.of(done, 2))
