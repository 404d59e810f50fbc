"""Box -> mask: frozen teachers behind one small protocol."""

from boxpromptiml.teachers.base import Teacher, TeacherMask, check_request, union_of_masks
from boxpromptiml.teachers.loading import TEACHERS, load_teacher
from boxpromptiml.teachers.quality import FALLBACKS, FLAGS, QualityLimits, check_fallback, flags_for, with_fallback

__all__ = [
    "FALLBACKS",
    "FLAGS",
    "TEACHERS",
    "QualityLimits",
    "Teacher",
    "TeacherMask",
    "check_fallback",
    "check_request",
    "flags_for",
    "load_teacher",
    "union_of_masks",
    "with_fallback",
]
