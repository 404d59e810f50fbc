"""The protocol, the control and the loader."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers import TEACHERS, TeacherMask, load_teacher, union_of_masks

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


def test_box_teacher_fills_boxes() -> None:
    one, other = load_teacher("box").masks(IMAGE, [Box(0, 0, 10, 5), Box(8, 3, 30, 20)])
    assert one.probability.sum() == 50
    assert other.probability.sum() == 22 * 17
    assert one.quality is None
    assert union_of_masks([one, other], 20, 30).sum() == 50 + 22 * 17 - 4


def test_union_is_the_pixelwise_maximum() -> None:
    halves = [TeacherMask(np.full((2, 2), value, dtype=np.float32)) for value in (0.2, 0.7)]
    assert union_of_masks(halves, 2, 2).tolist() == [[pytest.approx(0.7)] * 2] * 2
    assert union_of_masks([], 2, 3).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("name", ["box", "grabcut"])
@pytest.mark.parametrize("box", [Box(5, 5, 5, 9), Box(-1, 0, 4, 4), Box(0, 0, 31, 20)])
def test_boxes_outside_the_image_are_refused(name: str, box: Box) -> None:
    with pytest.raises(TeacherError, match="empty or not inside the image of 30 x 20"):
        load_teacher(name).masks(IMAGE, [box])


def test_images_of_another_kind_are_refused() -> None:
    with pytest.raises(TeacherError, match="uint8 image"):
        load_teacher("box").masks(np.zeros((20, 30), dtype=np.uint8), [])


def test_unknown_teacher_names_the_known_ones() -> None:
    with pytest.raises(TeacherError, match=", ".join(TEACHERS)):
        load_teacher("oracle")


def test_importing_teachers_imports_nothing_heavy() -> None:
    code = "import sys, boxpromptiml.teachers; print(sorted({'cv2', 'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
