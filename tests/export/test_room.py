"""A disk without room is refused before the libraries that write the files meet it: one of them aborts there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from boxpromptiml.errors import ModelError
from boxpromptiml.export import export_model

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(make_small_disk: Callable[[Path, int], Path], tmp_path: Path) -> Path:
    return make_small_disk(tmp_path / "disk", 128)


@pytest.mark.parametrize(("form", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml"), ("torch", "m.pt2")])
def test_no_room(small_disk: Path, make_model: Callable[..., Path], form: str, name: str) -> None:
    with pytest.raises(ModelError, match=r"m\.\w+: 0\.1 MB are free there, \d+\.\d MB are needed; make room, or"):
        export_model(make_model(), form, "fp32", output=small_disk / name)  # type: ignore[arg-type]
    assert os.listdir(small_disk) == []
