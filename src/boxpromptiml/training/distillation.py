"""Learning from a model that is trained already: its maps, and the features that lead to them.

A small network from random weights learns little from a few hundred images. One that was pretrained, or may look at
more than the pixels' colours, tells it on the same windows what there is to be seen in every cell: many numbers an
image instead of one mask (Romero et al. 2015, FitNets; Hinton et al. 2015).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxpromptiml.errors import RecipeError
from boxpromptiml.runtime.finding import find_model
from boxpromptiml.student import Student, load_checkpoint
from boxpromptiml.training.objective import DistillationConfig
from boxpromptiml.training.recipe import Recipe


class Distillation(nn.Module):
    """How far a student is from the model that it learns from.

    Backbones are compared where their strides agree: a convolution of 1 x 1 turns the student's channels into the
    model's, whose means and deviations are set to 0 and 1, so that no feature counts for its scale.

    Args:
        config: weights of the terms.
        student: the learner.
        model: what it learns from; its weights stay as they are.

    Attributes:
        pairs: stages of the student and of the model that are compared.
    """

    def __init__(self, config: DistillationConfig, student: Student, model: Student) -> None:
        super().__init__()
        self._config = config
        self.model = model.requires_grad_(False).eval()
        own, others = student.backbone, model.backbone
        strides = others.strides if config.features else ()
        self.pairs = [(own.strides.index(stride), i) for i, stride in enumerate(strides) if stride in own.strides]
        self.turn = nn.ModuleList(nn.Conv2d(own.channels[i], others.channels[j], 1) for i, j in self.pairs)
        self.scale = nn.ModuleList(nn.BatchNorm2d(others.channels[j], affine=False) for _, j in self.pairs)

    def train(self, mode: bool = True) -> Distillation:
        """Training mode, in which the model stays as it is."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, image: Tensor, stages: list[Tensor], logits: Tensor) -> Tensor:
        """The distance for each image, (B,), weighted as the recipe says.

        Args:
            image: what the model is shown, normalised, float32 (B, 3, H, W).
            stages: of the student, by `Student.stages`.
            logits: of the student, (B, 1, H, W).
        """
        with torch.no_grad():
            known = self.model.stages(image)
            target = self.model.fused(known, image).float().sigmoid()
        losses = logits.new_zeros(len(logits), dtype=torch.float32)
        if self._config.maps:
            entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
            losses = losses + self._config.maps * entropy.flatten(1).mean(1)
        for (own, other), turn, scale in zip(self.pairs, self.turn, self.scale, strict=True):
            distance = (turn(stages[own]).float() - scale(known[other].float())).square()
            losses = losses + self._config.features / len(self.pairs) * distance.flatten(1).mean(1)
        return losses


def distillation_of(recipe: Recipe, student: Student) -> Distillation | None:
    """What the recipe's `distillation` asks for; None where it names no model.

    Raises:
        ModelError: there is no such model, or it does not take the recipe's input size.
        RecipeError: it expects pixels in another scale, or nothing of it can be compared.
    """
    config = recipe.distillation
    if config.model is None:
        return None
    model, known = load_checkpoint(find_model(config.model))
    if (known.preprocessing.mean, known.preprocessing.std) != (recipe.input.mean, recipe.input.std):
        raise RecipeError(f"{config.model}: has another input.mean or input.std than the recipe; make them the same")
    model.check_input_size(recipe.input.height, recipe.input.width)
    made = Distillation(config, student, model)
    if config.features and not made.pairs:
        strides = f"{model.backbone.strides}, the student's {student.backbone.strides}"
        raise RecipeError(f"{config.model}: its backbone has strides {strides}; set distillation.features to 0")
    return made
