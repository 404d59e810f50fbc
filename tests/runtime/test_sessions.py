"""A network that does not belong to its folder is refused, with the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from boxpromptiml.errors import ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import DecisionRule, ModelConfig
from boxpromptiml.models import packaged_root
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.sessions import choose


@pytest.fixture
def model(red_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(red_model, tmp_path / "model"))


def change_metadata(folder: Path, key: str, value: str | None) -> None:
    path = folder / "model.onnx"
    network = onnx.load(path)
    entries = {entry.key: entry.value for entry in network.metadata_props}
    del network.metadata_props[:]
    entries.pop(key)
    onnx.helper.set_model_props(network, entries | ({} if value is None else {key: value}))
    onnx.save(network, path)


def test_the_model_id_is_the_digest_of_the_network(model: Path) -> None:
    localizer = Localizer.load(model)

    assert localizer.model_id == sha256_of(model / "model.onnx")[:16]
    assert localizer.folder == model
    assert localizer.config == ModelConfig.load(model)


@pytest.mark.parametrize("changed", [{"score_fraction": 0.2}, {"score_pooling": "logit"}])
def test_another_rule_of_the_score_makes_another_model(model: Path, changed: dict[str, Any]) -> None:
    plain = Localizer.load(model)
    rule = plain.config.decision.model_copy(update=changed)
    plain.config.model_copy(update={"decision": rule}).save(model)

    assert Localizer.load(model).model_id != plain.model_id


def test_the_network_file_itself_may_be_named(model: Path) -> None:
    assert Localizer.load(model / "model.onnx").folder == model


def test_the_environment_may_name_the_network_file_itself(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """As an argument does: what is named is what is opened."""
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(model / "model.onnx"))
    assert Localizer.load().folder == model
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(model / "model-int8.onnx"))
    for named in (None, model / "model-int8.onnx"):
        with pytest.raises(
            ModelError, match=r"no model-int8\.onnx there; run  boxpromptiml export .* --precision int8"
        ):
            Localizer.load(named)

    (model / "model-fp16.onnx").write_bytes((model / "model.onnx").read_bytes())
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(model / "model-fp16.onnx"))
    for named in (None, model / "model-fp16.onnx"):
        with pytest.raises(ModelError, match=r"model-fp16\.onnx: is fp32 inside, not fp16 as its name says"):
            Localizer.load(named)
    assert Localizer.load(precision="fp32").choice.precision == "fp32"  # what is asked for wins


def test_weights_need_not_be_there(model: Path) -> None:
    expected = Localizer.load(model).model_id
    (model / "model.safetensors").unlink()

    assert Localizer.load(str(model)).model_id == expected


def test_the_decision_rule_may_be_changed_without_a_new_export(model: Path) -> None:
    ModelConfig(preprocessing=PreprocessingSpec(height=64, width=64), decision=DecisionRule(threshold=0.3)).save(model)

    assert Localizer.load(model).config.decision.threshold == 0.3


def test_a_damaged_file_that_a_card_describes_is_not_to_be_exported_anew(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(packaged_root() / "default", copy)
    (copy / "model.onnx").write_bytes(b"")

    with pytest.raises(ModelError, match=r"model.onnx: cannot be loaded .*; install it again"):
        Localizer.load(copy)


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "model.onnx").unlink(), "no model.onnx there; run  boxpromptiml export "),
        (lambda m: (m / "model.onnx").write_bytes(b""), "cannot be loaded .*; run  boxpromptiml export "),
        (lambda m: (m / "model.onnx").write_bytes(b"no network"), "cannot be loaded"),
        (lambda m: (m / "model.onnx").write_bytes((m / "model.onnx").read_bytes()[:200]), "cannot be loaded"),
        (lambda m: (m / "config.json").unlink(), "no config.json there"),
        (lambda m: (m / "model.safetensors").write_bytes(b"new"), "exported from other weights than model.safetensors"),
        (
            lambda m: ModelConfig(preprocessing=PreprocessingSpec(height=64)).save(m),
            "differs from config.json's in width",
        ),
        (
            lambda m: ModelConfig(preprocessing=PreprocessingSpec(height=64, width=64, mean=(0, 0, 0))).save(m),
            "differs from config.json's in mean",
        ),
        (lambda m: change_metadata(m, "boxpromptiml.preprocessing", None), "was not exported by boxpromptiml"),
        (lambda m: change_metadata(m, "boxpromptiml.weights_sha256", None), "was not exported by boxpromptiml"),
        (lambda m: change_metadata(m, "boxpromptiml.preprocessing", "{}}"), "preprocessing spec is malformed"),
        (lambda m: change_metadata(m, "boxpromptiml.format_version", "99"), "format version 99, this program reads 1"),
    ],
    ids=[
        "no network",
        "empty",
        "not a network",
        "truncated",
        "no config",
        "other weights",
        "other size",
        "other mean",
        "no spec",
        "no digest",
        "malformed spec",
        "future version",
    ],
)
def test_refuses_what_does_not_hold_together(model: Path, damage: Damage, message: str) -> None:
    damage(model)

    with pytest.raises(ModelError, match=message) as caught:
        Localizer.load(model)
    assert "\n" not in str(caught.value)
    assert str(model) in str(caught.value)


def test_refuses_a_network_with_another_input(model: Path) -> None:
    path = model / "model.onnx"
    network = onnx.load(path)
    network.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    network.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 32
    del network.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(network, path)

    with pytest.raises(ModelError, match=r"takes image tensor\(uint8\) .*32, 32.* where .*64 x 64"):
        Localizer.load(model)


def test_without_a_model_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BOXPROMPTIML_MODEL", raising=False)
    monkeypatch.setattr("boxpromptiml.models.packaged.packaged_root", lambda: tmp_path)
    with pytest.raises(ModelError, match=r"no model: .*BOXPROMPTIML_MODEL.*boxpromptiml demo.*boxpromptiml train"):
        Localizer.load()
    (tmp_path / "alone.onnx").touch()
    with pytest.raises(ModelError, match=r"alone.onnx: a file, and no model folder; .* as model.onnx$"):
        Localizer.load(tmp_path / "alone.onnx")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ModelError, match=r"photo.jpg: a file, and no model folder; .* config.json$"):
        Localizer.load(tmp_path / "photo.jpg")
    with pytest.raises(ModelError, match="no such model folder"):
        Localizer.load(tmp_path / "nowhere")


def test_the_environment_names_the_default_model(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(model))

    assert Localizer.load().folder == model


def test_a_name_that_no_file_can_have_is_no_model() -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        Localizer.from_pretrained("a" * 300)


def test_an_empty_name_is_no_model() -> None:
    with pytest.raises(ModelError, match="an empty name is no model"):
        Localizer.load("")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"copies": "no"}, "copies is True, False or None, not 'no'"),
        ({"completion": 2}, "completion is True, False or None, not 2"),
        ({"looks": "2"}, "looks is 1 or 2, not '2'"),
    ],
)
def test_choices_of_a_wrong_kind(model: Path, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Localizer.load(model, **choices)


@pytest.mark.parametrize("threads", [0, -1, 2.5])
def test_threads_are_counted(model: Path, threads: int) -> None:
    with pytest.raises(ModelError, match=f"threads must be a whole number, at least 1, got {threads}"):
        Localizer.load(model, threads=threads)


@pytest.mark.parametrize(
    ("installed", "precision", "remedy"),
    [
        (("onnxruntime", "openvino", "torch"), "fp16", r"no model-fp16\.onnx there; run  .* --precision fp16$"),
        (("onnxruntime", "openvino", "torch"), "bf16", r"no model-bf16\.xml there; run  .* --format openvino --prec"),
        (("onnxruntime", "torch"), "bf16", r"no model-bf16\.pt2 there; run  .* --format torch --precision bf16$"),
        (("onnxruntime",), "bf16", r"no model-bf16\.xml there; run  .* --format openvino --precision bf16$"),
        (("onnxruntime", "torch"), "int8", r"no model-int8\.onnx there; run  .* --precision int8 --calibrate DATASET$"),
    ],
)
def test_the_remedy_is_a_file_that_can_be_made(
    monkeypatch: pytest.MonkeyPatch, model: Path, installed: tuple[str, ...], precision: str, remedy: str
) -> None:
    """ONNX Runtime knows no bf16, torch no int8."""
    monkeypatch.setattr("boxpromptiml.runtime.sessions.find_spec", lambda name: name in installed or None)

    with pytest.raises(ModelError, match=remedy):
        choose(model, precision=precision)


def test_there_is_no_int8_on_cuda(model: Path) -> None:
    with pytest.raises(ModelError, match=r"^there are no int8 files for cuda; choose another precision or device$"):
        choose(model, precision="int8", device="cuda")
