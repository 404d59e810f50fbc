"""Box -> mask: frozen teachers behind one small protocol."""

from boxpromptiml.teachers.base import Encoding, Teacher, TeacherMask, check_request, union_of_masks
from boxpromptiml.teachers.loading import TEACHERS, load_teacher, takes_points
from boxpromptiml.teachers.prompts import Point, box_on_grid, check_prompts, grid_size
from boxpromptiml.teachers.quality import FALLBACKS, FLAGS, QualityLimits, check_fallback, flags_for, with_fallback

__all__ = [
    "FALLBACKS",
    "FLAGS",
    "TEACHERS",
    "Encoding",
    "Point",
    "QualityLimits",
    "Teacher",
    "TeacherMask",
    "box_on_grid",
    "check_fallback",
    "check_prompts",
    "check_request",
    "flags_for",
    "grid_size",
    "load_teacher",
    "takes_points",
    "union_of_masks",
    "with_fallback",
]
