from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import StudentConfig
from boxpromptiml.student import Student, build_student

Make = Callable[..., Student]


@pytest.mark.parametrize("backbone", ["tiny_vit_5m_224", "test_convnext", "test_resnet", "mobilenetv2_100"])
@pytest.mark.parametrize("size", [(224, 224), (256, 256), (384, 256), (225, 301), (97, 64)])
def test_logits_have_the_size_of_the_image(make_student: Make, backbone: str, size: tuple[int, int]) -> None:
    student = make_student(backbone=backbone)
    with torch.no_grad():
        logits = student(torch.randn(1, 3, *size))
    assert logits.shape == (1, 1, *size)
    assert logits.isfinite().all()


def test_explaining_gives_the_same_logits(make_student: Make, images: torch.Tensor) -> None:
    student = make_student()
    with torch.no_grad():
        parts = student.explain(images)
        torch.testing.assert_close(parts.logits, student(images))
    assert [tuple(gate.shape) for gate in parts.gates] == [(2, 1, 24, 16)] * 4
    assert all(gate.min() > 0 and gate.max() < 1 for gate in parts.gates)
    assert parts.attention_base.shape == parts.attention_memory.shape == (2, 1, 24, 16)


@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224", "test_vit"])
def test_transformers_take_sizes_that_they_were_not_built_for(make_student: Make, backbone: str) -> None:
    student = make_student(backbone=backbone)
    student.check_input_size(160, 128)


@pytest.mark.parametrize(
    ("backbone", "size", "reason"),
    [("test_vit", (100, 64), "divisible by patch size"), ("mixer_s16_224", (256, 256), "doesn't match")],
)
def test_a_size_that_the_backbone_refuses_is_one_clear_line(backbone: str, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        build_student(StudentConfig(backbone=backbone), input_size=size)
    assert f"{size[1]}x{size[0]}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checking_a_size_keeps_the_mode(make_student: Make) -> None:
    student = make_student().train()
    student.check_input_size(64, 64)
    assert student.training


def test_a_few_steps_fit_one_image(make_student: Make, images: torch.Tensor) -> None:
    student = make_student().train()
    target = torch.zeros(2, 1, 96, 64)
    target[0, :, 20:60, 10:40] = 1
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = F.binary_cross_entropy_with_logits(student(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


@pytest.fixture
def tiny_vit(make_student: Make) -> Student:
    """TinyViT keeps its attention biases between forward passes in eval mode; timm's cache is emptied after each."""
    return make_student(backbone="tiny_vit_5m_224")


def test_weights_loaded_after_a_forward_pass_count(tiny_vit: Student) -> None:
    x = torch.randn(1, 3, 64, 64)
    tiny_vit(x)
    other = copy.deepcopy(tiny_vit)
    for name, parameter in other.named_parameters():
        if "attention_biases" in name:
            torch.nn.init.normal_(parameter)
    expected = other(x)
    tiny_vit.load_state_dict(other.state_dict())
    torch.testing.assert_close(tiny_vit(x), expected)


def test_averaged_weights_count(tiny_vit: Student) -> None:
    x = torch.randn(1, 3, 64, 64)
    average = torch.optim.swa_utils.AveragedModel(tiny_vit, avg_fn=lambda old, new, count: new).eval()
    average(x)
    average.update_parameters(tiny_vit)
    for name, parameter in tiny_vit.named_parameters():
        if "attention_biases" in name:
            torch.nn.init.normal_(parameter)
    average.update_parameters(tiny_vit)
    torch.testing.assert_close(average(x), tiny_vit(x))


def test_a_student_can_be_copied_after_a_forward_pass_with_gradients(tiny_vit: Student) -> None:
    x = torch.randn(1, 3, 64, 64)
    expected = tiny_vit(x)
    torch.testing.assert_close(copy.deepcopy(tiny_vit)(x), expected)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_alpha_that_cannot_move_is_refused(alpha: float) -> None:
    with pytest.raises(ValidationError, match="cannot be trained"):
        StudentConfig(alpha=alpha)
    assert StudentConfig(alpha=alpha, learn_alpha=False).alpha == alpha
