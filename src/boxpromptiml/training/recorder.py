"""Figures of every epoch: logs, the best model so far, the share of time spent waiting for data."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from boxpromptiml.files import write_text
from boxpromptiml.machine import peak_memory
from boxpromptiml.training.console import note
from boxpromptiml.training.data import TrainingData
from boxpromptiml.training.items import Batch
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.processes import any_process, divergence, summed

Row = dict[str, float]
_LOG_EVERY_STEPS = 10


class Recorder(L.Callback):
    """Figures per epoch, CSV and TensorBoard logs, and the best model so far.

    Args:
        log: CSV file, one row an epoch, rewritten whole: a resumed run leaves no double rows.
        save_best: called in the main process with the figures of an epoch that is the best so far.
        report: called in the main process with the figures of every epoch.
        choose: by the validation figures; otherwise every epoch counts as the best so far.
        patience: the trainer is stopped after so many epochs without a better one; None for never.

    Attributes:
        history: one row an epoch.
        best: the row of the best epoch.
    """

    def __init__(
        self,
        log: Path,
        save_best: Callable[[StudentTraining, Row], None],
        report: Callable[[Row, bool], None],
        choose: bool,
        patience: int | None = None,
    ) -> None:
        self.history: list[Row] = []
        self.best: Row | None = None
        self._log = log
        self._save_best = save_best
        self._report = report
        self._choose = choose
        self._patience = patience
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
        loss, images = (float(v) for v in summed(trainer, pl_module.sums))
        seconds, waited = self._spent
        self._seconds = self._waited = 0.0
        self._ended = self._started = 0.0
        row: Row = {"epoch": pl_module.epoch + 1, "train_loss": loss / max(images, 1.0), **pl_module.figures}
        if not all(math.isfinite(value) for value in row.values()):
            bad = next(name for name, value in row.items() if not math.isfinite(value))
            raise divergence(f"{bad} is {row[bad]}", pl_module)
        row |= {
            "lr": _lr(trainer),
            "images": images,
            "seconds": seconds,
            "images_per_second": images / seconds if seconds else 0.0,
            "data_wait_share": waited / seconds if seconds else 0.0,
            "memory_mb": peak_memory() / 2**20,
        }
        if torch.cuda.is_available():
            row["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
        self.history.append(row)
        is_best = not self._choose or self.best is None or _rank(row) > _rank(self.best)
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
        (over,) = any_process(trainer, exhausted(self.history, self.best, self._patience))
        more = trainer.max_epochs is None or trainer.current_epoch + 1 < trainer.max_epochs
        if over and more and trainer.is_global_zero:
            note(f"no better epoch in the last {self._patience}, so the run ends here (validation.patience)")
        trainer.should_stop = trainer.should_stop or over

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


def exhausted(history: list[Row], best: Row | None, patience: int | None) -> bool:
    """Whether the best epoch is so long ago that the run is over."""
    return patience is not None and best is not None and history[-1]["epoch"] - best["epoch"] >= patience


def tensorboard(folder: Any, step: int) -> TensorBoardLogger:
    """A logger that hides what an interrupted run logged after the step that is resumed from."""
    return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False, purge_step=step or None)


def _data(trainer: L.Trainer) -> TrainingData:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TrainingData)
    return data


def _rank(row: Row) -> tuple[float, float]:
    """Higher is better: validation F1; the loss settles ties, as of the first epochs, when nothing is marked yet.

    A run from image labels has no F1: the lower loss alone decides.
    """
    return row.get("val_f1", 0.0), -row["val_loss"]


def _lr(trainer: L.Trainer) -> float:
    return float(max(group["lr"] for group in trainer.optimizers[0].param_groups))


def _csv(history: list[Row]) -> str:
    # Some figures exist in some epochs only.
    names = list(dict.fromkeys(name for row in history for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: int(v) if k in ("epoch", "images") else f"{v:.6g}" for k, v in row.items()} for row in history)
    return stream.getvalue()
