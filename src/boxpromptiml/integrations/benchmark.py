"""The student under the model contract of IMDLBenCo, without importing IMDLBenCo.

The contract is the one of the benchmark's training and testing scripts (0.1.45, ``statics/base/mymodel.py``): the model
is built from the arguments of its constructor, which become options of the command line by their annotated types, and
``forward`` takes what the data loader gives and returns losses, predictions and pictures in one dictionary.
"""
# No `from __future__ import annotations`: the benchmark calls the annotations of the constructor to parse options.

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import DecisionRule, ModelConfig, Provenance, StudentConfig
from boxpromptiml.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PreprocessingSpec
from boxpromptiml.scaling import LOGIT_EDGE
from boxpromptiml.student import StudentOutput, build_student, load_checkpoint, save_checkpoint

DEFAULT_SIZE = 224
TIMM = "timm"


class BenchmarkStudent(nn.Module):
    """A student as the benchmark wants its models.

    The benchmark's loader gives normalised floats. The 8-bit pixels they were made of are restored exactly, and from
    there on the network computes what `boxpromptiml evaluate` and `localize` compute: of a model with ``looks: 2``,
    unless it is being trained, the mean over each image and the same turned by half.

    Args:
        checkpoint: a model folder of ours; empty: a new student with random weights, to be trained by the benchmark.
        image_size: side of the benchmark's square images, which the benchmark's scripts fill in by themselves; 0: the
            checkpoint's own size, or 224.
        backbone: of a new student, any timm model that supports ``features_only``.
        pretrained: backbone weights of a new student: a local file, ``timm`` for timm's own, empty for random ones.

    Attributes:
        student: the network.
        config: of its model folder.

    Raises:
        ModelError: a checkpoint that is none, or that takes images of another size; an unknown backbone; weights that
            cannot be had.
    """

    benchmark_mean: Tensor
    benchmark_std: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        checkpoint: str = "",
        image_size: int = 0,
        backbone: str = "tiny_vit_5m_224",
        pretrained: str = "",
    ) -> None:
        super().__init__()
        if checkpoint:
            self.student, self.config = load_checkpoint(checkpoint)
            _check_size(checkpoint, self.config.preprocessing, image_size)
        else:
            size = image_size or DEFAULT_SIZE
            weights = True if pretrained == TIMM else pretrained or False
            self.student = build_student(StudentConfig(backbone=backbone), weights, (size, size))
            self.config = ModelConfig(
                student=self.student.config,
                preprocessing=PreprocessingSpec(height=size, width=size),
                trained_on=Provenance(supervision="mask"),
            )
        spec = self.config.preprocessing
        for name, values, scale in (
            ("benchmark_mean", IMAGENET_MEAN, 1),
            ("benchmark_std", IMAGENET_STD, 1),
            ("mean", spec.mean, 255),
            ("std", spec.std, 255),
        ):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * scale, persistent=False)

    def forward(
        self, image: Tensor, mask: Tensor, label: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """One batch of the benchmark.

        Args:
            image: RGB, normalised by ImageNet's mean and deviation, float32 (B, 3, H, W).
            mask: true mask, 1 = tampered, (B, 1, H, W).
            label: of the images; the loss needs the masks only.
            args: ignored, as is what the loader adds in `kwargs`.
            kwargs: ``shape_mask`` among them means padded images, which are refused.

        Returns:
            ``backward_loss`` (the paper's: mean binary cross-entropy), ``pred_mask`` probabilities (B, 1, H, W),
            ``pred_label`` image scores float64 (B,) as `boxpromptiml.runtime.image_score` has them, ``visual_loss``
            by name, and ``visual_image``: gates, attention maps and memory reads as maps (B, 1, h, w) in [0, 1].

        Raises:
            ModelError: padded images, or images of another size than the student's.
        """
        spec = self.config.preprocessing
        if "shape_mask" in kwargs or tuple(image.shape[-2:]) != (spec.height, spec.width):
            raise ModelError(
                f"the student takes images resized to {spec.width}x{spec.height}, got {image.shape[-1]}x"
                f"{image.shape[-2]}{' padded' if 'shape_mask' in kwargs else ''}; {_remedy(spec)}"
            )
        fed = (self.pixels(image) - self.mean) / self.std
        output = self.student.explain(fed)
        logits = output.logits.float()
        loss = F.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype))
        rule, scaling = self.config.decision, self.config.decision.map_scaling
        if rule.looks == 2 and not self.training:  # what is trained is one look
            turned = self.student(fed.flip(-2, -1)).float().flip(-2, -1)
            logits = torch.logit((logits.sigmoid() + turned.sigmoid()) / 2, LOGIT_EDGE)
        if rule.adaptive is not None:
            shifts = [rule.shift(map_) for map_ in logits.detach().sigmoid().cpu().numpy()]
            logits = logits + logits.new_tensor(shifts).view(-1, 1, 1, 1)
        probability = torch.sigmoid(logits * scaling.slope + scaling.bias)
        return {
            "backward_loss": loss,
            "pred_mask": probability,
            "pred_label": image_scores(probability, rule),
            "visual_loss": {"bce_loss": loss},
            "visual_image": pictures(output),
        }

    def pixels(self, image: Tensor) -> Tensor:
        """The 8-bit pixels that were normalised, float32 (B, 3, H, W), whole numbers from 0 to 255."""
        restored = (image * self.benchmark_std + self.benchmark_mean) * 255
        return restored.round().clamp(0, 255)

    def save(self, folder: str | Path) -> ModelConfig:
        """Write what the benchmark has trained as a model folder, ready for `boxpromptiml export` and `evaluate`.

        Returns:
            The config as written.
        """
        return save_checkpoint(folder, self.student, self.config)


def image_scores(probability: Tensor, rule: DecisionRule) -> Tensor:
    """Scores by the highest pixels of each map (at least one), float64 (B,).

    The same as `boxpromptiml.runtime.image_score`; `probability` is (B, 1, H, W).
    """
    flat = probability.detach().flatten(1)
    pixels = int(flat.shape[1])  # a tensor while the benchmark's test_complexity.py traces the model
    count = min(pixels, max(1, round(rule.score_fraction * pixels)))
    highest = flat.topk(count, dim=1, sorted=False).values.double()
    scaling = rule.score_scaling
    if rule.score_pooling == "logit":
        return torch.sigmoid(scaling.slope * torch.logit(highest, LOGIT_EDGE).mean(1) + scaling.bias)
    pooled = highest.mean(1)
    if scaling.is_identity:
        return pooled
    return torch.sigmoid(scaling.slope * torch.logit(pooled, LOGIT_EDGE) + scaling.bias)


@torch.no_grad()
def pictures(output: StudentOutput) -> dict[str, Tensor]:
    """What the student looked at, each (B, 1, h, w) in [0, 1] on its own grid.

    ``gate_1`` (finest) to ``gate_4``, ``attention_base`` (what is observed), ``attention_memory`` (what is remembered),
    ``attention_final``, and ``memory_focus``: the weight of the most recalled prototype, 1 where a place reminds of one
    pattern only. What the architecture has switched off is missing.
    """
    shown = {f"gate_{number}": gate for number, gate in enumerate(output.gates, start=1)}
    shown["attention_base"] = output.attention_base.sigmoid()
    if output.attention_memory is not None:
        shown["attention_memory"] = output.attention_memory.sigmoid()
    if output.memory_reads is not None:
        shown["memory_focus"] = output.memory_reads.amax(dim=1, keepdim=True)
    shown["attention_final"] = output.attention.sigmoid()
    return {name: picture.detach().float() for name, picture in shown.items()}


def _check_size(checkpoint: str, spec: PreprocessingSpec, image_size: int) -> None:
    if spec.fit != "stretch":
        raise ModelError(
            f"{checkpoint}: takes images at their own size, IMDLBenCo resizes them; train with fit stretch"
        )
    if spec.height != spec.width:
        raise ModelError(f"{checkpoint}: takes {spec.width}x{spec.height} images, IMDLBenCo makes square ones only")
    if image_size and image_size != spec.height:
        raise ModelError(
            f"{checkpoint}: takes {spec.width}x{spec.height} images, not {image_size}x{image_size}; {_remedy(spec)}"
        )


def _remedy(spec: PreprocessingSpec) -> str:
    return f"start IMDLBenCo with  --if_resizing --image_size {spec.height}"
