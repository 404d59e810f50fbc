"""What is minimised: against a map of targets, or against an image's label alone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from boxpromptiml.training.objective import LossConfig

# Of soft targets and of probabilities, strictly above.
THRESHOLD = 0.5


def targets(mask: Tensor, config: LossConfig) -> Tensor:
    """Targets in [0, 1] from masks, uint8 (B, 1, H, W), probability x 255; 0 or 1 if the recipe wants hard ones."""
    values = mask.float() / 255
    return (values > THRESHOLD).float() if config.hard_targets else values


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    config: LossConfig,
    tampered: Tensor | None = None,
    pixels: Tensor | None = None,
) -> Tensor:
    """Loss of each image, (B,): binary cross-entropy on a soft target, and what else the recipe wants.

    Args:
        logits: (B, 1, H, W).
        target: the same shape, in [0, 1].
        config: weights.
        tampered: whether anything in an image is, bool (B,), for ``image``; None: where its target is above 0.5. A
            target does not always tell: the little that shrinking leaves of a small region, or an unsure teacher.
        pixels: how much each pixel's cross-entropy counts, (B, 1, H, W) in [0, 1]; None: all of it.
    """
    logits = logits.float()
    weight = None if config.positive_weight == 1 else logits.new_tensor(config.positive_weight)
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=pixels, pos_weight=weight, reduction="none")
    losses = entropy.flatten(1).mean(1)
    if config.dice:
        predicted, wanted = logits.sigmoid().flatten(1), target.flatten(1)
        overlap = (predicted * wanted).sum(1)
        # + 1 pixel: an authentic image that is predicted empty costs nothing.
        dice = (2 * overlap + 1) / (predicted.sum(1) + wanted.sum(1) + 1)
        losses = losses + config.dice * (1 - dice)
    if config.image:
        labels = (target > THRESHOLD).flatten(1).any(1) if tampered is None else tampered
        losses = losses + config.image * image_label_loss(logits, labels, config)
    return losses


def image_logits(logits: Tensor, fraction: float) -> Tensor:
    """Logit of each image, (B,): the mean of the highest `fraction` of its pixels' logits, of one pixel at least.

    Multiple-instance learning with top-k pooling: an image is a bag of pixels that is tampered if some of them are.
    A maximum (the smallest fraction) teaches one pixel an image, a mean (1) asks a tampered image to be tampered all
    over.

    Example:
        >>> import torch
        >>> image_logits(torch.tensor([[[[4.0, 2.0], [0.0, -2.0]]]]), 0.5)
        tensor([3.])
    """
    pixels = logits.float().flatten(1)
    count = max(1, round(fraction * pixels.shape[1]))
    return pixels.topk(count, dim=1, sorted=False).values.mean(1)


def image_label_loss(logits: Tensor, tampered: Tensor, config: LossConfig) -> Tensor:
    """Loss of each image, (B,), from labels alone: binary cross-entropy of `image_logits`.

    Args:
        logits: (B, 1, H, W).
        tampered: labels, bool (B,).
        config: for ``top_fraction``.
    """
    pooled = image_logits(logits, config.top_fraction)
    return F.binary_cross_entropy_with_logits(pooled, tampered.float(), reduction="none")
