"""Figures of a model on datasets, under the field's protocols."""

from boxpromptiml.evaluation.result import EvaluationResult, Figures, ImageResult
from boxpromptiml.evaluation.run import evaluate

__all__ = ["EvaluationResult", "Figures", "ImageResult", "evaluate"]
