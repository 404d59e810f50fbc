"""Size and cost of a student, counted on the network itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    """Learned parameters, those that a training keeps as they are included."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, after which each module is in the mode that it was in: some may be frozen, others in training."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def count_flops(model: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of one forward pass for one image (3, height, width) in eval mode.

    Convolutions and matrix products, attention included, are counted; element-wise work and resizing are not. The
    field's "FLOPs" are these multiply-adds, half of PyTorch's count.
    """
    weight = next(model.parameters())
    image = torch.zeros(1, 3, height, width, device=weight.device, dtype=weight.dtype)
    # Fused attention kernels differ from machine to machine, and the counter does not know all of them.
    with (
        evaluating(model),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model(image)
    return int(counter.get_total_flops()) // 2
