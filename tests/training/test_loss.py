"""Losses against what they are by hand."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from boxpromptiml.student import build_student
from boxpromptiml.training import Recipe
from boxpromptiml.training import loss as loss_module
from boxpromptiml.training.loss import image_label_loss, image_logits, segmentation_loss, targets
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.objective import LossConfig


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(loss_module).failed == 0


@pytest.mark.parametrize(
    ("hard", "expected"),
    [(False, [0.0, 127 / 255, 128 / 255, 229 / 255, 1.0]), (True, [0.0, 0.0, 1.0, 1.0, 1.0])],
)
def test_targets(hard: bool, expected: list[float]) -> None:
    mask = torch.tensor([0, 127, 128, 229, 255], dtype=torch.uint8).view(1, 1, 1, 5)
    assert targets(mask, LossConfig(hard_targets=hard)).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fraction", "count"), [(1e-6, 1), (0.05, 3), (0.5, 32), (1.0, 64)], ids=["maximum", "5 %", "half", "mean"]
)
def test_image_logits_are_means_of_the_highest(fraction: float, count: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32))
    expected = np.sort(logits.numpy().reshape(3, -1), axis=1)[:, -count:].mean(1)
    np.testing.assert_allclose(image_logits(logits, fraction).numpy(), expected, rtol=1e-6)


def test_the_label_loss_moves_the_highest_pixels_alone() -> None:
    logits = torch.linspace(-1, 1, 2 * 16).view(2, 1, 4, 4).flip(0).requires_grad_()
    tampered = torch.tensor([True, False])
    losses = image_label_loss(logits, tampered, LossConfig(top_fraction=0.25))
    pooled = logits.detach().flatten(1)[:, -4:].mean(1)
    assert losses.tolist() == pytest.approx([float(F.softplus(-pooled[0])), float(F.softplus(pooled[1]))])
    losses.sum().backward()
    moved = logits.grad
    assert moved is not None
    assert (moved.flatten(1)[0, -4:] < 0).all()  # up, where an image is tampered
    assert (moved.flatten(1)[1, -4:] > 0).all()  # down, where it is not
    assert (moved.flatten(1)[:, :-4] == 0).all()


@pytest.mark.parametrize(("weight", "dice"), [(1.0, 0.0), (3.0, 0.0), (1.0, 0.5)])
def test_the_segmentation_loss(weight: float, dice: float) -> None:
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(2, 1, 4, 4)), rng.random((2, 1, 4, 4))
    p = 1 / (1 + np.exp(-logits))
    expected = -(weight * target * np.log(p) + (1 - target) * np.log(1 - p)).mean((1, 2, 3))
    overlap, total = (p * target).sum((1, 2, 3)), (p + target).sum((1, 2, 3))
    expected += dice * (1 - (2 * overlap + 1) / (total + 1))
    found = segmentation_loss(
        torch.from_numpy(logits), torch.from_numpy(target).float(), LossConfig(positive_weight=weight, dice=dice)
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_the_image_term_goes_by_the_label_where_the_target_does_not_tell() -> None:
    """Of a small region shrinking leaves targets below 0.5, and an unsure teacher gives no others."""
    target, config = torch.full((1, 1, 4, 4), 0.3), LossConfig(image=1.0, top_fraction=0.25)
    logits = torch.linspace(-3, 3, 16).view(1, 1, 4, 4)
    pixels = segmentation_loss(logits, target, LossConfig())
    pooled = logits.flatten()[-4:].mean()
    for tampered, expected in ((True, F.softplus(-pooled)), (False, F.softplus(pooled))):
        found = segmentation_loss(logits, target, config, torch.tensor([tampered])) - pixels
        torch.testing.assert_close(found, expected[None])
    # Without a label the target says what it can.
    torch.testing.assert_close(segmentation_loss(logits, target, config) - pixels, F.softplus(pooled)[None])


@pytest.mark.parametrize("tampered", [True, False])
def test_a_run_minimises_the_image_term_against_the_label(make_recipe: Callable[..., Recipe], tampered: bool) -> None:
    recipe = make_recipe(loss__image=1.0)
    module = StudentTraining(build_student(recipe.student, False, (64, 64)), recipe, 1, False)
    mask, logits = torch.full((1, 1, 8, 8), 70, dtype=torch.uint8), torch.linspace(-3, 3, 64).view(1, 1, 8, 8)
    batch = {"mask": mask, "tampered": torch.tensor([tampered])}
    expected = segmentation_loss(logits, mask / 255, recipe.loss, torch.tensor([tampered]))
    torch.testing.assert_close(module._losses(logits, batch), expected)  # type: ignore[arg-type]
