from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from boxpromptiml.errors import ModelError
from boxpromptiml.export import export_model, export_onnx
from boxpromptiml.export import run as export_run
from boxpromptiml.export.deployed import DeployedStudent
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PreprocessingSpec
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.card import Precision
from boxpromptiml.student import load_checkpoint, save_checkpoint


def _answers(folder: Path, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the exported file says, and what PyTorch says, with normalisation and sigmoid written out here."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(["probability"], {"image": batch})
    student, _ = load_checkpoint(folder)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = torch.sigmoid(student((torch.from_numpy(batch) / 255 - mean) / std)).numpy()
    return found, expected


def test_onnx_runtime_answers_as_pytorch_does(exported: Path) -> None:
    _assert_same_answers(exported)


@pytest.mark.parametrize("config", [{"dual_guidance": False}, {"gates": False, "memory_size": 0}])
def test_it_does_so_without_parts_of_the_fusion(make_model: Callable[..., Path], config: dict) -> None:
    folder = make_model(**config)
    export_onnx(folder)
    _assert_same_answers(folder)


def _assert_same_answers(folder: Path) -> None:
    for count in (1, 2, 5):
        batch = np.random.default_rng(count).integers(0, 256, (count, 3, 64, 96), dtype=np.uint8)
        found, expected = _answers(folder, batch)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
        assert found.std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "height", "width"),
    [
        ("test_resnet", 256, 256),
        ("test_vit", 160, 96),
        # TinyViT at another size is in tests/runtime/test_parity.py.
        pytest.param("tiny_vit_5m_224", 224, 224, marks=pytest.mark.torture),
        pytest.param("tiny_vit_5m_224", 384, 256, marks=pytest.mark.torture),
    ],
)
def test_backbones_export_at_any_size(make_model: Callable[..., Path], backbone: str, height: int, width: int) -> None:
    folder = make_model(height, width, backbone=backbone)
    export_onnx(folder)
    batch = np.random.default_rng(0).integers(0, 256, (3, 3, height, width), dtype=np.uint8)
    found, expected = _answers(folder, batch)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_the_runtime_takes_the_file_and_refuses_that_of_other_weights(exported: Path) -> None:
    localizer = Localizer.load(exported, threads=1)
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), dtype=np.uint8)
    np.testing.assert_allclose(localizer.probabilities(batch), _answers(exported, batch)[1][:, 0], atol=1e-4, rtol=0)
    student, config = load_checkpoint(exported)
    with torch.no_grad():
        student.fusion.memory.prototypes.add_(1)
    save_checkpoint(exported, student, config)
    with pytest.raises(ModelError, match="exported from other weights"):
        Localizer.load(exported)
    export_onnx(exported)
    Localizer.load(exported)


def test_the_file_says_what_it_is(exported: Path) -> None:
    proto = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(proto)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    spec = PreprocessingSpec.model_validate(json.loads(metadata["boxpromptiml.preprocessing"]))
    assert spec == PreprocessingSpec(height=64, width=96)
    assert metadata["boxpromptiml.weights_sha256"] == sha256_of(exported / "model.safetensors")
    assert metadata["boxpromptiml.format_version"] == "1"
    (image,) = proto.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sizes = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, 64, 96]
    assert sorted(path.name for path in exported.iterdir()) == ["config.json", "model.onnx", "model.safetensors"]


def test_an_unfaithful_export_is_not_kept(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model()
    (folder / "model.onnx").write_bytes(b"the old one")

    def shift(model: DeployedStudent, config: ModelConfig, precision: Precision) -> onnx.ModelProto:
        with torch.no_grad():
            model.mean.add_(1)  # what is exported is no longer what is compared with
            proto = convert(model, config, precision)
            model.mean.sub_(1)
        return proto

    convert = export_run.to_onnx
    monkeypatch.setattr(export_run, "to_onnx", shift)
    with pytest.raises(ModelError, match=r"differs from PyTorch by .* not written"):
        export_onnx(folder)
    assert (folder / "model.onnx").read_bytes() == b"the old one"
    assert len(list(folder.iterdir())) == 3


def test_rounding_in_a_steep_network_is_not_held_against_the_export(make_model: Callable[..., Path]) -> None:
    folder = make_model()
    student, config = load_checkpoint(folder)
    with torch.no_grad():
        for head in (student.fusion.base, student.fusion.recall):
            head.out.weight.mul_(3000)
    save_checkpoint(folder, student, config)
    assert export_model(folder).difference.largest > 1e-4


def test_another_file_can_be_named_and_nothing_is_printed(
    make_model: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out" / "student.onnx"
    folder = make_model()
    assert export_onnx(folder, target) == target
    assert target.is_file()
    assert not (folder / "model.onnx").exists()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_file_that_a_card_describes_is_not_replaced(make_model: Callable[..., Path]) -> None:
    """The runtime would refuse the new one; and the card's figures are not its own."""
    folder = make_model()
    network = folder / "model.onnx"
    network.write_bytes(b"as it was measured")
    (folder / "card.json").write_text(json.dumps({"files": [{"name": network.name, "sha256": sha256_of(network)}]}))
    for upsample in (False, True):
        with pytest.raises(ModelError, match=r"model\.onnx: card\.json beside it describes that file .* --output, or"):
            export_model(folder, upsample=upsample)
        assert network.read_bytes() == b"as it was measured"
    export_model(folder, precision="fp16")  # of which the card says nothing
    assert Localizer.load(folder, precision="fp16", threads=1).folder == folder


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json there"):
        export_onnx(tmp_path)
