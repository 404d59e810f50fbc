from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from boxpromptiml.cli.main import app, main
from boxpromptiml.errors import ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig, Provenance, StudentConfig
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.student import build_student, save_checkpoint

# The command line where torch cannot be imported.
WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None; sys.argv[0] = 'boxpromptiml'\n"
    "from boxpromptiml.cli.main import main; main()"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small untrained student, without ONNX file."""
    torch.manual_seed(0)
    student = build_student(StudentConfig(backbone="test_convnext", width=16))
    config = ModelConfig(
        preprocessing=PreprocessingSpec(height=64, width=96),
        trained_on=Provenance(datasets=["casia/train"], supervision="pseudo", validation={"f1": 0.5}),
    )
    save_checkpoint(tmp_path / "model", student, config)
    return tmp_path / "model"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """One image whose left half is red, with its mask, and an authentic grey one."""
    image = np.full((64, 64, 3), 120, np.uint8)
    root = tmp_path / "set"
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    Image.fromarray(image).save(root / "Au" / "b.png")
    image[:, :32] = (255, 0, 0)
    Image.fromarray(image).save(root / "Tp" / "a.png")
    Image.fromarray((np.arange(64) < 32).astype(np.uint8)[None].repeat(64, 0) * 255).save(root / "Gt" / "a.png")
    return root


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_info_as_json(model: Path) -> None:
    facts = json.loads(_run("info", model, "--json"))
    student = build_student(StudentConfig(backbone="test_convnext", width=16))
    assert facts["params"] == sum(p.numel() for p in student.parameters())
    assert facts["flops"] > 1e6
    assert facts["input"] == {"height": 64, "width": 96, "resizer": "pillow-bilinear"}
    assert facts["backbone"] == "test_convnext"
    assert facts["threshold"] == 0.5
    assert facts["trained_on"]["datasets"] == ["casia/train"]
    assert facts["student"]["memory_size"] == 64
    files = {file["name"]: file for file in facts["files"]}
    assert files.keys() == {"config.json", "model.safetensors"}
    weights = model / "model.safetensors"
    assert files["model.safetensors"]["sha256"] == sha256_of(weights)
    assert files["model.safetensors"]["bytes"] == weights.stat().st_size


def test_info_as_table(model: Path) -> None:
    text = _run("info", model)
    for words in ("test_convnext", "96x64", "casia/train", "pseudo", "f1 0.500", "memory size", "on"):
        assert words in text


@pytest.fixture
def mixed(model: Path) -> Path:
    """The weights of one student beside the config of another one."""
    other = build_student(StudentConfig(backbone="test_convnext", width=24))
    save_checkpoint(model.parent / "other", other, ModelConfig.load(model))
    (model.parent / "other" / "config.json").replace(model / "config.json")
    return model


def test_info_refuses_the_config_of_another_student(mixed: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(mixed)])
    assert isinstance(result.exception, ModelError)
    assert result.stdout == ""
    assert re.fullmatch(
        r".*model\.safetensors: tensors do not fit the architecture in config\.json: \d+ of another shape .*"
        r"weights and config\.json must come from the same model",
        str(result.exception),
    )


def test_info_refuses_the_config_of_another_student_without_torch(mixed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "info", str(mixed)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert re.search(r"model\.safetensors: [\d,]+ parameters, config\.json is of a model with [\d,]+;", done.stderr)


def test_info_refuses_weights_that_are_cut_short(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    result = CliRunner().invoke(app, ["info", str(model)])
    assert isinstance(result.exception, ModelError)
    assert "not all of one; restore it or train again" in str(result.exception)


def test_info_of_whole_weights_needs_no_torch(model: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, "info", str(model)], capture_output=True, check=True)


def test_info_needs_no_torch(red_model: Path) -> None:
    code = (
        "import sys; from boxpromptiml.cli.main import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert not {'torch', 'timm', 'cv2', 'onnx'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, "info", str(red_model)], check=True, capture_output=True)


def test_export_makes_a_model_that_can_be_evaluated(model: Path, folders: Path, tmp_path: Path) -> None:
    assert "model.onnx" in _run("export", model)
    text = _run("evaluate", model, folders, "--json", tmp_path / "out" / "figures.json", "--threads", 1)
    assert "1 + 1" in text
    report = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert (report["n_tampered"], report["n_authentic"]) == (1, 1)
    assert report["model"]["params"] == ModelConfig.load(model).params


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "no such model folder"),
        (["export", "nowhere"], "no such model folder"),
        (["evaluate", "model", "set"], "run  boxpromptiml export"),
    ],
)
def test_bad_input_is_one_line(
    model: Path,
    folders: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(model.parent)
    monkeypatch.setattr(sys, "argv", ["boxpromptiml", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
