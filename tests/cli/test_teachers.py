"""`boxpromptiml pseudo-label` and `teacher-quality`, as real processes where they are killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("cv2")

from boxpromptiml.cli.main import app
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import open_mask, save_png
from boxpromptiml.regions import Box

COMMAND = [sys.executable, "-c", "from boxpromptiml.cli.main import main; main()"]


def make(root: Path, number: int, side: int = 60) -> Path:
    """Tampered images with a red disc in a loose box, and their masks."""
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(y - side / 2, x - side / 2) < side / 4
    save_png(root / "mask.png", disc.astype(np.uint8) * 255)
    box = Box(*(int(side * share) for share in (0.2, 0.2, 0.8, 0.8)))
    records = []
    for index in range(number):
        noise = np.random.default_rng(index).normal(0, 10, (side, side, 3))
        image = np.where(disc[..., None], [190, 40, 40], [50, 140, 60]) + noise
        save_png(root / f"{index:03d}.png", image.clip(0, 255).astype(np.uint8))
        records.append(ImageRecord(f"{index:03d}.png", side, side, "tampered", (box,), mask="mask.png", split="train"))
    with Dataset.create(root) as dataset:
        dataset.put(records)
    return root


def contents(root: Path) -> dict[str, tuple[object, bytes]]:
    """Every image's pseudo record and the bytes of its mask."""
    with Dataset.open(root) as dataset:
        return {r.image: (r.pseudo, dataset.path(r.pseudo.path).read_bytes()) for r in dataset.records() if r.pseudo}


def test_pseudo_label_and_quality(tmp_path: Path) -> None:
    root = make(tmp_path / "d", 3)
    runner = CliRunner()
    done = runner.invoke(app, ["pseudo-label", str(root), "--json", "--report", str(tmp_path / "r.csv")])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["teacher"], summary["made"], summary["failed"]) == ("grabcut", 3, [])
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert [row["image"] for row in rows] == ["000.png", "001.png", "002.png"]
    assert {row["x0"] for row in rows} == {"12"}
    assert all(row["error"] == "" and row["mask"].startswith("pseudo/grabcut/") for row in rows)

    quality = runner.invoke(app, ["teacher-quality", str(root), "--json", "--worst", "1"])
    assert quality.exit_code == 0
    result = json.loads(quality.stdout)
    assert result["images"] == 3
    assert result["f1"] > 0.95
    assert len(result["worst"]) == 1

    table = runner.invoke(app, ["pseudo-label", str(root)])
    assert "masks that were there" in table.output
    assert "pixel F1" in runner.invoke(app, ["teacher-quality", str(root)]).output


def test_flags_and_missing_boxes_are_shown(tmp_path: Path) -> None:
    root = make(tmp_path / "d", 2)
    with Dataset.open(root) as dataset:
        dataset.set_boxes("001.png", [])
    shown = CliRunner().invoke(app, ["pseudo-label", str(root), "--set", "far_smaller=0.9"])
    assert shown.exit_code == 0
    assert "000.png: far-smaller-than-box" in shown.output
    assert "replaced by the fallback ellipse: 1 boxes" in shown.output
    assert "  001.png" in shown.output


def test_failed_images_make_exit_code_1(tmp_path: Path) -> None:
    root = make(tmp_path / "d", 2)
    (root / "001.png").write_bytes(b"")
    done = subprocess.run([*COMMAND, "pseudo-label", str(root), "--json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["made"] == 1
    assert done.stderr.splitlines() == [f"001.png: {(root / '001.png').resolve()}: is empty (0 bytes)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "contxt=0.3"], "did you mean context?"),
        (["--set", "context"], "write KEY=VALUE"),
        (["--set", "fills=7"], "fills = 7 must be a number in [0, 1]"),
        (["--weights", "x"], "the grabcut teacher has no weights"),
        (["--device", "cpu"], "no option 'device'"),
        (["--teacher", "sam", "--weights", "nobody/nothing"], "nobody/nothing: no weights found"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    root = make(tmp_path / "d", 1)
    done = subprocess.run([*COMMAND, "pseudo-label", str(root), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_set_reaches_the_teacher_and_the_flags(tmp_path: Path) -> None:
    root = make(tmp_path / "d", 1)
    arguments = ["--set", "cores=[0.4]", "--set", "low_quality=0.5", "--set", "duplicates=false"]
    assert CliRunner().invoke(app, ["pseudo-label", str(root), *arguments]).exit_code == 0
    with Dataset.open(root) as dataset:
        pseudo = dataset.get("000.png").pseudo
    assert pseudo is not None
    assert pseudo.settings["cores"] == [0.4]
    assert pseudo.settings["duplicates"] is False
    assert pseudo.settings["limits"]["low_quality"] == 0.5


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_killed_run_goes_on_where_it_stopped(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    number = 24
    whole, broken = (make(tmp_path / name, number, side=160) for name in ("whole", "broken"))
    assert CliRunner().invoke(app, ["pseudo-label", str(whole), "--workers", "2"]).exit_code == 0

    process = run_signalled(sign, "boxpromptiml.dataset:Dataset.put", 3, "pseudo-label", broken, "--workers", "2")
    assert process.returncode == code
    if sign == signal.SIGINT:
        assert process.stderr.splitlines() == ["interrupted; run the same command again to go on where it stopped"]
    kept = contents(broken)
    assert 3 <= len(kept) < number
    # No mask is half-written: each record's file reads, and is the one of the undisturbed run.
    for image, (pseudo, _) in kept.items():
        assert open_mask(broken / pseudo.path).shape == (160, 160), image  # type: ignore[attr-defined]

    rest = CliRunner().invoke(app, ["pseudo-label", str(broken), "--json"])
    assert rest.exit_code == 0
    summary = json.loads(rest.stdout)
    assert (summary["made"], summary["already"]) == (number - len(kept), len(kept))
    assert contents(broken) == contents(whole)


@pytest.mark.torture
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_over_and_over(tmp_path: Path) -> None:
    """Killed at a random moment, again and again, until it is through: the same result as in one go."""
    number = 240
    whole, broken = (make(tmp_path / name, number, side=160) for name in ("whole", "broken"))
    assert CliRunner().invoke(app, ["pseudo-label", str(whole), "--workers", "2"]).exit_code == 0
    moments = np.random.default_rng(0)
    kills = 0
    while True:
        process = subprocess.Popen([*COMMAND, "pseudo-label", str(broken), "--workers", "2"], stdout=subprocess.DEVNULL)
        try:
            assert process.wait(timeout=float(moments.uniform(0.8, 2.5))) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            assert kills < 200
    assert kills > 3
    assert contents(broken) == contents(whole)
