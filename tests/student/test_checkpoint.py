from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import DecisionRule, ModelConfig, Provenance, count_weights
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.student import Student, count_flops, count_params, load_checkpoint, save_checkpoint

Make = Callable[..., Student]
CONFIG = ModelConfig(
    preprocessing=PreprocessingSpec(height=96, width=64),
    decision=DecisionRule(threshold=0.4),
    trained_on=Provenance(datasets=["casia"], supervision="pseudo", images=460),
)


@pytest.mark.parametrize("config", [{}, {"memory": False}, {"gates": False, "dual_guidance": False, "memory_size": 5}])
def test_what_is_saved_is_what_is_loaded(
    make_student: Make, images: torch.Tensor, tmp_path: Path, config: dict
) -> None:
    student = make_student(**config)
    written = save_checkpoint(tmp_path, student, CONFIG)
    loaded, read = load_checkpoint(tmp_path)
    assert read == written
    assert read.student == student.config
    assert (read.params, read.flops) == (count_params(student), count_flops(student, 96, 64))
    assert count_weights(tmp_path / "model.safetensors") == read.params
    assert (read.decision, read.trained_on) == (CONFIG.decision, CONFIG.trained_on)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(images), student(images))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_does_not_disturb_training(make_student: Make, tmp_path: Path) -> None:
    student = make_student().train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    save_checkpoint(tmp_path, student, CONFIG)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_folder_is_no_model_until_it_is_complete(
    make_student: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(ModelConfig, "save", full_disk)
    with pytest.raises(OSError, match=r"(?i)no space"):
        save_checkpoint(tmp_path, make_student(), CONFIG)
    with pytest.raises(ModelError, match=r"no config\.json there"):
        load_checkpoint(tmp_path)


def test_a_failed_save_leaves_the_old_checkpoint(
    make_student: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, make_student(), CONFIG)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match=r"(?i)no space"):
        save_checkpoint(tmp_path, make_student(memory=False), CONFIG)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("weights gone", r"model\.safetensors: missing"),
        ("weights cut", "not a safetensors file"),
        ("tensor gone", r"1 missing \(first: fusion\.memory\.prototypes\)"),
        ("tensor added", r"1 unknown \(first: stranger\)"),
        ("tensor reshaped", r"1 of another shape \(first: fusion\.memory\.prototypes\)"),
        ("nan", "NaN or infinity"),
        ("config gone", r"no config\.json there"),
        ("config cut", "not JSON"),
        ("other version", "format version 99"),
        ("unknown key", r"student\.depth"),
        ("unknown backbone", "unknown backbone 'tiny_vit_9m'"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(make_student: Make, tmp_path: Path, damage: str, message: str) -> None:
    save_checkpoint(tmp_path, make_student(), CONFIG)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    tensors = load_file(weights)
    key = "fusion.memory.prototypes"
    text = config.read_text()
    match damage:
        case "weights gone":
            weights.unlink()
        case "weights cut":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "tensor gone":
            save_file({k: v for k, v in tensors.items() if k != key}, weights)
        case "tensor added":
            save_file({**tensors, "stranger": torch.zeros(1)}, weights)
        case "tensor reshaped":
            save_file({**tensors, key: tensors[key][:-1].clone()}, weights)
        case "nan":
            save_file({**tensors, key: torch.full_like(tensors[key], float("nan"))}, weights)
        case "config gone":
            config.unlink()
        case "config cut":
            config.write_text(text[:100])
        case "other version":
            config.write_text(text.replace('"format_version": 1', '"format_version": 99'))
        case "unknown key":
            config.write_text(text.replace('"student": {', '"student": {"depth": 3,'))
        case "unknown backbone":
            config.write_text(text.replace("test_convnext", "tiny_vit_9m"))
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_input_size_that_the_backbone_refuses_is_not_saved(make_student: Make, tmp_path: Path) -> None:
    config = ModelConfig(preprocessing=PreprocessingSpec(height=100, width=64))
    with pytest.raises(ModelError, match="does not take 64x100 images"):
        save_checkpoint(tmp_path, make_student(backbone="test_vit"), config)
    assert list(tmp_path.iterdir()) == []
