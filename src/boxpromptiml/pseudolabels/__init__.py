"""Boxes -> pseudo masks of a whole dataset, and how good they are."""

from boxpromptiml.pseudolabels.agreement import Agreement, ImageAgreement, agreement_with_truth
from boxpromptiml.pseudolabels.run import pseudo_label
from boxpromptiml.pseudolabels.summary import PseudoLabelSummary

__all__ = ["Agreement", "ImageAgreement", "PseudoLabelSummary", "agreement_with_truth", "pseudo_label"]
