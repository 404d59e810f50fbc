"""Figures of an evaluation, as a card has them."""

from __future__ import annotations

import math

from boxpromptiml.evaluation.result import EvaluationResult, Figures
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.models.card import Diagram, Figure, Result


def result_of(name: str, result: EvaluationResult) -> Result:
    """What a card says of an evaluation on one dataset."""
    calibration = result.calibration
    splits = {part.split for part in result.datasets}
    return Result(
        name=name,
        split=splits.pop() if len(splits) == 1 else None,
        preset=result.preset,
        tampered=result.figures.n_tampered,
        authentic=result.figures.n_authentic,
        figures={
            key: _figure(value, result.ci95.get(key))
            for key, value in _values(result.figures).items()
            if not math.isnan(value)
        },
        score_before=_diagram(calibration.score_before),
        score_after=_diagram(calibration.score_after),
        pixel_after=_diagram(calibration.pixel_after),
    )


def _values(figures: Figures) -> dict[str, float]:
    return {
        "f1": figures.pixel.f1,
        "iou": figures.pixel.iou,
        "auc": figures.pixel.auc,
        "average_precision": figures.pixel.average_precision,
        "best_shared_f1": figures.pooled.shared_f1,
        "best_shared_threshold": figures.pooled.shared_threshold,
        **{f"image.{name}": value for name, value in figures.image._asdict().items()},
        "false_positive_area": figures.false_positive_area,
    }


def _figure(value: float, interval: tuple[float, float] | None) -> Figure:
    low, high = (None, None) if interval is None else interval
    return Figure(value=value, low=low, high=high)


def _diagram(diagram: Reliability | None) -> Diagram | None:
    return None if diagram is None else Diagram.model_validate(diagram.to_json())
