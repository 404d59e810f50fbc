"""An ONNX file that takes its weights from the safetensors file beside it computes the same, to the last bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml import Localizer
from boxpromptiml.bench.result import ModelFacts
from boxpromptiml.bulk.on_ray import _model_files
from boxpromptiml.errors import ModelError
from boxpromptiml.export import export_model
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig, StudentConfig
from boxpromptiml.packaging.storing import _row_factors, halve_weights, share_weights
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.student import build_student, save_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``model(backbone)``: a small student, shown noise so that its norms do something, and its ONNX file."""
    made: dict[str, Path] = {}

    def make(backbone: str) -> Path:
        if backbone not in made:
            torch.manual_seed(0)
            student = build_student(StudentConfig(backbone=backbone, width=16, memory_size=8)).train()
            for _ in range(3):
                student(torch.randn(4, 3, 64, 64))
            for name, values in student.named_parameters():
                if values.ndim == 1:
                    values.data += 0.1 * torch.randn_like(values)
                assert torch.isfinite(values).all(), name
            folder = tmp_path_factory.mktemp(backbone)
            save_checkpoint(folder, student.eval(), ModelConfig(preprocessing=PreprocessingSpec(height=64, width=64)))
            export_model(folder)
            made[backbone] = folder
        return made[backbone]

    return make


def answers(folder: Path) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    return Localizer.load(folder, threads=1).probabilities(pixels)


# Convolutions with batch norm; a plain convolutional network with layer norm; attention with tables of positions.
@pytest.mark.parametrize(
    "backbone", ["test_resnet", "test_convnext", pytest.param("tiny_vit_5m_224", marks=pytest.mark.torture)]
)
def test_shared_weights_change_no_bit(model: Callable[[str], Path], backbone: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model(backbone), tmp_path / "model"))
    before, size = answers(folder), (folder / "model.onnx").stat().st_size
    saved = share_weights(folder / "model.onnx", folder / "model.safetensors")
    after = (folder / "model.onnx").stat().st_size
    assert saved > 0.8 * (folder / "model.safetensors").stat().st_size
    assert after < size - 0.9 * saved
    assert np.array_equal(answers(folder), before)
    onnx.checker.check_model(str(folder / "model.onnx"))


def test_halved_weights_are_shared_too(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model("test_resnet"), tmp_path / "model"))
    halve_weights(model("test_resnet") / "model.safetensors", folder / "model.safetensors")
    export_model(folder)
    before, size = answers(folder), (folder / "model.onnx").stat().st_size
    share_weights(folder / "model.onnx", folder / "model.safetensors")
    assert np.array_equal(answers(folder), before)
    assert (folder / "model.onnx").stat().st_size < 0.5 * size


def test_a_model_reached_through_links_works(model: Callable[[str], Path], tmp_path: Path) -> None:
    """As the hub's cache lays files out."""
    folder = Path(shutil.copytree(model("test_resnet"), tmp_path / "model"))
    share_weights(folder / "model.onnx", folder / "model.safetensors")
    blobs, linked = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "revision"
    blobs.mkdir(parents=True)
    linked.mkdir(parents=True)
    for path in folder.iterdir():
        blob = blobs / sha256_of(path)
        shutil.copy(path, blob)
        (linked / path.name).symlink_to(Path("../../blobs", blob.name))
    assert np.array_equal(answers(linked), answers(folder))


def test_what_is_sent_to_other_machines_is_enough(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model("test_resnet"), tmp_path / "model"))
    share_weights(folder / "model.onnx", folder / "model.safetensors")
    sent = tmp_path / "sent"
    sent.mkdir()
    for name, content in _model_files(folder).items():
        (sent / name).write_bytes(content)
    assert np.array_equal(answers(sent), answers(folder))


def test_its_size_counts_the_weights(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model("test_resnet"), tmp_path / "model"))
    share_weights(folder / "model.onnx", folder / "model.safetensors")
    sizes = [(folder / name).stat().st_size for name in ("model.onnx", "model.safetensors")]
    assert ModelFacts.of(str(folder), ["onnx"]).files == {"model.onnx": sum(sizes)}


def test_without_the_weights_it_says_so(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model("test_resnet"), tmp_path / "model"))
    share_weights(folder / "model.onnx", folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match=r"model\.safetensors: missing; model\.onnx takes its weights from it"
    ) as caught:
        Localizer.load(folder)
    assert "\n" not in str(caught.value)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 20))
def test_factors_of_rows_are_found_to_the_bit(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.normal(size=(rows, columns)).astype(np.float32)
    factors = np.exp(rng.normal(size=(rows, 1))).astype(np.float32)
    found = _row_factors(stored, stored * factors)
    assert found is not None
    assert np.array_equal(stored * found, stored * factors)


def test_rows_that_are_no_multiples_have_no_factors() -> None:
    stored = np.array([[1.0, 2.0, 3.0]], np.float32)
    assert _row_factors(stored, np.array([[2.0, 4.0, 6.1]], np.float32)) is None
    assert _row_factors(np.zeros((1, 3), np.float32), stored) is None
