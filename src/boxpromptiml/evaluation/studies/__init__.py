"""Studies: what supervision, boxes, and each part of the method and of its training buy, with intervals."""

from boxpromptiml.evaluation.studies.catalogue import (
    BOXES_REFERENCE,
    BOXES_YARDSTICK,
    SUPERVISION,
    SUPERVISION_REFERENCE,
    WHOLE,
    ablation,
    boxes,
    training,
)
from boxpromptiml.evaluation.studies.measure import Measure, check_measure
from boxpromptiml.evaluation.studies.plan import BoxErrors, Plan, Run, Variant, make_plan
from boxpromptiml.evaluation.studies.report import StudyReport
from boxpromptiml.evaluation.studies.study import Preview, preview_study, run_study

__all__ = [
    "BOXES_REFERENCE",
    "BOXES_YARDSTICK",
    "SUPERVISION",
    "SUPERVISION_REFERENCE",
    "WHOLE",
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
    "training",
]
