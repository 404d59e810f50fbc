"""What happens around the steps: states for resuming, interruption, divergence, figures of an epoch, the best model."""

from __future__ import annotations

import csv
import io
import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import write_text
from boxpromptiml.training.data import Batch, TrainingData
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.recipe import Recipe
from boxpromptiml.training.samples import Samples
from boxpromptiml.training.state import StateFolder

Row = dict[str, float]
_LOG_EVERY_STEPS = 10


class DivergenceError(BoxPromptError):
    """The loss or the weights are no longer numbers."""


class Interrupted(Exception):
    """Training stopped on request (Ctrl-C, SIGTERM); the state was saved.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, signal: int) -> None:
        self.signal = signal
        super().__init__("training was interrupted and can be resumed")


class Recorder(L.Callback):
    """Figures per epoch, CSV and TensorBoard logs, and the best model so far.

    Args:
        log: CSV file, one row an epoch, rewritten whole: a resumed run leaves no double rows.
        save_best: called in the main process with the figures of an epoch that is the best so far.
        report: called in the main process with the figures of every epoch.
        has_validation: without it, every epoch counts as the best so far.

    Attributes:
        history: one row an epoch.
        best: the row of the best epoch.
    """

    def __init__(
        self,
        log: Any,
        save_best: Callable[[StudentTraining, Row], None],
        report: Callable[[Row, bool], None],
        has_validation: bool,
    ) -> None:
        self.history: list[Row] = []
        self.best: Row | None = None
        self._log = log
        self._save_best = save_best
        self._report = report
        self._has_validation = has_validation
        self._seconds = 0.0
        self._waited = 0.0
        self._started = 0.0
        self._ended = 0.0
        self._waited_at_start = 0.0
        self._waited_at_end = 0.0

    def state_dict(self) -> dict[str, Any]:
        """History, best epoch, and the time spent in the epoch that is under way."""
        seconds, waited = self._spent
        return {"history": self.history, "best": self.best, "seconds": seconds, "waited": waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The way round."""
        self.history, self.best = state_dict["history"], state_dict["best"]
        self._seconds, self._waited = state_dict["seconds"], state_dict["waited"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start_clock(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch > 0:
            self._start_clock(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._ended = time.perf_counter()
        self._waited_at_end = _data(trainer).waited
        logger = trainer.logger
        if logger is not None and pl_module.step % _LOG_EVERY_STEPS == 0 and trainer.is_global_zero:
            logger.log_metrics({"step/loss": float(pl_module.last_loss), "step/lr": _lr(trainer)}, step=pl_module.step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StudentTraining)
        # Collective: every process takes part.
        loss, images = (float(v) for v in _summed(trainer, pl_module.sums))
        seconds, waited = self._spent
        self._seconds = self._waited = 0.0
        self._ended = self._started = 0.0
        row: Row = {"epoch": pl_module.epoch + 1, "train_loss": loss / max(images, 1.0), **pl_module.figures}
        if not all(math.isfinite(value) for value in row.values()):
            bad = next(name for name, value in row.items() if not math.isfinite(value))
            raise DivergenceError(f"training diverged: {bad} is {row[bad]} {_where(pl_module)}; {_remedy(pl_module)}")
        row |= {
            "lr": _lr(trainer),
            "images": images,
            "seconds": seconds,
            "images_per_second": images / seconds if seconds else 0.0,
            "data_wait_share": waited / seconds if seconds else 0.0,
            "memory_mb": _peak_memory(),
        }
        if torch.cuda.is_available():
            row["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        self.history.append(row)
        is_best = not self._has_validation or self.best is None or _rank(row) > _rank(self.best)
        if is_best:
            self.best = row
        if trainer.is_global_zero:
            if is_best:
                self._save_best(pl_module, row)
            write_text(self._log, _csv(self.history))
            if trainer.logger is not None:
                figures = {f"epoch/{name}": value for name, value in row.items() if name != "epoch"}
                trainer.logger.log_metrics(figures, step=pl_module.step)
            self._report(row, is_best)

    @property
    def _spent(self) -> tuple[float, float]:
        """Seconds of training in this epoch so far, and how many of them were spent waiting for data."""
        return (
            self._seconds + max(0.0, self._ended - self._started),
            self._waited + max(0.0, self._waited_at_end - self._waited_at_start),
        )

    def _start_clock(self, trainer: L.Trainer) -> None:
        self._started = self._ended = time.perf_counter()
        self._waited_at_start = self._waited_at_end = _data(trainer).waited


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
            trainer.reload_dataloaders_every_n_epochs = 0

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
        diverged, stop, due = _any(trainer, diverged, self._signal > 0, due)
        if diverged:
            raise DivergenceError(self._divergence(pl_module, batch))
        # After the last batch comes the validation; the state is saved behind it.
        if stepped and not last and (stop or due):
            self._save(trainer, pl_module)
            if stop:
                raise Interrupted(self._signal or signal.SIGINT)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StudentTraining)
        pl_module.epoch += 1
        pl_module.batch = 0
        pl_module.sums.zero_()
        pl_module.figures = {}
        self._save(trainer, pl_module)
        (stop,) = _any(trainer, self._signal > 0)
        if stop and pl_module.epoch < self._recipe.epochs:
            raise Interrupted(self._signal or signal.SIGINT)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
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
        sums = _summed(trainer, module.sums)
        self._saved = time.monotonic()
        if not trainer.is_global_zero:
            return
        weights = module.state_dict()
        broken = next((n for n, v in weights.items() if v.is_floating_point() and not torch.isfinite(v).all()), None)
        if broken is not None:
            raise DivergenceError(f"training diverged: {broken} is not finite {_where(module)}; {_remedy(module)}")
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

    def _divergence(self, module: StudentTraining, batch: Batch) -> str:
        train = self._samples.train
        names = [train[i].name if i < len(train) else "a synthesised image" for i in batch["index"].tolist()]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        images = ", ".join(names[:4])
        loss = float(module.last_loss)
        return f"training diverged: the loss is {loss} {_where(module)} ({images}{more}); {_remedy(module)}"


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


def _any(trainer: L.Trainer, *flags: bool) -> list[bool]:
    """Whether each flag is set in any process."""
    if trainer.world_size == 1:
        return list(flags)
    values = torch.tensor(flags, dtype=torch.float32, device=trainer.strategy.root_device)
    return [bool(v) for v in trainer.strategy.reduce(values, reduce_op="sum")]


def _summed(trainer: L.Trainer, values: Tensor) -> Tensor:
    """Sums over all processes, on the CPU."""
    if trainer.world_size == 1:
        return values.clone()
    total = trainer.strategy.reduce(values.clone().to(trainer.strategy.root_device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.cpu()


def _data(trainer: L.Trainer) -> TrainingData:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TrainingData)
    return data


def _rank(row: Row) -> tuple[float, float]:
    """Higher is better: validation F1; the loss settles ties, as of the first epochs, when nothing is marked yet."""
    return row["val_f1"], -row["val_loss"]


def _lr(trainer: L.Trainer) -> float:
    return float(max(group["lr"] for group in trainer.optimizers[0].param_groups))


def _where(module: StudentTraining) -> str:
    return f"in epoch {module.epoch + 1}, step {module.step}"


def _remedy(module: StudentTraining) -> str:
    recipe = module.recipe
    precision = "" if recipe.compute.precision == "fp32" else ", set compute.precision=fp32"
    return f"lower optimizer.lr (now {recipe.optimizer.lr:g}){precision}, and train into another folder"


def _csv(history: list[Row]) -> str:
    # Some figures exist in some epochs only.
    names = list(dict.fromkeys(name for row in history for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: int(v) if k in ("epoch", "images") else f"{v:.6g}" for k, v in row.items()} for row in history)
    return stream.getvalue()


def _peak_memory() -> float:
    """Largest resident memory of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def tensorboard(folder: Any, step: int) -> TensorBoardLogger:
    """A logger that hides what an interrupted run logged after the step that is resumed from."""
    return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False, purge_step=step or None)
