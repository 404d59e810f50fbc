"""Small draws that every step of the synthesis makes, all from a given generator."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel


class Unusable(Exception):
    """A draw that leads to no believable manipulation: the caller draws again. Never leaves the package."""


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with that probability. Draws one number in any case, so that settings do not shift later draws."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, weights: BaseModel) -> str:
    """A field name of a model of weights, with probability in proportion to its value."""
    names = list(type(weights).model_fields)
    values = np.array([getattr(weights, name) for name in names], dtype=np.float64)
    index = int(np.searchsorted(np.cumsum(values / values.sum()), rng.random(), side="right"))
    return names[min(index, len(names) - 1)]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high]."""
    return float(low + (high - low) * rng.random())


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high] whose logarithm is uniform."""
    return math.exp(uniform(rng, math.log(low), math.log(high)))
