"""Data at rest: the dataset folder, its store of record, its manifest."""

from boxpromptiml.dataset.records import LABELS, REVIEWS, SPLITS, ImageRecord, Label, PseudoMask
from boxpromptiml.dataset.store import Dataset

__all__ = ["LABELS", "REVIEWS", "SPLITS", "Dataset", "ImageRecord", "Label", "PseudoMask"]
