from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from boxpromptiml.errors import ModelError
from boxpromptiml.student import Backbone


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("tiny_vit_5m_224", (64, 128, 160, 320), (4, 8, 16, 32)),
        ("test_convnext", (24, 32, 48, 64), (4, 8, 16, 32)),
        ("test_resnet", (32, 48, 192, 96), (4, 8, 16, 32)),  # five stages: the stem at stride 2 is left out
        ("vgg11", (256, 512, 512, 512), (4, 8, 16, 32)),  # six stages
        ("test_vit", (64, 64, 64), (16, 16, 16)),  # no pyramid
    ],
)
def test_the_last_four_stages_are_used(name: str, channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    backbone = Backbone(name).eval()
    assert (backbone.channels, backbone.strides) == (channels, strides)
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)
    ]


def test_maps_of_channels_last_transformers_are_turned() -> None:
    backbone = Backbone("swin_tiny_patch4_window7_224").eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 96, 64))  # not the size it was trained at
    assert [tuple(f.shape[1:]) for f in features] == [(96, 24, 16), (192, 12, 8), (384, 6, 4), (768, 3, 2)]


@pytest.mark.parametrize(
    ("name", "stages", "last"),
    [
        ("mobilenetv2_gluon_100", 1, "blocks.1.1.bn3"),
        ("mobilenetv2_gluon_100", 2, "blocks.2.2.bn3"),
        ("tiny_vit_5m_224", 1, "stages_0.blocks.1.conv3.bn"),
        ("test_convnext", 1, "stages_0.blocks.0.mlp.fc2"),
    ],
)
def test_the_layers_that_lead_to_a_stage(name: str, stages: int, last: str) -> None:
    backbone = Backbone(name)
    layers = backbone.first_modules(stages)
    names = {module: name for name, module in backbone.net.named_modules()}
    assert last in [names[layer] for layer in layers]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter.fill_(float("nan"))
    # What comes first reaches the first map; what comes later was left out.
    kept = {parameter for layer in layers for parameter in layer.parameters()}
    later = {parameter for parameter in backbone.parameters() if not parameter.isnan().any()}
    assert backbone.first_modules(0) == []
    assert later.isdisjoint(kept)
    assert later


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ModelError, match=r"unknown backbone 'tiny_vit_5m', did you mean tiny_vit_5m_224"):
        Backbone("tiny_vit_5m")


def test_weights_of_a_local_file_are_used(tmp_path: Path) -> None:
    torch.manual_seed(1)
    original = timm.create_model("test_convnext")
    save_file(original.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(2)
    backbone = Backbone("test_convnext", pretrained=tmp_path / "weights.safetensors").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = original.eval().forward_intermediates(x, intermediates_only=True)
        found = backbone(x)
    for a, b in zip(found, expected[-4:], strict=True):
        torch.testing.assert_close(a, b)


def test_loading_weights_leaves_the_random_state_alone(tmp_path: Path) -> None:
    save_file(timm.create_model("test_convnext").state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Backbone("test_convnext", pretrained=tmp_path / "weights.safetensors")
    assert torch.rand(1) == expected


@pytest.mark.parametrize("case", ["missing file", "not weights", "another model", "one tensor missing"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "weights.safetensors"
    if case == "not weights":
        path.write_bytes(b"hello")
    elif case == "another model":
        save_file(timm.create_model("test_resnet").state_dict(), path)
    elif case == "one tensor missing":
        weights = timm.create_model("test_convnext").state_dict()
        del weights["stages.1.blocks.0.conv_dw.weight"]
        save_file(weights, path)
    with pytest.raises(ModelError) as caught:
        Backbone("test_convnext", pretrained=path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pretrained_weights_that_cannot_be_fetched_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"cannot fetch the pretrained weights of tiny_vit_5m_224") as caught:
        Backbone("tiny_vit_5m_224", pretrained=True)
    assert "\n" not in str(caught.value)
