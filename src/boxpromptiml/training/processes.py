"""Errors that end a run, and sums over the processes of a run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import TypeVar

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, and documented

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.training.module import StudentTraining

T = TypeVar("T")
_CALLS = count()
_PATIENCE = timedelta(minutes=30)  # for the slowest process to come as far; machines may start at different times


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


def is_main_process() -> bool:
    """Whether this is the first of a run's processes (or the only one)."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


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


def lost_process(error: BaseException) -> BoxPromptError | None:
    """The error for a process that waits for another one which is no more; None for an error of another kind."""
    # NCCL's errors have a class, gloo's only a way to speak.
    if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error).lower():
        return None
    rank = getattr(rank_zero_only, "rank", 0) or 0
    return BoxPromptError(
        f"process {rank} lost touch with another process, which has ended; see what it said, then go on "
        "with the same command and --resume"
    )


def together(action: Callable[[], T]) -> T:
    """Do something in every process that torchrun has started; where it fails in one, all end with that one's error.

    Before training there is no process group yet: the others would wait in vain for the one that has failed. Elsewhere
    it is just done; srun has ``--kill-on-bad-exit``.

    Raises:
        RunError: of the first process that failed.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return action()
    result: T | None = None
    message = ""
    try:
        result = action()
    except (BoxPromptError, OSError) as error:
        message = str(error)
    try:
        message = _first_of_all(message)
    except torch.distributed.DistError as error:
        raise RunError(message or str(lost_process(error))) from error
    if message:
        raise RunError(message)
    return result  # type: ignore[return-value]  # it has not failed


def _first_of_all(message: str) -> str:
    """The first message in any process, through the store that torchrun keeps."""
    rank, world = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = PrefixStore(
        f"boxpromptiml/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_CALLS)}",
        TCPStore(address, port, world, False, _PATIENCE),
    )
    if message:
        store.compare_set("message", "", f"machine {socket.gethostname()}: {message}" if rank else message)
    if store.add("ready", 1) == world:
        store.set("all", "1")
    store.wait(["all"], _PATIENCE)
    found = store.get("message").decode() if store.check(["message"]) else ""
    if store.add("seen", 1) < world and found and rank == 0:
        # With this process the store will end: the others must have read it.
        deadline = time.monotonic() + 10
        while store.add("seen", 0) < world and time.monotonic() < deadline:
            time.sleep(0.05)
    return found


def divergence(what: str, module: StudentTraining) -> DivergenceError:
    """The error for a run in which `what` happened to `module`."""
    return DivergenceError(f"training diverged: {what} {_where(module)}; {_remedy(module)}")


def _where(module: StudentTraining) -> str:
    return f"in epoch {module.epoch + 1}, step {module.step}"


def _remedy(module: StudentTraining) -> str:
    recipe = module.recipe
    precision = "" if module.trainer.precision == "32-true" else ", set compute.precision=fp32"
    return f"lower optimizer.lr (now {recipe.optimizer.lr:g}){precision}, and train into another folder"
