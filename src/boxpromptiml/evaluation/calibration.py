"""Are the probabilities of a model probabilities? Its image scores and the pixels of its maps, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boxpromptiml.evaluation.pooled import PixelCurves
from boxpromptiml.evaluation.table import ImageTable
from boxpromptiml.metrics import ScoreHistogram
from boxpromptiml.metrics.calibration import Reliability, ece_interval
from boxpromptiml.model_config import DecisionRule

Interval = tuple[float, float]


@dataclass(frozen=True)
class Calibrations:
    """Reliability of an evaluation's images; None where there is nothing to judge by.

    Attributes:
        score_before: of the image scores without ``decision.score_scaling``.
        score_after: of the image scores.
        score_interval: 95 % interval of the expected calibration error of `score_after`.
        pixel_before: of all pixels of the maps without ``decision.map_scaling``.
        pixel_after: of all pixels of the maps.
    """

    score_before: Reliability | None = None
    score_after: Reliability | None = None
    score_interval: Interval | None = None
    pixel_before: Reliability | None = None
    pixel_after: Reliability | None = None

    @classmethod
    def of(cls, table: ImageTable, curves: PixelCurves | None, rule: DecisionRule, *, own_score: bool) -> Calibrations:
        """Judge the images of an evaluation.

        Args:
            table: one row an image.
            curves: of their pixels; None where the mode has other maps than the model's.
            rule: of the model.
            own_score: whether the scores are the model's; some protocols take the highest pixel instead.
        """
        found: dict[str, Any] = {}
        if own_score and len(table):
            found["score_before"] = Reliability.of(rule.score_scaling.inverse(table.score), table.tampered)
            found["score_after"] = Reliability.of(table.score, table.tampered)
            found["score_interval"] = ece_interval(table.score, table.tampered)
        if curves is not None:
            counts, values = curves.counts(), ScoreHistogram().middles
            if sum(part.sum() for part in counts):
                found["pixel_before"] = Reliability.of_counts(rule.map_scaling.inverse(values), *counts)
                found["pixel_after"] = Reliability.of_counts(values, *counts)
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        diagrams = {
            "score": (self.score_before, self.score_after),
            "pixel": (self.pixel_before, self.pixel_after),
        }
        content: dict[str, Any] = {
            name: None if after is None or before is None else {"before": before.to_json(), "after": after.to_json()}
            for name, (before, after) in diagrams.items()
        }
        if content["score"] is not None and self.score_interval is not None:
            content["score"]["after"]["ece_ci95"] = list(self.score_interval)
        return content
