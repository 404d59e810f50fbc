"""Studies: what supervision, box quality and each part of the method buy, with intervals over seeds and images."""

from boxpromptiml.evaluation.studies.catalogue import (
    ABLATION_REFERENCE,
    BOXES_REFERENCE,
    BOXES_YARDSTICK,
    SUPERVISION,
    SUPERVISION_REFERENCE,
    ablation,
    boxes,
)
from boxpromptiml.evaluation.studies.measure import Measure, check_measure
from boxpromptiml.evaluation.studies.plan import BoxErrors, Plan, Run, Variant, make_plan
from boxpromptiml.evaluation.studies.report import StudyReport
from boxpromptiml.evaluation.studies.study import Preview, preview_study, run_study

__all__ = [
    "ABLATION_REFERENCE",
    "BOXES_REFERENCE",
    "BOXES_YARDSTICK",
    "SUPERVISION",
    "SUPERVISION_REFERENCE",
    "BoxErrors",
    "Measure",
    "Plan",
    "Preview",
    "Run",
    "StudyReport",
    "Variant",
    "ablation",
    "boxes",
    "check_measure",
    "make_plan",
    "preview_study",
    "run_study",
]
