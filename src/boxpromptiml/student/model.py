"""The student: backbone, memory-guided gated fusion, upsampling. It sees nothing but the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import StudentConfig
from boxpromptiml.student.backbone import Backbone
from boxpromptiml.student.complexity import evaluating
from boxpromptiml.student.evidence import Evidence
from boxpromptiml.student.mgfm import FusionOutput, MemoryGuidedGatedFusion


@dataclass(frozen=True)
class StudentOutput(FusionOutput):
    """What `Student.explain` returns: the parts of the fusion module and the logits they lead to.

    Attributes:
        logits: (B, 1, H, W) at the size of the input; their sigmoid is the paper's A_refined.
    """

    logits: Tensor


class Student(nn.Module):
    """Localizes manipulations in single images, normalised with ImageNet's mean and deviation.

    Args:
        config: the architecture.
        pretrained: backbone weights: True for timm's own, a path for a local file (see `Backbone`), False for none.

    Raises:
        ModelError: the backbone is unknown or its weights cannot be had.
    """

    def __init__(self, config: StudentConfig, pretrained: bool | str | Path = False) -> None:
        super().__init__()
        self.config = config
        self.evidence = Evidence(config.evidence, config.evidence_width) if config.evidence else None
        self.backbone = Backbone(config.backbone, pretrained, self.evidence.inputs if self.evidence is not None else 0)
        self.fusion = MemoryGuidedGatedFusion(
            self.backbone.channels + (self.evidence.channels if self.evidence is not None else ()),
            self.backbone.strides[0],
            width=config.width,
            gates=config.gates,
            memory_size=config.memory_size if config.memory else 0,
            dual_guidance=config.dual_guidance,
            temperature=config.temperature,
            alpha=config.alpha,
            learn_alpha=config.learn_alpha,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, H, W) for normalised images, float32 (B, 3, H, W), of any size that the backbone takes."""
        return self.fused(self.stages(x), x)

    def explain(self, x: Tensor) -> StudentOutput:
        """The same logits together with gates, attention maps and memory reads, to be drawn."""
        parts: FusionOutput = self.fusion(self.stages(x))
        return StudentOutput(**vars(parts), logits=_upsample(parts.attention, x))

    def fused(self, stages: list[Tensor], x: Tensor) -> Tensor:
        """Logits (B, 1, H, W) from what `stages` made of the images."""
        return _upsample(self.fusion(stages).attention, x)

    def stages(self, x: Tensor) -> list[Tensor]:
        """What is fused: the backbone's maps (B, C_i, h_i, w_i), finest first, and the evidence behind them."""
        if self.evidence is None:
            plain: list[Tensor] = self.backbone(x)
            return plain
        traces: list[Tensor]
        joined, traces = self.evidence(x)
        features: list[Tensor] = self.backbone(joined)
        return features + traces

    def check_input_size(self, height: int, width: int) -> None:
        """Run one blank image of that size through the network.

        Raises:
            ModelError: the backbone does not take images of that size.
        """
        try:
            with evaluating(self), torch.no_grad():
                weight = next(self.parameters())
                self(torch.zeros(1, 3, height, width, device=weight.device, dtype=weight.dtype))
        except (AssertionError, RuntimeError, ValueError, IndexError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"backbone {self.config.backbone} does not take {width}x{height} images ({reason}); "
                "choose another input size or backbone"
            ) from error


def build_student(
    config: StudentConfig,
    pretrained: bool | str | Path = False,
    input_size: tuple[int, int] | None = None,
) -> Student:
    """A new student, checked to take images of `input_size` (height, width) if that is given.

    Raises:
        ModelError: unknown backbone, weights that cannot be had, or an input size that the backbone does not take.
    """
    student = Student(config, pretrained)
    if input_size is not None:
        student.check_input_size(*input_size)
    return student


def _upsample(logits: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
