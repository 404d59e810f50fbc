"""Counts, curves and the field's protocols, on NumPy arrays."""

from boxpromptiml.metrics.bootstrap import bootstrap_interval
from boxpromptiml.metrics.functional import Confusion, confusion, f1_score, iou_score, roc_auc
from boxpromptiml.metrics.presets import MODES, PRESETS, ImageScore, Mode, Preset, Summary, get_preset

__all__ = [
    "MODES",
    "PRESETS",
    "Confusion",
    "ImageScore",
    "Mode",
    "Preset",
    "Summary",
    "bootstrap_interval",
    "confusion",
    "f1_score",
    "get_preset",
    "iou_score",
    "roc_auc",
]
