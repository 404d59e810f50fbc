"""A disk without room is refused before the libraries that write the files meet it: one of them aborts there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boxpromptiml.errors import ModelError
from boxpromptiml.export import export_model

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 kB, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("form", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml"), ("torch", "m.pt2")])
def test_no_room(small_disk: Path, make_model: Callable[..., Path], form: str, name: str) -> None:
    with pytest.raises(ModelError, match=r"m\.\w+: 0\.1 MB are free there, \d+\.\d MB are needed; make room, or"):
        export_model(make_model(), form, "fp32", output=small_disk / name)  # type: ignore[arg-type]
    assert os.listdir(small_disk) == []
