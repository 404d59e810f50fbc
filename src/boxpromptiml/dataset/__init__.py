"""Data at rest: the dataset folder, its store of record, its manifest."""

from boxpromptiml.dataset.queries import Counts, Order, Timing
from boxpromptiml.dataset.records import (
    LABELS,
    REVIEW_STATES,
    REVIEWS,
    SPLITS,
    STATES,
    ImageRecord,
    Label,
    PseudoMask,
    ReviewState,
    State,
)
from boxpromptiml.dataset.store import Dataset

__all__ = [
    "LABELS",
    "REVIEWS",
    "REVIEW_STATES",
    "SPLITS",
    "STATES",
    "Counts",
    "Dataset",
    "ImageRecord",
    "Label",
    "Order",
    "PseudoMask",
    "ReviewState",
    "State",
    "Timing",
]
