from __future__ import annotations

import pytest
import torch
from timm.layers import set_fused_attn
from torch import nn

from boxpromptiml.model_config import StudentConfig
from boxpromptiml.student import build_student, count_flops, count_params


def test_counts_of_a_layer_by_hand() -> None:
    conv = nn.Conv2d(3, 8, 5, padding=2)
    assert count_params(conv) == 8 * 3 * 25 + 8
    assert count_flops(conv, 10, 20) == 10 * 20 * 8 * 3 * 25
    conv.weight.requires_grad_(False)
    assert count_params(conv) == 8 * 3 * 25 + 8  # frozen, but learned


def test_the_student_is_as_small_as_the_papers() -> None:
    student = build_student(StudentConfig())
    assert count_params(student) == pytest.approx(5.5e6, rel=0.02)
    assert count_flops(student, 224, 224) == pytest.approx(1.4e9, rel=0.02)


def test_the_count_does_not_depend_on_the_attention_kernel() -> None:
    counts = set()
    for fused in (True, False):
        set_fused_attn(fused)
        student = build_student(StudentConfig(backbone="test_vit", width=16))
        counts.add(count_flops(student, 64, 64))
    set_fused_attn(True)
    assert len(counts) == 1


def test_counting_keeps_mode_and_statistics() -> None:
    student = build_student(StudentConfig(backbone="test_convnext", width=16)).train()
    before = {name: value.clone() for name, value in student.named_buffers()}
    count_flops(student, 64, 64)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.named_buffers())


def test_counting_leaves_each_layer_in_its_mode() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()).train()
    model[1].eval()
    count_flops(model, 4, 4)
    assert [layer.training for layer in model] == [True, False, True]
