"""The memory-guided gated fusion module (MGFM): what the image shows, weighed against what is remembered.

Follows the BoxPromptIML paper (arXiv 2511.20359); ``docs/student.md`` gives the formulas and the reason for each
choice that the paper leaves open. All attention maps up to ``A_final`` are logits; the one sigmoid comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR = 0.1  # share of tampered pixels that an untrained student predicts everywhere
CONTEXT_STRIDE = 16  # input pixels a cell of the coarse grid, on which memory is addressed


@dataclass(frozen=True)
class FusionOutput:
    """Everything that the module computed, on its own grids; (h, w) is the fine grid, (h', w') the coarse one.

    Attributes:
        attention: A_final, logits (B, 1, h, w).
        gates: G_i, one map (B, 1, h, w) in (0, 1) for each stage of the backbone, finest first; empty if gates are off.
        attention_base: A'_base, logits (B, 1, h, w).
        attention_memory: A_mem, logits (B, 1, h, w); None if memory is off.
        memory_reads: addressing weights (B, K, h', w'), which sum to 1 over the K prototypes; None if memory is off.
    """

    attention: Tensor
    gates: list[Tensor]
    attention_base: Tensor
    attention_memory: Tensor | None
    memory_reads: Tensor | None


class MemoryGuidedGatedFusion(nn.Module):
    """Fuse a feature pyramid into one attention map.

    Args:
        channels: channels of each feature map, finest first.
        stride: stride of the finest map, input pixels.
        width: channels of the common grid; twice as many on the coarse grid of context and memory.
        gates: off: plain mean of the projected features, and the average gate is 1.
        memory_size: number of prototypes; 0: no memory, the base attention alone decides.
        dual_guidance: off: mean of the ungated base attention and the memory attention. On, but without memory, it is
            the formula with alpha = 1: the base attention times the average gate.
        temperature: of the softmax that addresses the memory.
        alpha: weight of the observed branch at the start.
        learn_alpha: whether alpha is trained along.
    """

    def __init__(
        self,
        channels: Sequence[int],
        stride: int,
        *,
        width: int = 64,
        gates: bool = True,
        memory_size: int = 64,
        dual_guidance: bool = True,
        temperature: float = 0.1,
        alpha: float = 0.5,
        learn_alpha: bool = True,
    ) -> None:
        super().__init__()
        self.pool = max(1, CONTEXT_STRIDE // stride)
        self.dual_guidance = dual_guidance
        self.project = nn.ModuleList(_conv_norm(count, width, 1) for count in channels)
        self.gate = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for _ in channels) if gates else None
        self.context = nn.Sequential(_conv_norm(width, 2 * width, 3), nn.GELU())
        self.gated_base = gates and dual_guidance
        # The gates halve the base attention before they have learnt anything; the bias makes up for it.
        self.base = _AttentionHead(width, 2 * width, bias=_logit(PRIOR) / (0.5 if self.gated_base else 1.0))
        self.memory = MemoryBank(memory_size, 2 * width, temperature) if memory_size else None
        self.recall = _AttentionHead(width, 4 * width, bias=_logit(PRIOR)) if memory_size else None
        self._alpha: nn.Parameter | None = None
        self._fixed_alpha = alpha
        if memory_size and dual_guidance and learn_alpha:
            self._alpha = nn.Parameter(torch.tensor([_logit(alpha)]))

    @property
    def alpha(self) -> Tensor | float:
        """Weight of the observed branch, in [0, 1]."""
        return self._fixed_alpha if self._alpha is None else torch.sigmoid(self._alpha)

    def forward(self, features: Sequence[Tensor]) -> FusionOutput:
        """Fuse feature maps (B, C_i, h_i, w_i), finest first, on the grid of the first one."""
        grid = features[0].shape[-2:]
        projected = [_resize(project(x), grid) for project, x in zip(self.project, features, strict=True)]
        gates = [torch.sigmoid(gate(x)) for gate, x in zip(self.gate, projected, strict=True)] if self.gate else []
        fused = projected[0] * gates[0] if gates else projected[0]
        for index, x in enumerate(projected[1:], start=1):  # no stack: half the memory traffic
            fused = fused + (x * gates[index] if gates else x)
        if not gates:
            fused = fused / len(projected)
        context = self.context(_pool(fused, self.pool))

        base = self.base(fused, context)
        observed = base
        if gates and self.gated_base:
            observed = base * torch.stack(gates).mean(dim=0)
        if self.memory is None or self.recall is None:
            return FusionOutput(observed, gates, base, None, None)

        recalled, reads = self.memory(context)
        remembered = self.recall(fused, torch.cat([context, recalled], dim=1))
        alpha = self.alpha if self.dual_guidance else 0.5
        attention = alpha * observed + (1 - alpha) * remembered
        return FusionOutput(attention, gates, base, remembered, reads)


class MemoryBank(nn.Module):
    """Learnable prototypes, addressed by content.

    A query q (a 1x1 convolution of the features) reads ``sum_k softmax_k(cos(q, m_k) / temperature) m_k``. The
    prototypes m_k are parameters: gradient descent writes them, and they stay as they are at inference.
    """

    def __init__(self, size: int, width: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.query = nn.Conv2d(width, width, 1)
        self.prototypes = nn.Parameter(torch.randn(size, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Read for features (B, C, h, w): the recalled features (B, C, h, w) and the weights (B, K, h, w)."""
        query = F.normalize(self.query(x), dim=1, eps=1e-6)
        keys = F.normalize(self.prototypes, dim=1, eps=1e-6)
        weights = torch.softmax(F.conv2d(query, keys[:, :, None, None]) / self.temperature, dim=1)
        return F.conv2d(weights, self.prototypes.t()[:, :, None, None]), weights


class _AttentionHead(nn.Module):
    """Predict one map of logits on the fine grid from fine detail and coarse context."""

    def __init__(self, detail: int, context: int, bias: float) -> None:
        super().__init__()
        self.context = nn.Sequential(_conv_norm(context, detail, 3), nn.GELU())
        self.local = nn.Conv2d(detail, detail, 3, padding=1, groups=detail, bias=False)
        self.mix = nn.Sequential(_conv_norm(detail, detail, 1), nn.GELU())
        self.out = nn.Conv2d(detail, 1, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(_bias_of(self.out), bias)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        mixed = detail + _resize(self.context(context), detail.shape[-2:])
        logits: Tensor = self.out(self.mix(self.local(mixed)))
        return logits


def _conv_norm(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="linear")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def _pool(x: Tensor, factor: int) -> Tensor:
    """Mean over blocks of `factor` x `factor` cells; an edge that does not fill a block is repeated outward."""
    if factor == 1:
        return x
    down, right = (-x.shape[-2]) % factor, (-x.shape[-1]) % factor
    if down or right:
        x = F.pad(x, (0, right, 0, down), mode="replicate")
    return F.avg_pool2d(x, factor)


def _bias_of(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
