"""What came of a run. Torch-free."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from boxpromptiml.files import write_json
from boxpromptiml.training.recipe import Supervision
from boxpromptiml.training.samples import Samples

SUMMARY_NAME = "summary.json"


@dataclass(frozen=True)
class TrainingSummary:
    """What came of a run; also in ``RUN/summary.json``.

    Attributes:
        run: the model folder.
        supervision: pseudo, mask, box or label.
        epochs: trained.
        best_epoch: the one whose weights were kept, counted from 1.
        validation: its figures: ``val_f1``, ``val_iou`` (means over tampered images), ``val_false_area`` (mean share
            of authentic images that is marked), ``val_loss``; from image labels ``val_image_accuracy`` (balanced)
            in the place of the first two; empty without validation.
        validation_carved: whether validation images were held out of the training images.
        images: numbers by part and label, and of images left out.
        left_out: number of images by reason.
        seconds: of training, without validation.
        images_per_second: in training.
        data_wait_share: share of the training time spent waiting for data, in the main process.
        peak_memory_mb: of the main process.
        peak_gpu_memory_mb: of the main process; None without a GPU.
    """

    run: str
    supervision: str
    epochs: int
    best_epoch: int
    validation: dict[str, float]
    validation_carved: bool
    images: dict[str, int]
    left_out: dict[str, int]
    seconds: float
    images_per_second: float
    data_wait_share: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float | None = None

    def save(self) -> None:
        """Write ``summary.json``; a run that has one is complete."""
        write_json(Path(self.run) / SUMMARY_NAME, asdict(self))

    @classmethod
    def load(cls, run: str | Path) -> TrainingSummary | None:
        """The summary of a complete run, None if it is not complete."""
        try:
            raw = json.loads((Path(run) / SUMMARY_NAME).read_text(encoding="utf-8"))
            return cls(**{field.name: raw.get(field.name) for field in fields(cls)} | {"run": str(run)})
        except (OSError, ValueError, AttributeError):
            return None


def summarise(run: Path, recorded: dict[str, Any], supervision: Supervision, samples: Samples) -> TrainingSummary:
    """The summary of a run from what its `Recorder` recorded."""
    history: list[dict[str, float]] = recorded["history"]
    best: dict[str, float] = recorded["best"]
    seconds = sum(row["seconds"] for row in history)
    gpu = [row["gpu_memory_mb"] for row in history if "gpu_memory_mb" in row]
    return TrainingSummary(
        run=str(run),
        supervision=supervision,
        epochs=len(history),
        best_epoch=int(best["epoch"]),
        validation={name: value for name, value in best.items() if name.startswith("val_")},
        validation_carved=samples.carved,
        images=samples.counts(),
        left_out=samples.left_out_by_reason(),
        seconds=seconds,
        images_per_second=sum(row["images"] for row in history) / seconds,
        data_wait_share=sum(row["data_wait_share"] * row["seconds"] for row in history) / seconds,
        peak_memory_mb=max(row["memory_mb"] for row in history),
        peak_gpu_memory_mb=max(gpu) if gpu else None,
    )
