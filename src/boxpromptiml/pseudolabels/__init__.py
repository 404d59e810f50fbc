"""Boxes -> pseudo masks of a whole dataset, how good they are, and what people make of them."""

from boxpromptiml.pseudolabels.agreement import Agreement, ImageAgreement, agreement_with_truth
from boxpromptiml.pseudolabels.correction import Verdict, is_protected, store_correction, store_verdict
from boxpromptiml.pseudolabels.job import Job, open_recorded
from boxpromptiml.pseudolabels.run import pseudo_label
from boxpromptiml.pseudolabels.staleness import is_stale
from boxpromptiml.pseudolabels.summary import PseudoLabelSummary

__all__ = [
    "Agreement",
    "ImageAgreement",
    "Job",
    "PseudoLabelSummary",
    "Verdict",
    "agreement_with_truth",
    "is_protected",
    "is_stale",
    "open_recorded",
    "pseudo_label",
    "store_correction",
    "store_verdict",
]
