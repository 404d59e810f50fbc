"""Small students whose maps are far from constant, and pictures of many sizes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.model_config import ModelConfig, StudentConfig
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.student import build_student, save_checkpoint


@pytest.fixture(scope="session")
def write_student() -> Callable[..., Path]:
    """``write_student(folder, spec, **config)``: a model folder with random weights whose maps vary."""

    def write(folder: Path, spec: PreprocessingSpec, **config: Any) -> Path:
        torch.manual_seed(0)
        student = build_student(StudentConfig(**{"backbone": "test_convnext", "width": 16, **config}))
        for name, parameter in student.named_parameters():
            if name.endswith("out.weight"):
                torch.nn.init.normal_(parameter, std=2.0)
        save_checkpoint(folder, student, ModelConfig(preprocessing=spec))
        return folder

    return write


@pytest.fixture
def make_model(tmp_path: Path, write_student: Callable[..., Path]) -> Callable[..., Path]:
    """``make_model(height, width, **config)``: the same at a fixed size."""

    def make(height: int = 64, width: int = 96, **config: Any) -> Path:
        return write_student(tmp_path / "model", PreprocessingSpec(height=height, width=width), **config)

    return make


@pytest.fixture(scope="session")
def exported_once(tmp_path_factory: pytest.TempPathFactory, write_student: Callable[..., Path]) -> Path:
    """The same at 64 x 96 with its ONNX file: an export takes seconds."""
    from boxpromptiml.export import export_onnx

    folder = write_student(tmp_path_factory.mktemp("exported-once"), PreprocessingSpec(height=64, width=96))
    assert export_onnx(folder) == folder / "model.onnx"
    return folder


@pytest.fixture
def exported(exported_once: Path, tmp_path: Path) -> Path:
    """A copy of it, to change as one likes."""
    return Path(shutil.copytree(exported_once, tmp_path / "exported"))


@pytest.fixture(scope="session")
def pictures() -> list[NDArray[np.uint8]]:
    """Pictures with smooth parts, edges and noise, of many sizes."""
    rng = np.random.default_rng(0)
    made = []
    for width, height in ((384, 256), (1200, 900), (640, 480), (97, 331), (64, 64), (33, 20), (500, 90)):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = (smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        pixels[height // 4 : height // 2, width // 3 : width // 2] = rng.integers(0, 256, 3)
        made.append(pixels)
    return made
