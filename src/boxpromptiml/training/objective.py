"""The part of a recipe that says what is minimised: against masks, corrected masks, and another model. Torch-free."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossConfig(_Section):
    """loss = BCE(prediction, soft mask) + dice * (1 - soft Dice) + image * BCE(top pixels, label); from image labels
    alone, only the last of these."""

    positive_weight: float = Field(
        1.0, gt=0, le=1000, description="Weight of tampered pixels in the cross-entropy; 1 is the paper's."
    )
    dice: float = Field(0.0, ge=0, le=100, description="Weight of a soft Dice term per image; 0 is the paper's.")
    hard_targets: bool = Field(
        False,
        description="Cut soft targets at 0.5 (1 above, 0 otherwise), in validation as well; false is the paper's.",
    )
    image: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Weight of the image's own cross-entropy, of its logit (see top_fraction) against whether anything "
        "in it is tampered; 0 is the paper's. It keeps authentic images below the threshold as wholes.",
    )
    top_fraction: float = Field(
        0.05,
        gt=0,
        le=1,
        description="An image's logit is the mean of this share of its pixels' logits, the highest: for supervision by "
        "image labels, where it is all there is, and for `image`.",
    )


class RefinementConfig(_Section):
    """Beyond the paper: the student's own predictions correct the teacher's masks, inside the boxes only."""

    start: float = Field(
        0.0,
        ge=0,
        description="Epochs of plain training before it begins; 0: never. Needs supervision by pseudo masks. "
        "Synthesised images, whose masks are exact, are left alone.",
    )
    share: float = Field(0.5, gt=0, le=1, description="Of the student in the corrected mask, when fully in force.")
    ramp: float = Field(2.0, gt=0, description="Epochs over which that share rises from 0.")


class DistillationConfig(_Section):
    """Beyond the paper: learning also from a model that is trained already, on the same images."""

    model: str | None = Field(
        None,
        description="A packaged model's name, a model folder or a hub id; null: none. Of any architecture; it sees the "
        "windows that the student sees, so it should have been trained with the same input.fit.",
    )
    maps: float = Field(1.0, ge=0, le=100, description="Weight of the cross-entropy against that model's map.")
    features: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Weight of the squared distance to its backbone's features, where strides agree; each of them is "
        "brought to mean 0 and deviation 1.",
    )
    clean: bool = Field(
        False,
        description="That model sees each image before augmentation changes its colours, blurs and compresses it: the "
        "student learns to see through that. With a model of its own architecture it learns to be robust.",
    )

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.model is not None and not (self.maps or self.features):
            raise ValueError("distillation.maps and distillation.features are both 0; set model to null instead")
        return self
