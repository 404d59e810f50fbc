"""The Lightning glue: the student stays a plain module, everything that belongs to training is here."""

from __future__ import annotations

import hashlib
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from boxpromptiml.student import Student
from boxpromptiml.training.distillation import Distillation
from boxpromptiml.training.items import Batch
from boxpromptiml.training.label_metric import LabelMetric
from boxpromptiml.training.loss import image_label_loss, image_logits, segmentation_loss, targets
from boxpromptiml.training.metric import LocalizationMetric
from boxpromptiml.training.optimization import build_optimizer, build_scheduler
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.refinement import corrected, mixing


class StudentTraining(L.LightningModule):
    """Trains a student.

    Args:
        student: maps normalised images (B, 3, H, W) to logits (B, 1, H, W).
        recipe: of the run.
        steps_per_epoch: optimiser steps, for the schedule.
        channels_last: memory layout of images and convolutions.
        supervision: label: loss and validation look at nothing but the images' labels.
        images: of the dataset in an epoch; indices beyond are synthesised ones.
        distillation: from a model that is trained already.

    Attributes:
        epoch: the run's epoch, which the trainer of a resumed run does not know.
        batch: batches of this epoch that are done.
        step: optimiser steps that are done.
        sums: loss x images, and images, of this epoch and process; float64 (2,); without what distillation adds.
        last_loss: of the last batch, detached, with it.
        figures: of the last validation.
        validation_error: of the first validation image that could not be loaded; empty if there is none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        student: Student,
        recipe: Recipe,
        steps_per_epoch: int,
        channels_last: bool,
        supervision: Supervision = "pseudo",
        images: int = 2**62,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.distillation = distillation
        self.recipe = recipe
        self._steps_per_epoch = steps_per_epoch
        self._batches_per_epoch = steps_per_epoch * recipe.optimizer.accumulate
        self._images = images
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            student.to(memory_format=torch.channels_last)
            if distillation is not None:
                distillation.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(recipe.input.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(recipe.input.std).view(1, 3, 1, 1) * 255, persistent=False)
        self._frozen = _frozen(student, recipe.optimizer.frozen_stages)
        decay = recipe.optimizer.ema_decay
        self.average: AveragedModel | None = None
        if decay:
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            # Copied before the first forward: some backbones cache tensors in forward that cannot be copied.
            self.average = AveragedModel(student, multi_avg_fn=average, use_buffers=True)
            self.average.requires_grad_(False)
        self.validation = LabelMetric() if supervision == "label" else LocalizationMetric()
        self.epoch = 0
        self.batch = 0
        self.step = 0
        self.sums = torch.zeros(2, dtype=torch.float64)
        self.last_loss = torch.zeros(())
        self.figures: dict[str, float] = {}
        self.validation_error = ""

    @property
    def best_student(self) -> nn.Module:
        """The student that is validated and saved: the moving average where there is one."""
        if self.average is not None:
            averaged: nn.Module = self.average.module
            return averaged
        return self.student

    def normalised(self, image: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to the network's float32 input."""
        return ((image.float() - self.mean) / self.std).contiguous(memory_format=self._format)

    def train(self, mode: bool = True) -> StudentTraining:
        """Training mode, in which frozen layers keep their statistics too."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Layers that draw at random (dropout, stochastic depth) draw by position, so that a resumed run draws alike.
        torch.manual_seed(_step_seed(self.recipe.seed, self.epoch, self.batch, self.global_rank))
        image = self.normalised(batch["image"])
        stages = self.student.stages(image)
        logits = self.student.fused(stages, image)
        share = mixing(self.recipe.refinement, self.epoch + self.batch / self._batches_per_epoch)
        losses = self._losses(logits, batch) if share == 0 else self._refined(logits, image, batch, share)
        loss, images = losses.mean(), len(losses)
        # Without what distillation adds, as in validation: of the two, one can be read beside the other.
        self.sums += torch.stack([loss.detach().double() * images, loss.new_tensor(images)]).cpu()
        if self.distillation is not None:
            seen = self.normalised(batch["clean"]) if "clean" in batch else image
            loss = loss + self.distillation(seen, stages, logits).mean()
        self.last_loss = loss.detach()
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.step += 1
        if self.average is not None:
            self.average.update_parameters(self.student)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.best_student(self.normalised(batch["image"])).float()
        self.validation_error = self.validation_error or batch["error"]
        known = (
            image_logits(logits, self.recipe.loss.top_fraction)
            if isinstance(self.validation, LabelMetric)
            else targets(batch["mask"], self.recipe.loss)
        )
        losses = self._losses(logits, batch)
        self.validation.update(logits.sigmoid(), known, losses, batch["tampered"], batch["weight"])

    def _losses(self, logits: Tensor, batch: Batch) -> Tensor:
        if isinstance(self.validation, LabelMetric):
            return image_label_loss(logits, batch["tampered"], self.recipe.loss)
        return segmentation_loss(logits, targets(batch["mask"], self.recipe.loss), self.recipe.loss, batch["tampered"])

    def _refined(self, logits: Tensor, image: Tensor, batch: Batch, share: float) -> Tensor:
        target = targets(batch["mask"], self.recipe.loss)
        own = logits.detach()
        if self.average is not None:
            with torch.no_grad():
                own = self.average.module.eval()(image)
        # Of the mask as it is: cut at 0.5, it no longer tells the inside of the boxes from the outside.
        better, weight = corrected(target, own, share, batch["mask"] > 0)
        # Beyond the dataset's images come synthesised ones, whose masks are exact.
        teachers = _spread(batch["index"] < self._images)
        better, weight = torch.where(teachers, better, target), torch.where(teachers, weight, torch.ones_like(weight))
        return segmentation_loss(logits, better, self.recipe.loss, batch["tampered"], weight)

    def on_validation_epoch_start(self) -> None:
        self.validation.reset()

    def on_validation_epoch_end(self) -> None:
        self.figures = self.validation.figures()

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.student, self.recipe.optimizer, self.distillation)
        scheduler = build_scheduler(optimizer, self.recipe.optimizer, self._steps_per_epoch, self.recipe.epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _frozen(student: Student, stages: int) -> list[nn.Module]:
    """The layers of the backbone's first stages, which from now on keep their weights and statistics."""
    layers = student.backbone.first_modules(stages)
    for layer in layers:
        layer.requires_grad_(False).eval()
    return layers


def _spread(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _step_seed(*position: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(position).encode(), digest_size=7).digest(), "big")
