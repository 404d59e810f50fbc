"""Teachers by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from boxpromptiml.errors import MissingExtraError, TeacherError
from boxpromptiml.teachers.base import Teacher

# Modules are imported on demand: the box teacher needs no OpenCV, GrabCut no torch.
_CLASSES = {
    "grabcut": ("boxpromptiml.teachers.grabcut", "GrabCutTeacher", "GrabCutSettings"),
    "box": ("boxpromptiml.teachers.box", "BoxTeacher", "BoxTeacher"),
    "sam": ("boxpromptiml.teachers.sam", "SamTeacher", "SamTeacher"),
}
TEACHERS = tuple(_CLASSES)
# Known here so that it can be told without loading a model.
_WITH_POINTS = ("grabcut", "sam")
_EXTRAS = {"cv2": ("opencv-python-headless", "train"), "torch": ("torch", "teachers")}


def takes_points(name: str) -> bool:
    """Whether the teacher of that name takes points beside a box; see `Teacher.points`.

    Raises:
        TeacherError: an unknown name.
    """
    _check_name(name)
    return name in _WITH_POINTS


def load_teacher(name: str, *, weights: str | None = None, **options: Any) -> Teacher:
    """Load a teacher.

    Args:
        name: ``grabcut``, ``box`` or ``sam``.
        weights: hub id or folder, for ``sam`` only; None for SAM ViT-H, the paper's teacher.
        options: settings of the teacher: the fields of `GrabCutSettings`; ``device`` and ``dtype`` of `SamTeacher`.

    Raises:
        TeacherError: an unknown name or option, an option out of range, weights that are not found.
        MissingExtraError: a package that the teacher needs is not installed.
    """
    _check_name(name)
    if weights is not None:
        if name != "sam":
            raise TeacherError(f"the {name} teacher has no weights; leave them out, or take the sam teacher")
        options["weights"] = weights
    module_name, class_name, settings_name = _CLASSES[name]
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        package, extra = _EXTRAS.get(error.name or "", (error.name or "a package", "teachers"))
        raise MissingExtraError(package, extra) from error
    known = list(inspect.signature(getattr(module, settings_name)).parameters)
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise TeacherError(f"the {name} teacher has no option {option!r}; {hint}")
    make: Callable[..., Teacher] = getattr(module, class_name)
    return make(**options)


def _check_name(name: str) -> None:
    if name not in _CLASSES:
        raise TeacherError(f"no teacher {name!r}; there are {', '.join(TEACHERS)}")
