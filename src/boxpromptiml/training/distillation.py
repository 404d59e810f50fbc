"""Learning from a model that is trained already: its maps, and the features that lead to them.

A small network from random weights learns little from a few hundred images. One that was pretrained, or may look at
more than the pixels' colours, tells it on the same windows what there is to be seen in every cell: many numbers an
image instead of one mask (Romero et al. 2015, FitNets; Hinton et al. 2015).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxpromptiml.errors import RecipeError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import WEIGHTS_NAME
from boxpromptiml.runtime.finding import find_model
from boxpromptiml.student import Student, load_checkpoint
from boxpromptiml.student.complexity import evaluating
from boxpromptiml.training.objective import DistillationConfig
from boxpromptiml.training.recipe import Recipe

_EPSILON = 1e-5


class Distillation(nn.Module):
    """How far a student is from the model that it learns from.

    Backbones are compared where their strides agree: a convolution of 1 x 1 projects the student's channels to the
    model's, each of which is brought to mean 0 and deviation 1 in the batch, so that none counts for its scale.

    Args:
        config: weights of the terms.
        student: the learner.
        model: what it learns from; its weights stay as they are, and are no part of this module's state.

    Attributes:
        pairs: stages of the student and of the model that are compared.
    """

    model: Student

    def __init__(self, config: DistillationConfig, student: Student, model: Student) -> None:
        super().__init__()
        self._config = config
        # No submodule: it is neither trained nor saved, nor has it a training mode.
        self.__dict__["model"] = model.requires_grad_(False).eval()
        own, others = student.backbone, model.backbone
        strides = others.strides if config.features else ()
        self.pairs = [(own.strides.index(stride), i) for i, stride in enumerate(strides) if stride in own.strides]
        self.projections = nn.ModuleList(nn.Conv2d(own.channels[i], others.channels[j], 1) for i, j in self.pairs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distillation:
        # What moves this module to a device or into another memory layout.
        self.model._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, image: Tensor, stages: list[Tensor], logits: Tensor) -> Tensor:
        """The distance for each image, (B,), weighted as the recipe says.

        Args:
            image: what the model is shown, normalised, float32 (B, 3, H, W).
            stages: of the student, by `Student.stages`.
            logits: of the student, (B, 1, H, W).
        """
        with torch.no_grad():
            features = self.model.stages(image)
            target = self.model.fused(features, image).float().sigmoid()
        losses = logits.new_zeros(len(logits), dtype=torch.float32)
        if self._config.maps:
            entropy = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
            losses = losses + self._config.maps * entropy.flatten(1).mean(1)
        for (own, other), projection in zip(self.pairs, self.projections, strict=True):
            distance = (projection(stages[own]).float() - standardised(features[other])).square()
            losses = losses + self._config.features / len(self.pairs) * distance.flatten(1).mean(1)
        return losses


def standardised(features: Tensor) -> Tensor:
    """Feature maps (B, C, h, w) with mean 0 and deviation 1 in every channel of the batch, float32."""
    variance, mean = torch.var_mean(features.float(), dim=(0, 2, 3), keepdim=True, correction=0)
    return (features.float() - mean) * (variance + _EPSILON).rsqrt()


def distillation_of(recipe: Recipe, student: Student) -> Distillation | None:
    """What the recipe's `distillation` asks for; None where it names no model.

    Raises:
        ModelError: there is no such model, or it does not take the recipe's input size.
        MissingExtraError: a hub id without huggingface_hub.
        RecipeError: it expects pixels in another scale, or its backbone cannot be compared with the student's.
    """
    config = recipe.distillation
    if config.model is None:
        return None
    model, settings = load_checkpoint(find_model(config.model))
    if (settings.preprocessing.mean, settings.preprocessing.std) != (recipe.input.mean, recipe.input.std):
        raise RecipeError(f"{config.model}: has another input.mean or input.std than the recipe; make them the same")
    size = recipe.input.height, recipe.input.width
    model.check_input_size(*size)
    made = Distillation(config, student, model)
    if config.features and not made.pairs:
        strides = f"{model.backbone.strides}, the student's {student.backbone.strides}"
        raise RecipeError(f"{config.model}: its backbone has strides {strides}; set distillation.features to 0")
    blank = torch.zeros(1, 3, *size)
    with evaluating(student), torch.no_grad():
        own, others = student.stages(blank), model.stages(blank)
    for i, j in made.pairs:
        # Of sides that are no multiples of the stride, some backbones round up and some down.
        if own[i].shape[2:] != others[j].shape[2:]:
            grids = [" x ".join(map(str, maps.shape[2:])) for maps in (others[j], own[i])]
            raise RecipeError(
                f"{config.model}: of {size[1]} x {size[0]} images its backbone has maps of {grids[0]} cells, the "
                f"student's {grids[1]}; make input.height and input.width multiples of 32, or set "
                "distillation.features to 0"
            )
    return made


def distillation_digest(recipe: Recipe) -> str | None:
    """SHA-256 of the weights that the recipe's model has now; None where it names none.

    Raises:
        ModelError: there is no such model.
    """
    if recipe.distillation.model is None:
        return None
    path = find_model(recipe.distillation.model) / WEIGHTS_NAME
    return sha256_of(path) if path.is_file() else None
