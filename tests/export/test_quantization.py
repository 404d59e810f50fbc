"""int8 is kept only where its measured F1 loss is small, and no test image shapes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from boxpromptiml.cli.main import main
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError, ModelError
from boxpromptiml.export import Calibration, F1Loss, export_model, run
from boxpromptiml.export.calibration import calibration_images
from boxpromptiml.export.fixed import float_nodes
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer

pytest.importorskip("nncf")
pytestmark = pytest.mark.usefixtures("convert_once")
NATIVE = PreprocessingSpec(height=96, width=96, fit="native")
EVIDENCE = {"evidence": ("input", "residual", "dct"), "evidence_width": 8}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tampered images a split with masks; those of test are white, so that a look at them would show."""
    folder = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    with Dataset.create(folder) as made:
        for split in ("train", "val", "test"):
            for number in range(6):
                pixels = rng.integers(0, 200, (80, 100, 3), dtype=np.uint8)
                if split == "test":
                    pixels[...] = 255
                mask = np.zeros((80, 100), np.uint8)
                mask[20:60, 30:70] = 255
                name = f"{split}{number}.png"
                Image.fromarray(pixels).save(folder / name)
                Image.fromarray(mask).save(folder / f"mask-{name}")
                made.put([ImageRecord(name, 100, 80, label="tampered", mask=f"mask-{name}", split=split)])
    return folder


def test_ranges_come_from_train_or_val_and_never_from_test(dataset: Path) -> None:
    spec = PreprocessingSpec(height=32, width=64)
    with Dataset.open(dataset) as opened:
        images = calibration_images(opened, spec, 4)
        assert [image.shape for image in images] == [(3, 32, 64)] * 4
        assert len(calibration_images(opened, spec, 100)) == 6
        assert all(image.max() < 255 for image in calibration_images(opened, spec, 100))
        np.testing.assert_array_equal(images, calibration_images(opened, spec, 4))


def test_without_train_and_val_there_is_nothing_to_calibrate_on(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with Dataset.create(tmp_path) as made:
        made.put([ImageRecord("a.png", 20, 20, label="tampered", split="test")])
        with pytest.raises(DatasetError, match="no image in train or val"):
            calibration_images(made, PreprocessingSpec(height=32, width=32), 4)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
@pytest.mark.parametrize("fit", ["stretch", "native"])
def test_int8(write_student: Callable[..., Path], tmp_path: Path, dataset: Path, form: str, fit: str) -> None:
    spec, config = (NATIVE, EVIDENCE) if fit == "native" else (PreprocessingSpec(height=96, width=96), {})
    folder = write_student(tmp_path / "model", spec, backbone="test_resnet", **config)
    given = Calibration(dataset, max_f1_loss=1.0, images=4)
    made = export_model(folder, form, "int8", calibration=given)  # type: ignore[arg-type]
    assert made.f1 is not None
    assert (made.f1.images, made.f1.truth) == (6, "mask")
    localizer = Localizer.load(folder, runtime=form, precision="int8", threads=1)
    full = export_model(folder, form)  # type: ignore[arg-type]
    assert made.bytes < full.bytes
    fed = localizer.config.preprocessing.feed(np.asarray(Image.open(dataset / "val0.png")))
    (values,) = localizer.maps([fed])
    (expected,) = Localizer.load(folder, runtime=form, precision="fp32", threads=1).maps([fed])
    assert 0 < np.abs(values - expected).mean() < 0.1  # another network, but not by much


def test_fixed_filters_and_the_last_layers_stay_in_float(write_student: Callable[..., Path], tmp_path: Path) -> None:
    write_student(tmp_path, NATIVE, backbone="test_resnet", **EVIDENCE)
    proto = onnx.load(export_model(tmp_path).path)
    kept = set(float_nodes(proto.graph))
    fixed = [n for n in proto.graph.node if any(i.endswith(("high_pass.kernel", "dct.basis")) for i in n.input)]
    assert len(fixed) == 2
    assert {node.name for node in fixed} <= kept
    assert all(node.name in kept for node in proto.graph.node if node.op_type == "Exp")
    convolutions = [node.name for node in proto.graph.node if node.op_type == "Conv"]
    assert len(kept & set(convolutions)) < len(convolutions) / 2  # the rest is quantised


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_file_that_loses_too_much_is_refused(
    make_model: Callable[..., Path], dataset: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    folder = make_model(32, 32)
    monkeypatch.setattr(run, "f1_loss", lambda *_: F1Loss(6, 0.5, 0.48, 0.1, 1, 1, "mask"))
    message = r"refused, nothing written: .* a loss of 0\.0200 .*; try .*--precision"
    with pytest.raises(ModelError, match=message) as caught:
        export_model(folder, "onnx", precision, calibration=Calibration(dataset))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.slow
def test_the_command_measures_prints_and_refuses(
    make_model: Callable[..., Path], dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_model(32, 32)

    def export(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["boxpromptiml", "export", str(folder), *options])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capfd.readouterr()

    code, printed, said = export("--precision", "int8", "--calibrate", str(dataset), "--max-f1-loss", "1")
    assert code == 0, said
    assert "a loss of" in printed
    assert "over 6 val images against their mask" in printed
    _, told, _ = export("-p", "fp16", "--validate", str(dataset), "--max-f1-loss", "1", "--json")
    assert json.loads(told)["f1"]["images"] == 6
    (folder / "model-int8.onnx").unlink()
    code, printed, said = export("--precision", "int8")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert "--calibrate DATASET" in said
    assert not (folder / "model-int8.onnx").exists()
