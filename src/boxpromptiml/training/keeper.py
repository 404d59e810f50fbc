"""Position of a run, states to resume from, and the reasons to stop."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

import lightning as L
import torch

from boxpromptiml.training.items import Batch
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.processes import Interrupted, RunError, any_process, divergence, first_message, summed
from boxpromptiml.training.recipe import Recipe
from boxpromptiml.training.recorder import Recorder
from boxpromptiml.training.samples import Samples
from boxpromptiml.training.state import StateFolder


class Keeper(L.Callback):
    """Position of the run, states to resume from, and the reasons to stop. Must come after the `Recorder`.

    Args:
        states: where states go.
        recipe: of the run.
        samples: to name the images of a batch that diverges.
        state: to go on from; None at the start.
        recorder: whose figures belong to the state.
    """

    def __init__(
        self, states: StateFolder, recipe: Recipe, samples: Samples, state: dict[str, Any] | None, recorder: Recorder
    ) -> None:
        self._states = states
        self._recipe = recipe
        self._samples = samples
        self._state = state
        self._recorder = recorder
        self._saved = time.monotonic()
        self._signal = 0
        self._handlers: dict[int, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self._recipe.compute.threads is not None:
            torch.set_num_threads(self._recipe.compute.threads)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._state is not None:
            assert isinstance(pl_module, StudentTraining)
            _restore(trainer, pl_module, self._state)
            self._state = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)
        self._saved = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch > 0:
            # Only the first epoch of a resumed run is a short one, for which the loaders had to be made anew.
            trainer.reload_dataloaders_every_n_epochs = 0  # type: ignore[attr-defined]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StudentTraining)
        pl_module.batch += 1
        last = batch_idx + 1 == trainer.num_training_batches
        stepped = last or (batch_idx + 1) % self._recipe.optimizer.accumulate == 0
        every = self._recipe.state
        due = stepped and (
            (every.every_steps > 0 and pl_module.step % every.every_steps == 0)
            or (every.every_seconds > 0 and time.monotonic() - self._saved > every.every_seconds)
        )
        diverged = not bool(torch.isfinite(pl_module.last_loss))
        # One decision for all processes: any of them may have diverged or been asked to stop, and clocks differ.
        failed, diverged, stop, due = any_process(trainer, bool(batch["error"]), diverged, self._signal > 0, due)
        if failed:
            raise RunError(first_message(trainer, batch["error"]))
        if diverged:
            lost = "" if torch.isfinite(pl_module.last_loss) else self._loss_of(pl_module, batch)
            raise divergence(first_message(trainer, lost), pl_module)
        # After the last batch comes the validation; the state is saved behind it.
        if stepped and not last and (stop or due):
            self._save(trainer, pl_module)
            if stop:
                raise Interrupted(self._signal or signal.SIGINT)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StudentTraining)
        if any_process(trainer, bool(pl_module.validation_error))[0]:
            raise RunError(first_message(trainer, pl_module.validation_error))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StudentTraining)
        pl_module.epoch += 1
        pl_module.batch = 0
        pl_module.sums.zero_()
        pl_module.figures = {}
        self._save(trainer, pl_module)
        (stop,) = any_process(trainer, self._signal > 0)
        if stop and pl_module.epoch < self._recipe.epochs and not trainer.should_stop:
            raise Interrupted(self._signal or signal.SIGINT)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Here and no later: the trainer gives back what it found next, and what was before it must stay.
        self._give_back_signals()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._give_back_signals()

    def _give_back_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            # The second time: at once.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._signal = number

    def _save(self, trainer: L.Trainer, module: StudentTraining) -> None:
        # Collective: every process takes part.
        sums = summed(trainer, module.sums)
        self._saved = time.monotonic()
        if not trainer.is_global_zero:
            return
        weights = module.state_dict()
        broken = next((n for n, v in weights.items() if v.is_floating_point() and not torch.isfinite(v).all()), None)
        if broken is not None:
            raise divergence(f"{broken} is not finite", module)
        optimizer, scheduler = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
        state = {
            "epoch": module.epoch,
            "batch": module.batch,
            "step": module.step,
            "sums": sums,
            "module": weights,
            "optimizer": optimizer.state_dict(),
            "scheduler": {"last_epoch": scheduler.last_epoch},
            "precision": trainer.precision_plugin.state_dict(),
            "recorder": self._recorder.state_dict(),
        }
        self._states.save(state, module.step)

    def _loss_of(self, module: StudentTraining, batch: Batch) -> str:
        train = self._samples.train
        names = [train[i].name if i < len(train) else "a synthesised image" for i in batch["index"].tolist()]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return f"the loss is {float(module.last_loss)} for {', '.join(names[:4])}{more}"


def _restore(trainer: L.Trainer, module: StudentTraining, state: dict[str, Any]) -> None:
    """Optimiser, schedule and loss scale; weights and position were set before."""
    trainer.optimizers[0].load_state_dict(state["optimizer"])
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    scheduler.last_epoch = state["scheduler"]["last_epoch"]
    scheduler._last_lr = [group["lr"] for group in trainer.optimizers[0].param_groups]
    if state["precision"]:
        trainer.precision_plugin.load_state_dict(state["precision"])
    if trainer.is_global_zero:
        # The sums of all processes were saved as one.
        module.sums.copy_(state["sums"])
