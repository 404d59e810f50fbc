"""The figures of this package as torchmetrics classes, exact over batches and processes. Nothing else here needs torch.

Each holds sums (or, for whole images, all scores), never means, and hands them to the NumPy functions at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from boxpromptiml.metrics.image_level import ImageFigures
from boxpromptiml.metrics.presets import Summary, get_preset
from boxpromptiml.metrics.protocols import ImageScore, Mode, benchmark_f1, benchmark_iou
from boxpromptiml.metrics.streaming import ScoreHistogram, ThresholdSweep

Figures = dict[str, Tensor]
CUT = 0.5  # above it, strictly, a probability or a soft target counts as tampered


class PixelMetrics(Metric):
    """All pixel figures of a preset (`Preset.score`, `Preset.summarise`). Scores each image on the CPU.

    Example:
        >>> metric = PixelMetrics("imdlbenco")
        >>> metric.update(torch.tensor([[[[0.9, 0.6], [0.4, 0.1]]]]), torch.tensor([[[[True, False], [True, False]]]]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'f1': 0.5, 'iou': 0.333, 'auc': 0.75, 'best_f1': 0.8, 'average_precision': 0.833, 'boundary_f1': 0.5}
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    sums: Tensor

    def __init__(self, preset: str = "imdlbenco", mode: Mode = "origin", *, tie_blind: bool = False) -> None:
        """Args: as `get_preset` and `Preset.score`. Raises ValueError: no such preset or mode."""
        super().__init__()
        self.preset, self.mode, self.tie_blind = get_preset(preset), mode, tie_blind
        self.preset.check_mode(mode)
        width = self.preset.terms(np.zeros((1, len(ImageScore._fields)))).shape[1]
        self.add_state("sums", torch.zeros(width, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probability: Tensor, truth: Tensor) -> None:
        """Add images, on the preset's grid.

        Args:
            probability: (B, 1, H, W) or (B, H, W), in [0, 1].
            truth: the same shape; anything but 0 and False is tampered.

        Raises:
            ValueError: the shapes differ, or a probability is NaN.
        """
        rows = [
            self.preset.score(values, true, self.mode, tie_blind=self.tie_blind)
            for values, true in zip(*_images(probability, truth), strict=True)
        ]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(ImageScore._fields))
        self.sums += torch.from_numpy(self.preset.terms(table).sum(axis=0)).to(self.sums.device)

    def compute(self) -> Figures:
        """The fields of `Summary`, float64; NaN where one is not defined."""
        return _named(Summary._fields, self.preset.figures_of(self.sums.cpu().numpy()[None])[0])


class ImageLevelMetrics(Metric):
    """Whole images: AUC, F1, accuracy, FPR at 95 % TPR, TPR and FPR (`Preset.image_figures`). Holds a score an image.

    Example:
        >>> metric = ImageLevelMetrics()
        >>> metric.update(torch.tensor([0.9, 0.4, 0.2]), torch.tensor([True, True, False]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'auc': 1.0, 'f1': 0.667, 'accuracy': 0.667, 'fpr_at_95_tpr': 0.0, 'tpr': 0.5, 'fpr': 0.0}
    """

    full_state_update = False
    is_differentiable = False
    scores: list[Tensor]
    tampered: list[Tensor]

    def __init__(self, preset: str = "imdlbenco", threshold: float = CUT) -> None:
        """Args: preset: whose formulas; threshold: of the verdict, strict. Raises ValueError: no such preset."""
        super().__init__()
        self.preset, self.threshold = get_preset(preset), threshold
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("tampered", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, tampered: Tensor) -> None:
        """Add images: their scores (B,), and whether they are tampered, (B,)."""
        self.scores.append(scores.detach().double().flatten())
        self.tampered.append((tampered != 0).flatten())

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Exchange states. A process without images takes part with empty ones of the right type."""
        self._begin()
        super().sync(*args, **kwargs)

    def compute(self) -> Figures:
        """The fields of `ImageFigures`, float64; NaN where one is not defined."""
        self._begin()
        scores, tampered = _numpy(dim_zero_cat(self.scores)), _numpy(dim_zero_cat(self.tampered))
        return _named(ImageFigures._fields, self.preset.image_figures(scores, tampered, self.threshold))

    def _begin(self) -> None:
        if isinstance(self.scores, list) and not self.scores:  # after an exchange they are tensors
            self.update(torch.zeros(0, device=self.device), torch.zeros(0, device=self.device))


class PooledCurve(Metric):
    """ROC AUC, average precision and best F1 over all pixels of all images, in bounded memory (`ScoreHistogram`).

    Example:
        >>> metric = PooledCurve()
        >>> metric.update(torch.tensor([0.9, 0.5, 0.4, 0.1]), torch.tensor([True, True, False, False]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items() if "error" not in name}
        {'auc': 1.0, 'average_precision': 1.0, 'best_f1': 1.0, 'best_threshold': 0.4}
    """

    full_state_update = False
    is_differentiable = False
    positives: Tensor
    negatives: Tensor

    def __init__(self, bins: int = 4096) -> None:
        """Args: bins: of `ScoreHistogram`. Raises ValueError: not a power of two."""
        super().__init__()
        for name, counts in ScoreHistogram(bins).state().items():
            self.add_state(name, torch.from_numpy(counts), dist_reduce_fx="sum")

    def update(self, probability: Tensor, truth: Tensor) -> None:
        """Add pixels: probabilities of any shape, and their truth; anything but 0 and False is tampered."""
        added = ScoreHistogram(len(self.positives))
        added.update(_numpy(probability.float()), _numpy(truth) != 0)
        self.positives += torch.from_numpy(added.positives).to(self.positives.device)
        self.negatives += torch.from_numpy(added.negatives).to(self.negatives.device)

    def histogram(self) -> ScoreHistogram:
        """The counts so far."""
        return ScoreHistogram.from_state({"positives": _numpy(self.positives), "negatives": _numpy(self.negatives)})

    def compute(self) -> Figures:
        """``auc`` and ``average_precision``, each with its bound ``..._error``; ``best_f1``, ``best_threshold``."""
        histogram = self.histogram()
        auc, precision, best = histogram.roc_auc(), histogram.average_precision(), histogram.best_f1()
        names = ("auc", "auc_error", "average_precision", "average_precision_error", "best_f1", "best_threshold")
        return _named(names, (*auc, *precision, *best))


class SharedThreshold(Metric):
    """The one threshold that suits all images best, by mean F1 (`ThresholdSweep`)."""

    full_state_update = False
    is_differentiable = False
    sums: Tensor
    images: Tensor

    def __init__(self, thresholds: int = 255) -> None:
        """Args: thresholds: of `ThresholdSweep`. Raises ValueError: not one less than a power of two."""
        super().__init__()
        for name, counts in ThresholdSweep(thresholds).state().items():
            self.add_state(name, torch.from_numpy(counts), dist_reduce_fx="sum")

    def update(self, probability: Tensor, truth: Tensor) -> None:
        """Add images, each with something tampered: (B, 1, H, W) or (B, H, W), and the truth in that shape."""
        added = ThresholdSweep(len(self.sums))
        for values, true in zip(*_images(probability, truth), strict=True):
            added.update(values, true)
        self.sums += torch.from_numpy(added.sums).to(self.sums.device)
        self.images += added.images

    def compute(self) -> Figures:
        """``best_shared_f1`` and ``best_shared_threshold``; NaN without images."""
        sweep = ThresholdSweep.from_state({"sums": _numpy(self.sums), "images": _numpy(self.images)})
        return _named(("best_shared_f1", "best_shared_threshold"), sweep.best_shared())


class ImageMeans(Metric):
    """Mean F1 and IoU over images by the benchmark's formulas, from counts alone, on the device of the maps.

    What `PixelMetrics` gives for ``imdlbenco``, but cheap enough for a training loop; images can be weighted.

    Example:
        >>> metric = ImageMeans()
        >>> metric.update(torch.tensor([[[[0.9, 0.8], [0.2, 0.1]]]]), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'f1': 0.667, 'iou': 0.5}
    """

    full_state_update = False
    is_differentiable = False
    f1: Tensor
    iou: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("f1", "iou", "images"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            prediction: probabilities, (B, ...).
            target: the same shape, in [0, 1], cut at 0.5.
            weight: of each image, (B,); None = 1.
        """
        marked, true = (prediction > CUT).flatten(1), (target > CUT).flatten(1)
        weights = torch.ones(len(marked), device=marked.device) if weight is None else weight
        weights = weights.double()
        tp = (marked & true).sum(1).double()
        fp, fn = marked.sum(1) - tp, true.sum(1) - tp
        self.f1 += (benchmark_f1(tp, fp, fn) * weights).sum()
        self.iou += (benchmark_iou(tp, fp, fn) * weights).sum()
        self.images += weights.sum()

    def compute(self) -> Figures:
        """``f1`` and ``iou``; NaN without images."""
        return {"f1": self.f1 / self.images, "iou": self.iou / self.images}


def _numpy(values: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = values.detach().cpu().numpy()
    return array


def _images(probability: Tensor, truth: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if probability.shape != truth.shape:
        raise ValueError(f"probability {tuple(probability.shape)} and truth {tuple(truth.shape)} differ in shape")
    if probability.ndim == 4 and probability.shape[1] == 1:
        probability, truth = probability[:, 0], truth[:, 0]
    if probability.ndim != 3:
        raise ValueError(f"maps must be (B, 1, H, W) or (B, H, W), got {tuple(probability.shape)}")
    return _numpy(probability.float()), _numpy(truth) != 0


def _named(names: tuple[str, ...], values: Any) -> Figures:
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in zip(names, values, strict=True)}
