"""Box-constrained refinement: the student's own predictions correct the teacher, inside the boxes and nowhere else.

A teacher errs most where boxes are loose. What many images teach the student together may be better there than what
the teacher made of one image alone; what lies outside every box is known not to be tampered, whoever says otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from boxpromptiml.training.objective import RefinementConfig

# Halvings of the interval in which the shift of the logits is sought: 40 / 2^20 is below any 8-bit target's step.
_HALVINGS = 20
_REACH = 20.0


def mixing(config: RefinementConfig, progress: float) -> float:
    """Share of the student in a corrected target after `progress` epochs: 0 before `start`, then rising to `share`."""
    if not config.start or progress < config.start:
        return 0.0
    return config.share * min(1.0, (progress - config.start + 1e-9) / max(config.ramp, 1e-9))


def corrected(target: Tensor, logits: Tensor, share: float, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Targets corrected by predictions, and how much each pixel counts.

    Inside the boxes of an image the student's ranking of the pixels is mixed with the teacher's mask: its logits are
    shifted so that they mark as much as the teacher did, or it would talk itself into marking less and less. Where
    the mixture is undecided a pixel counts less. Outside, the target is 0 and counts fully.

    Args:
        target: teacher's masks (B, 1, H, W) in [0, 1], 0 outside the boxes.
        logits: of the student, the same shape; no gradient flows into them.
        share: of the student in the mixture, in [0, 1].
        inside: which pixels are in a box, bool of the same shape: where a mask that is not cut is above 0 (see
            `Sample.confined`).

    Returns:
        Targets in [0, 1] and weights in [0, 1], both (B, 1, H, W), with a weight of 1 everywhere outside the boxes.
    """
    with torch.no_grad():
        own = _with_area(logits.float(), target, inside)
        mixed = torch.where(inside, (1 - share) * target + share * own, torch.zeros_like(target))
        return mixed, torch.where(inside, (2 * mixed - 1).abs(), torch.ones_like(target))


def _with_area(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Probabilities of shifted logits whose sum inside the boxes is the target's, image by image."""
    wanted = (target * inside).flatten(1).sum(1)
    low = torch.full_like(wanted, -_REACH)
    high = -low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        area = (torch.sigmoid(logits + _spread(middle)) * inside).flatten(1).sum(1)
        low, high = torch.where(area < wanted, middle, low), torch.where(area < wanted, high, middle)
    return torch.sigmoid(logits + _spread((low + high) / 2))


def _spread(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
