"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from boxpromptiml.training.recipe import OptimizerConfig


def parameter_groups(student: nn.Module, config: OptimizerConfig) -> list[dict[str, object]]:
    """Parameters by learning rate (backbone or not) and weight decay (matrices, not biases, norms and scalars).

    A parameter belongs to the backbone if its name starts with ``backbone.``.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("backbone."), parameter.ndim > 1 and "attention_biases" not in name)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.lr * (config.backbone_lr_factor if backbone else 1.0),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (backbone, decayed), parameters in groups.items()
    ]


def build_optimizer(student: nn.Module, config: OptimizerConfig, distillation: nn.Module | None = None) -> AdamW:
    """AdamW over the `parameter_groups` of the student, and of what compares it with another model."""
    groups = parameter_groups(student, config)
    if distillation is not None:
        groups += parameter_groups(distillation, config)
    return AdamW(groups, lr=config.lr, betas=config.betas)


def build_scheduler(optimizer: AdamW, config: OptimizerConfig, steps_per_epoch: int, epochs: int) -> LambdaLR:
    """Linear warm-up, then half a cosine down to ``final_lr_factor``, counted in optimiser steps."""
    total = steps_per_epoch * epochs
    # A run shorter than its warm-up would never reach its learning rate.
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total // 2)
    return LambdaLR(optimizer, lambda step: lr_factor(step, warmup, total, config.final_lr_factor))


def lr_factor(step: int, warmup: int, total: int, final: float) -> float:
    """Factor of the peak learning rate for the step that comes after `step` others."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
