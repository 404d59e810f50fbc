"""Whatever is wrong, at every door: one line that names the file and the remedy, and nothing written is lost.

What is wrong with single images is in tests/images and tests/bulk; what is wrong with requests in tests/serve.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.cli.main import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """The command line in this process: exit code, and the lines of standard error."""
    monkeypatch.delenv("BOXPROMPTIML_MODEL", raising=False)

    def ran(*words: object) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["boxpromptiml", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), capsys.readouterr().err.splitlines()

    return ran


Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def work(red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: ``model``, ``photos`` (30), ``set`` (tampered images with masks)."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(red_model, tmp_path / "model")
    rng = np.random.default_rng(0)
    for folder in ("photos", "set/Tp", "set/Gt"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(30):
        pixels = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        pixels[16:40, 30:60] = (255, 0, 0)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:02}.png")
    mask = np.zeros((64, 96), np.uint8)
    mask[16:40, 30:60] = 255
    for i in range(2):
        shutil.copy(tmp_path / "photos" / f"{i:02}.png", tmp_path / "set/Tp" / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "set/Gt" / f"{i}.png")
    return tmp_path


# --- the model ------------------------------------------------------------------------------------------------------

DOORS = {
    "localize": ("localize", "photos/00.png", "-o", "out", "-m", "model"),
    "into a table": ("localize", "photos/00.png", "-o", "out", "-m", "model", "--format", "parquet"),
    "on Ray": ("localize", "photos/00.png", "-o", "out", "-m", "model", "--engine", "ray"),
    "serve": ("serve", "-m", "model"),
    "evaluate": ("evaluate", "model", "set"),
    "robustness": ("robustness", "model", "set", "--out", "out"),
    "page": ("page", "-m", "model", "--no-browser"),
    "info": ("info", "model"),
}


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def nest(path: Path) -> None:
    path.write_text("[" * 100_000)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another version": (
        lambda m: change(m / "config.json", format_version=2),
        "config.json: format version 2, this program reads 1; use the boxpromptiml version that wrote it",
    ),
    "a newer one's setting": (
        lambda m: change(m / "config.json", decision={"threshold": 0.5, "calibrated_by": "x"}),
        "config.json: decision.calibrated_by is unknown to this version; update boxpromptiml, or restore the file",
    ),
    "no config": (lambda m: (m / "config.json").unlink(), "no config.json there"),
    "config is no text": (lambda m: (m / "config.json").write_bytes(b"\xff\xfe{"), "config.json: not JSON"),
    "config without end": (lambda m: nest(m / "config.json"), "config.json: not JSON"),
    "a value out of range": (
        lambda m: change(m / "config.json", decision={"threshold": 7}),
        "config.json: decision.threshold: Input should be less than or equal to 1; restore it or train again",
    ),
    "no folder": (lambda m: shutil.rmtree(m), "model: no such model"),
}
ONNX_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no network": (lambda m: (m / "model.onnx").unlink(), "no model.onnx there; run  boxpromptiml export model"),
    "half a network": (
        lambda m: (m / "model.onnx").write_bytes((m / "model.onnx").read_bytes()[:300]),
        "model.onnx: cannot be loaded",
    ),
    "an empty network": (lambda m: (m / "model.onnx").write_bytes(b""), "model.onnx: cannot be loaded"),
    "other weights": (lambda m: (m / "model.safetensors").write_bytes(b"new"), "other weights than model.safetensors"),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *ONNX_DAMAGES])
@pytest.mark.parametrize("door", DOORS)
def test_a_damaged_model(door: str, damage: str, work: Path, run: Run) -> None:
    if door == "info" and damage in (*ONNX_DAMAGES, "no folder"):
        pytest.skip("info reads no network, and says which files there are")
    harm, message = {**DAMAGES, **ONNX_DAMAGES}[damage]
    harm(work / "model")

    code, said = run(*DOORS[door])

    errors = [line for line in said if not line.startswith("{")]  # the service logs as JSON
    assert code == 2
    assert len(errors) == 1, errors
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert not (work / "out" / "_run.json").exists()


# --- the disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(make_small_disk: Callable[[Path, int], Path], work: Path) -> Path:
    return make_small_disk(work / "disk", 64)


def grow(disk: Path) -> None:
    """Make room."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    (disk / "filler").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("words", "free"),
    [
        (("localize", "photos", "-o", "disk/out", "-m", "model", "--threads", "1"), 40_000),
        (("localize", "photos", "-o", "disk/out", "-m", "model", "--threads", "1"), 0),
        (("localize", "photos", "-o", "disk/out", "-m", "model", "--format", "parquet", "--threads", "1"), 0),
        (
            *(
                (
                    *("localize", "photos", "-o", "disk/out", "-m", "model", "--threads", "1"),
                    *("--format", "parquet", "--shard-size", "5"),
                ),
                25_000,
            ),
        ),
        (("evaluate", "model", "set", "--json", "disk/figures.json", "--threads", "1"), 0),
        (("evaluate", "model", "set", "--json", "disk/figures.json", "--threads", "1"), 12_000),
        (("evaluate", "model", "set", "--report", "disk/report", "--threads", "1"), 0),
        (("evaluate", "model", "set", "--report", "disk/report", "--threads", "1"), 20_000),
        (("robustness", "model", "set", "--out", "disk/out", "--attacks", "jpeg", "--threads", "1"), 0),
        (("robustness", "model", "set", "--out", "disk/out", "--attacks", "jpeg", "--threads", "1"), 16_000),
    ],
)
def test_a_full_disk(words: tuple[str, ...], free: int, disk: Path, work: Path, run: Run) -> None:
    (disk / "filler").write_bytes(bytes(64 * 1024 - free // 4096 * 4096))

    code, said = run(*words)

    errors = [line for line in said if not line.startswith("JPEG")]  # levels that are done
    assert code == 2
    assert len(errors) == 1, errors
    assert errors[0].startswith("error: disk/")
    assert errors[0].endswith("No space left on device; make room and run the same command again")
    before = {path: path.read_bytes() for path in disk.rglob("part-*.parquet")}

    grow(disk)
    code, said = run(*words)

    assert code == 0, said
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not [path for path in disk.rglob(".*") if path.is_file()]  # no halves are left
    if (disk / "out" / "results.jsonl").exists():
        lines = [json.loads(line) for line in (disk / "out" / "results.jsonl").read_text().splitlines()]
        assert [line["verdict"] for line in lines] == ["tampered"] * 30
        assert all((disk / "out" / line[kind]).stat().st_size for line in lines for kind in ("mask", "heatmap"))


@pytest.mark.parametrize(
    "words",
    [
        ("localize", "photos", "-o", "disk/out", "-m", "model"),
        ("localize", "photos", "-o", "disk/out", "-m", "model", "--format", "parquet"),
        ("evaluate", "model", "set", "--json", "disk/figures.json"),
        ("evaluate", "model", "set", "--report", "disk/report"),
        ("robustness", "model", "set", "--out", "disk/out"),
    ],
)
def test_a_folder_that_cannot_be_written_to(words: tuple[str, ...], disk: Path, run: Run) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    code, said = run(*words)

    assert code == 2
    assert len(said) == 1
    assert str(disk.relative_to(Path.cwd())) in said[0]
    assert "Read-only file system; choose a path that can be written to" in said[0] or (
        "cannot be written to; choose another path" in said[0]
    )


@pytest.mark.parametrize(
    "words",
    [
        ("localize", "photos", "-o", "photos/00.png", "-m", "model"),
        ("localize", "photos", "-o", "photos/00.png", "-m", "model", "--format", "parquet"),
        ("localize", "photos", "-o", "photos/00.png/out", "-m", "model"),
    ],
)
def test_a_file_where_a_folder_is_wanted(words: tuple[str, ...], work: Path, run: Run) -> None:
    before = (work / "photos" / "00.png").read_bytes()
    code, said = run(*words)
    assert code == 2
    assert said[0].startswith("error: photos/00.png")
    assert said[0].endswith("a file is in the way; choose another path")
    assert (work / "photos" / "00.png").read_bytes() == before


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http://127.0.0.1:9/*.jpg", "http://127.0.0.1:9/*.jpg: cannot be listed: Cannot connect to host 127.0.0.1:9"),
        ("http://127.0.0.1:9/list.txt", "http://127.0.0.1:9/list.txt: cannot be opened: Cannot connect to host"),
        ("nosuch://bucket/*.jpg", "nosuch://: Protocol not known: nosuch"),
    ],
)
def test_a_url_that_leads_nowhere(name: str, message: str, work: Path, run: Run) -> None:
    pytest.importorskip("fsspec")
    code, said = run("localize", name, "-o", "out", "-m", "model")
    assert code == 2
    assert len(said) == 1
    assert said[0].startswith(f"error: {message}")


def test_an_image_that_cannot_be_reached_is_a_line_of_its_own(work: Path, run: Run) -> None:
    pytest.importorskip("fsspec")
    code, _ = run("localize", "http://127.0.0.1:9/a.jpg", "photos/00.png", "-o", "out", "-m", "model")
    first, second = [json.loads(line) for line in (work / "out" / "results.jsonl").read_text().splitlines()]
    assert code == 1
    assert first["error"].startswith("cannot be read: Cannot connect to host 127.0.0.1:9")
    assert second["verdict"] == "tampered"
