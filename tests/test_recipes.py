"""`recipes/default.sh`: from data sets and ImageNet weights to the packaged model, as one command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from boxpromptiml.runtime import Localizer
from boxpromptiml.student.mobilenet import NAME, _names

SCRIPT = Path(__file__).parents[1] / "recipes" / "default.sh"
PARTS = ("default", "default-continued", "default-turned", "default-compressed")
SMALL = (
    *("--set", "epochs=1", "--set", "data.batch_size=4", "--set", "synthesis.max_side=96"),
    *("--set", "input.height=64", "--set", "input.width=64", "--set", "student.width=8"),
    *("--set", "state.every_steps=1"),
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, foliage: Callable[..., NDArray[np.uint8]]) -> list[str]:
    """CASIA, PHOTOS, OBJECTS and WEIGHTS, small."""
    root = tmp_path_factory.mktemp("material")
    for part, tampered in (("train", 24), ("test", 3)):
        folder = root / "casia" / part
        for kind in ("Tp", "Gt", "Au"):
            (folder / kind).mkdir(parents=True)
        for index in range(tampered):
            number = index + 100 * (part == "test")
            host, donor = foliage(96, 128, number), foliage(96, 128, 1000 + number)
            mask = np.zeros((96, 128), np.uint8)
            mask[20:60, 30 + index : 80 + index] = 255
            name = f"Sp_D_NNN_A_nat{number:04}_arc{number:04}_{number:04}"
            Image.fromarray(np.where(mask[..., None] > 0, donor, host)).save(folder / "Tp" / f"{name}.jpg", quality=92)
            Image.fromarray(mask).save(folder / "Gt" / f"{name}.png")
            Image.fromarray(foliage(96, 128, 2000 + number)).save(folder / "Au" / f"Au_sec_{number:04}.jpg")
    for name in ("photos", "objects/images", "objects/instances"):
        (root / name).mkdir(parents=True)
    for index in range(4):
        Image.fromarray(foliage(150, 200, 3000 + index)).save(root / "photos" / f"{index}.png")
        Image.fromarray(foliage(150, 200, 4000 + index)).save(root / "objects" / "images" / f"{index}.png")
        instances = np.zeros((150, 200), np.uint8)
        instances[40:100, 60:130] = 1
        Image.fromarray(instances).save(root / "objects" / "instances" / f"{index}.png")
    weights = timm.create_model(NAME).state_dict()
    save_file({old: weights[new].contiguous() for old, new in _names().items()}, root / "gluon.safetensors")
    return [str(root / name) for name in ("casia", "photos", "objects", "gluon.safetensors")]


def _start(*arguments: object, program: Path = Path(sys.executable)) -> subprocess.Popen[str]:
    """The script, in a group of processes of its own; `boxpromptiml` is that beside `program`."""
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [SCRIPT, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str], sign: int = 0, timeout: int = 400) -> str:
    """Wait for the end of the script, after a signal to it and all that it started, as of `timeout -s INT`."""
    try:
        if sign:
            os.killpg(process.pid, sign)
        return process.communicate(timeout=timeout)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.torture
def test_interrupted_it_goes_on_where_it_stopped(
    material: list[str], tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    out = tmp_path / "out"
    first = _start(*material, out, *SMALL)
    states = out / "default-continued" / "state"
    wait_until(lambda: list(states.glob("state-*.pt")) or first.poll() is not None, 200)
    told = _end(first, signal.SIGINT)
    assert first.returncode == 130, told
    assert "go on with the same command" in told
    assert list(states.glob("state-*.pt")), "it stopped in the middle of the epoch"
    assert not (out / "default-continued" / "summary.json").exists()
    made = [path for path in (out / "casia").rglob("*") if path.is_file()]
    made += [out / "mobilenetv2.safetensors", out / "default" / "model.safetensors"]
    before = {path: path.stat().st_mtime_ns for path in made if not path.name.endswith(("-wal", "-shm"))}
    second = _start(*material, out, *SMALL)
    told = _end(second)
    assert second.returncode == 0, told
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was done is done again"
    assert [(out / part / "summary.json").is_file() for part in PARTS] == [True] * len(PARTS)
    rule = Localizer.load(out / "model").config.decision
    assert (rule.looks, rule.copies) == (2, True)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_no_step_begins_after_a_signal(
    material: list[str], tmp_path: Path, sign: signal.Signals, wait_until: Callable[..., object]
) -> None:
    """A step may end well although it was asked to stop: its state is saved, and so is the script's."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "boxpromptiml"
    program.write_text(
        f"#!/usr/bin/env bash\necho \"$1\" >> '{tmp_path}/steps'\n"
        "trap 'exit 0' INT TERM\nfor _ in {1..300}; do sleep 0.1; done\n"
    )
    program.chmod(0o755)
    run = _start(*material, tmp_path / "out", program=program)
    wait_until((tmp_path / "steps").exists)
    told = _end(run, sign, timeout=60)
    assert run.returncode == 128 + sign, told
    assert (tmp_path / "steps").read_text() == "import\n"


def test_what_is_wrong_is_one_line(material: list[str], tmp_path: Path) -> None:
    casia, photos, objects, weights = material
    used, made = tmp_path / "used", tmp_path / "made"
    for folder in (used, made):
        folder.mkdir()
    (used / "casia").mkdir()
    (made / ".inputs").write_text("other photographs")
    for arguments, message in (
        ((tmp_path, photos, objects, weights, tmp_path / "out"), f"{tmp_path}/train/Tp: no such folder"),
        ((casia, photos, objects, tmp_path / "w", tmp_path / "out"), f"{tmp_path}/w: no such file"),
        ((casia, f"{photos},{tmp_path}/p", objects, weights, tmp_path / "out"), f"{tmp_path}/p: no such folder"),
        ((casia, photos, objects, weights, used), f"{used}: is not empty, and not of this script"),
        ((casia, photos, objects, weights, made), f"{made}: was made from other photographs"),
    ):
        run = _start(*arguments)
        told = _end(run)
        assert (run.returncode, told.count("\n")) == (2, 1), told
        assert told.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()
    assert (used / "casia").is_dir()
    run = _start("casia")
    assert _end(run).startswith("usage: recipes/default.sh CASIA PHOTOS")
    assert run.returncode == 2
