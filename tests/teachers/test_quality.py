"""Flags and fallbacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers import QualityLimits, TeacherMask, flags_for, with_fallback

BOX = Box(10, 10, 30, 30)


def mask(box: Box | None, probability: float = 1.0, quality: float | None = 0.9) -> TeacherMask:
    values = np.zeros((40, 50), dtype=np.float32)
    if box is not None:
        values[box.slices] = probability
    return TeacherMask(values, quality)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (mask(Box(12, 12, 28, 28)), ()),
        (mask(None), ("empty",)),
        (mask(BOX, probability=0.5), ("empty",)),  # counted above 0.5
        (mask(Box(10, 10, 14, 14)), ("far-smaller-than-box",)),
        (mask(BOX), ("fills-box",)),
        (mask(Box(10, 10, 30, 40)), ("fills-box", "leaves-box")),
        (mask(Box(35, 10, 45, 30)), ("far-smaller-than-box", "leaves-box")),
        (mask(Box(12, 12, 28, 28), quality=0.3), ("low-quality",)),
        (mask(Box(12, 12, 28, 28), quality=None), ()),
        (mask(None, quality=0.1), ("empty", "low-quality")),
    ],
)
def test_flags(answer: TeacherMask, expected: tuple[str, ...]) -> None:
    assert flags_for(answer, BOX) == expected


def test_limits_move_the_flags() -> None:
    assert flags_for(mask(Box(12, 12, 28, 28)), BOX, QualityLimits(low_quality=0.95)) == ("low-quality",)
    assert flags_for(mask(Box(10, 10, 14, 14)), BOX, QualityLimits(far_smaller=0.01)) == ()


@pytest.mark.parametrize(
    ("flags", "fallback", "used", "area"),
    [
        (("empty",), "box", "box", 400),
        (("empty",), "ellipse", "ellipse", 316),  # pi / 4 x 400, by pixel centres
        (("empty",), "keep", None, 0),
        (("far-smaller-than-box", "leaves-box"), "box", "box", 400),
        (("low-quality",), "box", None, 0),  # flagged, and still the best there is
        ((), "box", None, 0),
    ],
)
def test_fallbacks(flags: tuple[str, ...], fallback: str, used: str | None, area: int) -> None:
    replaced, name = with_fallback(mask(None), BOX, flags, fallback)
    assert name == used
    assert replaced.probability.sum() == area
    assert replaced.quality == 0.9


def test_which_flags_call_for_the_fallback_is_a_setting() -> None:
    limits = QualityLimits(replace=("low-quality",))
    assert with_fallback(mask(None), BOX, ("low-quality",), "box", limits)[1] == "box"
    assert with_fallback(mask(None), BOX, ("empty",), "box", limits)[1] is None


@pytest.mark.parametrize(
    "limits", [{"fills": 1.5}, {"far_smaller": -0.1}, {"low_quality": "x"}, {"replace": "empty"}, {"replace": ["odd"]}]
)
def test_bad_limits(limits: dict[str, Any]) -> None:
    with pytest.raises(TeacherError):
        QualityLimits(**limits)


def test_unknown_fallback() -> None:
    with pytest.raises(TeacherError, match="ellipse, box, keep"):
        with_fallback(mask(None), BOX, (), "guess")
