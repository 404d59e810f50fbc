"""Traces beside the backbone."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import StudentConfig
from boxpromptiml.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from boxpromptiml.student import Student
from boxpromptiml.student.evidence import Evidence


def normalised(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (h, w, 3) to the network's input (1, 3, h, w)."""
    x = torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1)[None]
    return (x - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)


def pixels_of(x: torch.Tensor) -> torch.Tensor:
    return (x * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) * 255


@pytest.mark.parametrize(
    ("kinds", "channels", "strides"),
    [
        (("input",), (), ()),
        (("residual",), (16, 32), (4, 8)),
        (("dct",), (32,), (8,)),
        (("residual", "dct"), (16, 32, 32), (4, 8, 8)),
    ],
)
def test_maps_have_the_sizes_that_they_promise(
    kinds: tuple[str, ...], channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    evidence = Evidence(kinds, 16).eval()
    assert (evidence.channels, evidence.strides) == (channels, strides)
    with torch.no_grad():
        joined, maps = evidence(torch.randn(2, 3, 64, 96))
    assert joined.shape == (2, 12 if "input" in kinds else 3, 64, 96)
    assert [tuple(m.shape) for m in maps] == [(2, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]


def test_residuals_see_noise_and_not_content() -> None:
    evidence = Evidence(("residual",), 8)
    y, x = np.mgrid[0:64, 0:64]
    ramp = np.stack([2 * x, 2 * y, x + y], axis=2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-3, 4, ramp.shape)
    assert evidence.high_pass is not None
    plain = evidence.high_pass(pixels_of(normalised(ramp)))
    grainy = evidence.high_pass(pixels_of(normalised((ramp + noise).clip(0, 255).astype(np.uint8))))
    inner = np.s_[..., 4:-4, 4:-4]
    assert plain[inner].abs().max() < 1e-3
    assert grainy[inner].abs().mean() > 0.2


def test_block_frequencies_tell_a_compressed_photo_from_one_that_was_not() -> None:
    evidence = Evidence(("dct",), 8)
    photo = np.random.default_rng(0).normal(128, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=50)
    saved = np.array(Image.open(stream))
    assert evidence.dct is not None
    zero = [float(evidence.dct.filtered(pixels_of(normalised(p)))[:, :64].mean()) for p in (photo, saved)]
    assert zero[1] > 3 * zero[0]  # quantised coefficients are exactly zero, or far from it
    moved = evidence.dct.filtered(pixels_of(normalised(np.roll(saved, (3, 5), (0, 1)))))
    assert float(moved[:, :64].mean()) < zero[1] / 2  # off the grid they are neither


def test_half_precision_does_not_reach_the_fixed_filters() -> None:
    evidence = Evidence(("residual", "dct"), 8).eval()
    x = torch.randn(1, 3, 32, 32)
    assert evidence.residual is not None
    assert evidence.high_pass is not None
    expected = evidence.high_pass(pixels_of(x))
    seen: list[torch.Tensor] = []
    evidence.residual.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        evidence(x)
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-4)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="magic"):
        Evidence(("magic",), 8)


def test_evidence_joins_the_fusion_as_further_stages() -> None:
    config = StudentConfig(backbone="test_resnet", evidence=("residual", "dct"), evidence_width=8, width=16)
    student = Student(config).eval()
    with torch.no_grad():
        parts = student.explain(torch.randn(1, 3, 64, 96))
    assert len(parts.gates) == len(student.backbone.channels) + 3
    assert parts.logits.shape == (1, 1, 64, 96)
    loss = student.train()(torch.randn(2, 3, 64, 64)).square().mean()
    loss.backward()
    assert student.evidence is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.evidence.parameters())


def test_residuals_join_the_input_of_a_backbone_that_is_first_what_it_was() -> None:
    torch.manual_seed(0)
    plain = Student(StudentConfig(backbone="test_resnet", width=16)).eval()
    torch.manual_seed(0)
    joined = Student(StudentConfig(backbone="test_resnet", width=16, evidence=("input",))).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(joined(x), plain(x))
    joined.train()(x).square().mean().backward()
    first = next(layer for layer in joined.backbone.modules() if isinstance(layer, nn.Conv2d))
    assert first.weight.shape[1] == 12
    assert first.weight.grad is not None
    assert first.weight.grad[:, 3:].abs().sum() > 0
