"""Students small enough for a unit test; `test_convnext` is timm's own miniature, with all four strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from boxpromptiml.model_config import StudentConfig
from boxpromptiml.student import Student, build_student


@pytest.fixture
def make_student() -> Callable[..., Student]:
    """``make_student(**config)``: a seeded student in eval mode whose output depends visibly on its input."""

    def make(**config: Any) -> Student:
        torch.manual_seed(0)
        student = build_student(StudentConfig(**{"backbone": "test_convnext", "width": 16, **config}))
        for name, parameter in student.named_parameters():
            if name.endswith("out.weight"):
                torch.nn.init.normal_(parameter, std=0.5)
        return student.eval()

    return make


@pytest.fixture
def images() -> torch.Tensor:
    """Two normalised images, float32 (2, 3, 96, 64)."""
    return torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
