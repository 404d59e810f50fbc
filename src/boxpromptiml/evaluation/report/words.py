"""Figures as people read them."""

from __future__ import annotations

import numpy as np

from boxpromptiml.evaluation.result import Interval


def number(value: float) -> str:
    """A figure for people."""
    return "–" if np.isnan(value) else f"{value:.3f}"


def interval(ends: Interval | None) -> str:
    """An interval for people; nothing where there is none."""
    return "" if ends is None else f"{ends[0]:.3f} – {ends[1]:.3f}"


def share(value: float) -> str:
    """A share of an image for people."""
    return f"{value:.1%}" if value >= 0.01 or value == 0 else f"{value:.2%}"
