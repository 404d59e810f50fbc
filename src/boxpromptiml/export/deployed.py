"""What is exported: the student between 8-bit pixels and probabilities, at full or half precision."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime.card import Precision
from boxpromptiml.student import Student

_HALVES: dict[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


class DeployedStudent(nn.Module):
    """The student with its pre- and post-processing: uint8 (B, 3, H, W) to probabilities, float32 (B, 1, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, student: Student, spec: PreprocessingSpec) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)

    def forward(self, image: Tensor) -> Tensor:
        """Probability of manipulation, in [0, 1], of every pixel of 8-bit RGB images at the network's size."""
        logits: Tensor = self.student((image.to(self.mean.dtype) - self.mean) / self.std)
        # The sigmoid of half a precision would leave no probabilities between 0.996 and 1.
        return torch.sigmoid(logits if logits.dtype == self.mean.dtype else logits.to(self.mean.dtype))


def at_precision(model: DeployedStudent, precision: Precision) -> DeployedStudent:
    """A copy whose learnt layers compute in half precision; the same model for fp32 and int8.

    Normalisation and sigmoid stay in float32, and so do the fixed filters of `student.evidence`, which look for traces
    smaller than half precision can tell apart in pixels.
    """
    dtype = _HALVES.get(precision)
    if dtype is None:
        return model
    half = copy.deepcopy(model)
    student = half.student
    student.to(dtype)
    student.backbone = nn.Sequential(_To(dtype), student.backbone)  # type: ignore[assignment]
    if student.evidence is not None and model.student.evidence is not None:
        # Taken from the original: rounding must not stay in them.
        exact = dict(model.student.evidence.named_buffers())
        for name in set(exact) - set(model.student.evidence.state_dict()):  # the filters: not learnt, not saved
            owner, _, last = name.rpartition(".")
            setattr(student.evidence.get_submodule(owner), last, exact[name].clone())
        if student.evidence.residual is not None:
            student.evidence.residual.fine.insert(0, _To(dtype))
        if student.evidence.dct is not None:
            student.evidence.dct.mix.insert(0, _To(dtype))
    return half.eval()


class _To(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)
