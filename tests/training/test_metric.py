"""Validation figures against hand counts and against the metrics of the evaluation."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from boxpromptiml.metrics import get_preset
from boxpromptiml.training import metric as module
from boxpromptiml.training.metric import LocalizationMetric


def batch(rng: np.random.Generator, images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    prediction = torch.from_numpy(rng.random((images, 1, 8, 8), dtype=np.float32))
    target = torch.from_numpy(rng.random((images, 1, 8, 8), dtype=np.float32))
    tampered = torch.arange(images) % 3 != 0
    target[~tampered] = 0
    return prediction, target, torch.from_numpy(rng.random(images)), tampered


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(module).failed == 0


def test_figures_are_means_over_images() -> None:
    prediction, target, loss, tampered = batch(np.random.default_rng(0), 7)
    metric = LocalizationMetric()
    metric.update(prediction, target, loss, tampered)
    figures = metric.figures()

    preset = get_preset("imdlbenco")
    f1, iou, area = [], [], []
    for p, t, is_tampered in zip(prediction.numpy()[:, 0], target.numpy()[:, 0] > 0.5, tampered.tolist(), strict=True):
        if is_tampered:
            score = preset.score(p, t)
            f1.append(score.f1)
            iou.append(score.iou)
        else:
            area.append((p > 0.5).mean())
    assert figures["val_f1"] == pytest.approx(np.mean(f1), abs=1e-12)
    assert figures["val_iou"] == pytest.approx(np.mean(iou), abs=1e-12)
    assert figures["val_false_area"] == pytest.approx(np.mean(area))
    assert figures["val_loss"] == pytest.approx(float(loss.mean()))


def test_batches_padding_and_merging_do_not_change_the_figures() -> None:
    prediction, target, loss, tampered = batch(np.random.default_rng(1), 6)
    whole = LocalizationMetric()
    whole.update(prediction, target, loss, tampered)
    first, second = LocalizationMetric(), LocalizationMetric()
    first.update(prediction[:4], target[:4], loss[:4], tampered[:4])
    second.update(prediction[3:], target[3:], loss[3:], tampered[3:], weight=torch.tensor([0.0, 1, 1]))
    total = first.compute() + second.compute()
    torch.testing.assert_close(total, whole.compute())


def test_authentic_images_count_for_the_false_area_alone() -> None:
    metric = LocalizationMetric()
    zeros = torch.zeros(2, 1, 4, 4)
    metric.update(zeros, zeros, torch.zeros(2), torch.tensor([False, False]))
    assert metric.figures() == {"val_false_area": 0.0, "val_loss": 0.0}
