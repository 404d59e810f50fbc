"""Errors that end a run, and sums over the processes of a run."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.training.module import StudentTraining


class RunError(BoxPromptError):
    """Ends a run; raised alike in all of its processes, of which one should tell the user."""


class DivergenceError(RunError):
    """The loss or the weights are no longer numbers."""


class Interrupted(Exception):
    """Training stopped on request (Ctrl-C, SIGTERM); the state was saved.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, signal: int) -> None:
        self.signal = signal
        super().__init__("training was interrupted and can be resumed")


def any_process(trainer: L.Trainer, *flags: bool) -> list[bool]:
    """Whether each flag is set in any process."""
    if trainer.world_size == 1:
        return list(flags)
    values = torch.tensor(flags, dtype=torch.float32, device=trainer.strategy.root_device)
    return [bool(v) for v in trainer.strategy.reduce(values, reduce_op="sum")]


def summed(trainer: L.Trainer, values: Tensor) -> Tensor:
    """Sums over all processes, on the CPU."""
    if trainer.world_size == 1:
        return values.clone()
    total = trainer.strategy.reduce(values.clone().to(trainer.strategy.root_device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.cpu()


def first_message(trainer: L.Trainer, message: str) -> str:
    """The message of the first process that has one. Collective."""
    if trainer.world_size == 1:
        return message
    messages = [""] * trainer.world_size
    torch.distributed.all_gather_object(messages, message)
    return next(filter(None, messages), "")


def divergence(what: str, module: StudentTraining) -> DivergenceError:
    """The error for a run in which `what` happened to `module`."""
    return DivergenceError(f"training diverged: {what} {_where(module)}; {_remedy(module)}")


def _where(module: StudentTraining) -> str:
    return f"in epoch {module.epoch + 1}, step {module.step}"


def _remedy(module: StudentTraining) -> str:
    recipe = module.recipe
    precision = "" if module.trainer.precision == "32-true" else ", set compute.precision=fp32"
    return f"lower optimizer.lr (now {recipe.optimizer.lr:g}){precision}, and train into another folder"
