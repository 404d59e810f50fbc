"""`recipes/default.sh`: from data sets and ImageNet weights to the packaged model, as one command."""

from __future__ import annotations

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


def _start(*arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [SCRIPT, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.torture
def test_interrupted_it_goes_on_where_it_stopped(
    material: list[str], tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    out = tmp_path / "out"
    first = _start(*material, out, *SMALL)
    try:
        wait_until(lambda: (out / "default-continued" / "state").exists() or first.poll() is not None, 200)
        os.killpg(first.pid, signal.SIGINT)  # as `timeout -s INT` does
        told = first.communicate(timeout=100)[0]
    finally:
        first.kill()
    assert first.returncode != 0, told
    assert "go on" in told, told  # with --resume or, before the first epoch, with the same command
    before = (out / "default" / "model.safetensors").stat().st_mtime_ns
    second = _start(*material, out, *SMALL)
    told = second.communicate(timeout=400)[0]
    assert second.returncode == 0, told
    assert (out / "default" / "model.safetensors").stat().st_mtime_ns == before, "its training was complete"
    assert [(out / part / "summary.json").is_file() for part in PARTS] == [True] * len(PARTS)
    rule = Localizer.load(out / "model").config.decision
    assert (rule.looks, rule.copies) == (2, True)


def test_what_is_missing_is_one_line(material: list[str], tmp_path: Path) -> None:
    casia, photos, objects, _ = material
    for arguments, message in (
        ((tmp_path, photos, objects, "w", tmp_path / "out"), f"error: {tmp_path}/train/Tp: no such folder"),
        ((casia, photos, objects, tmp_path / "w", tmp_path / "out"), f"error: {tmp_path}/w: no such file"),
    ):
        run = _start(*arguments)
        told = run.communicate(timeout=60)[0]
        assert (run.returncode, told.count("\n")) == (2, 1)
        assert told.startswith(message)
    assert not (tmp_path / "out").exists()
    run = _start("casia")
    assert run.communicate(timeout=60)[0].startswith("usage: recipes/default.sh CASIA PHOTOS")
    assert run.returncode == 2
