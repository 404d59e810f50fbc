"""PNGs of a run: the curves, and predictions on validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn

from boxpromptiml.files import atomic_path
from boxpromptiml.images import save_png
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.training.sample import Sample, quantised

# Height of the line of text above a row of pictures.
_TITLE = 14
# Grey in the place of a target of which only the label is known.
_UNKNOWN = 128


def draw_curves(history: Sequence[Mapping[str, float]], best: Mapping[str, float] | None, path: Path) -> None:
    """Loss, validation figures, learning rate and speed over the epochs; the chosen epoch is marked."""
    panels = (
        ("loss", ("train_loss", "val_loss")),
        ("validation", ("val_f1", "val_iou", "val_image_accuracy", "val_false_area")),
        ("learning rate", ("lr",)),
        ("images per second", ("images_per_second",)),
    )
    figure = Figure(figsize=(12, 7), layout="constrained")
    for place, (title, names) in enumerate(panels, 1):
        axes = figure.add_subplot(2, 2, place)
        for name in names:
            points = [(row["epoch"], row[name]) for row in history if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else None, label=name)
        if best is not None:
            axes.axvline(best["epoch"], color="grey", linestyle=":", label=f"chosen: {int(best['epoch'])}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def choose_samples(samples: Sequence[Sample], number: int) -> list[Sample]:
    """The samples that are drawn: evenly spread, one in four authentic where there are any; always the same."""
    tampered = [sample for sample in samples if sample.tampered]
    authentic = [sample for sample in samples if not sample.tampered]
    untouched = min(len(authentic), number // 4 if tampered else number)
    return _spread(tampered, number - untouched) + _spread(authentic, untouched)


def draw_samples(student: nn.Module, spec: PreprocessingSpec, samples: Sequence[Sample], path: Path) -> None:
    """A row per sample: image, target, prediction. The student must be in eval mode on the CPU."""
    rows = [_row(student, spec, sample) for sample in samples]
    save_png(path, np.concatenate(rows))


def _row(student: nn.Module, spec: PreprocessingSpec, sample: Sample) -> NDArray[np.uint8]:
    image, target = sample.load_for(spec)
    prediction = quantised(_predict(student, spec, image))
    if not sample.has_target:
        target[...] = _UNKNOWN
    grey = (np.repeat(values[..., None], 3, axis=2) for values in (target, prediction))
    pictures = np.concatenate([image, *grey], axis=1)
    canvas = Image.new("RGB", (pictures.shape[1], _TITLE + spec.height), "white")
    canvas.paste(Image.fromarray(pictures), (0, _TITLE))
    draw = ImageDraw.Draw(canvas)
    middle = "target" if sample.has_target else "tampered, no target"
    for column, title in enumerate((Path(sample.name).name, middle, "prediction")):
        draw.text((column * spec.width + 2, 1), title[: spec.width // 6], fill="black")
    return np.asarray(canvas)


def _predict(student: nn.Module, spec: PreprocessingSpec, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (spec.mean, spec.std))
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        probability: NDArray[np.float32] = student((batch - mean) / std)[0, 0].sigmoid().numpy()
    return probability


def _spread(samples: Sequence[Sample], number: int) -> list[Sample]:
    number = min(number, len(samples))
    return [samples[i * len(samples) // number] for i in range(number)]
