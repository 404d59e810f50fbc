"""``config.json`` of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import DecisionRule, ModelConfig, Provenance, StudentConfig, count_weights
from boxpromptiml.preprocessing import PreprocessingSpec


def test_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    config = ModelConfig(
        student=StudentConfig(backbone="resnet18", memory=False, alpha=0.25),
        preprocessing=PreprocessingSpec(height=128, width=160),
        decision=DecisionRule(threshold=0.4, score_fraction=0.01),
        trained_on=Provenance(
            datasets=["casia"], supervision="pseudo", teacher="grabcut", images=12, recipe={"a": [1]}
        ),
        params=5,
        flops=7,
    )

    config.save(tmp_path / "model")

    assert ModelConfig.load(tmp_path / "model") == config
    assert ModelConfig.load(str(tmp_path / "model")) == config


def test_provenance_keeps_what_a_later_version_adds(tmp_path: Path) -> None:
    ModelConfig(trained_on=Provenance.model_validate({"seconds": 3})).save(tmp_path)

    assert json.loads((tmp_path / "config.json").read_text())["trained_on"]["seconds"] == 3
    assert ModelConfig.load(tmp_path).trained_on.model_dump()["seconds"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"format_version": None}, "format version None"),
        ({"format": "other"}, "format: Input should be 'boxpromptiml'"),
        ({"student": {"widht": 64}}, "student.widht"),
        ({"decision": {"threshold": 1.5}}, "decision.threshold: Input should be less than or equal to 1"),
        ({"preprocessing": {"height": "tall"}}, "preprocessing.height: Input should be a valid integer"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**ModelConfig().model_dump(mode="json"), **change}))

    with pytest.raises(ModelError, match=message) as caught:
        ModelConfig.load(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "not JSON"), (b"", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[]", "format version None"), (b"3", "None")],
)
def test_files_of_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)

    with pytest.raises(ModelError, match=message):
        ModelConfig.load(tmp_path)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json there; a model is a folder"):
        ModelConfig.load(tmp_path / "nowhere")


@pytest.mark.parametrize("model", [StudentConfig, DecisionRule, Provenance, PreprocessingSpec])
def test_every_key_is_described(model: type[BaseModel]) -> None:
    assert [name for name, key in model.model_fields.items() if not key.description] == []


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (StudentConfig, {"alpha": 1.1}),
        (StudentConfig, {"temperature": 0}),
        (StudentConfig, {"memory_size": -1}),
        (DecisionRule, {"score_fraction": 0}),
        (DecisionRule, {"treshold": 0.5}),
        (DecisionRule, {"looks": 4}),
        (DecisionRule, {"adaptive": {"background": 0.3, "peak": 1.0, "usual_background": -4, "usual_peak": 0}}),
    ],
)
def test_values_out_of_range_are_refused(model: type[BaseModel], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(values)


def _safetensors(**tensors: tuple[str, list[int], int]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def test_weights_are_counted_without_statistics_and_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {
        "conv.weight": ("F32", [4, 3, 2, 2], 192),
        "alpha": ("BF16", [], 2),
        "norm.running_mean": ("F32", [4], 16),
        "norm.running_var": ("F32", [4], 16),
        "norm.num_batches_tracked": ("I64", [], 8),
        "kept": ("BOOL", [5], 5),
    }
    path.write_bytes(_safetensors(**tensors))
    assert count_weights(path) == 48 + 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"the red model has no weights",
        b"\xff" * 8,
        _safetensors(weight=("F32", [2], 8))[:-1],
        _safetensors(weight=("F32", [2], 8)) + b"more",
        (2).to_bytes(8, "little") + b"[]",
        (7).to_bytes(8, "little") + b'{"a":1}',
    ],
)
def test_what_is_not_a_whole_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: not a safetensors file, or not all of one; restore it"):
        count_weights(path)
