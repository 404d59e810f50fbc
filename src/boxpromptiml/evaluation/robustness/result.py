"""Figures over the levels of attacks: retention against clean images and the area under each curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.evaluation.result import environment
from boxpromptiml.evaluation.robustness.attacks import ATTACKS, CLEAN, Attack, Value
from boxpromptiml.evaluation.robustness.store import Outcome
from boxpromptiml.metrics import Preset, Summary, bootstrap_interval

Floats = NDArray[np.float64]
_NOT_SCORED = ("n_skipped", "n_left_out", "n_mended")
# Of an evaluation's report: the same at every level, or of no use here.
_SHARED = ("preset", "mode", "tie_blind", "image_threshold", "model", "environment", *_NOT_SCORED)
_GROUPS = ("by_region_size", "by_kind", "datasets", "seconds")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """``value`` and ``ci95``; None where not defined."""
        return {"value": _number(self.value), "ci95": [_number(self.low), _number(self.high)]}


@dataclass(frozen=True, slots=True)
class LevelResult:
    """A model at one level of an attack.

    Attributes:
        level: the level.
        f1: pixel F1 over tampered images, by the preset.
        retention: `f1` divided by the F1 of the untouched images.
        report: every figure of the evaluation, see `boxpromptiml.evaluation.EvaluationResult.to_json`.
    """

    level: Value
    f1: Estimate
    retention: Estimate
    report: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The level, its retention, and the figures of its evaluation."""
        kept = {name: value for name, value in self.report.items() if name not in (*_SHARED, *_GROUPS)}
        datasets = [
            {"dataset": one["dataset"], "split": one["split"], "pixel": one["pixel"], "ci95": one["ci95"]}
            for one in self.report["datasets"]
        ]
        return {
            "level": self.level,
            "f1": self.f1.to_json(),
            "retention": self.retention.to_json(),
            **kept,
            "datasets": datasets,
        }


@dataclass(frozen=True, slots=True)
class AttackResult:
    """A model under one attack.

    Attributes:
        attack: the attack.
        levels: from mild to strong.
        area: area under F1 over the levels' own axis, divided by the length of the axis from the first level to the
            last (trapezoids), so that it is in [0, 1]; for platforms, which have no axis, the mean.
        retention: `area` divided by the F1 of the untouched images: 1 for a curve that does not fall.
    """

    attack: Attack
    levels: tuple[LevelResult, ...]
    area: Estimate
    retention: Estimate

    def to_json(self) -> dict[str, Any]:
        """Curve and area."""
        return {
            "title": self.attack.title,
            "axis": self.attack.axis,
            "area": self.area.to_json(),
            "retention": self.retention.to_json(),
            "levels": [level.to_json() for level in self.levels],
        }


@dataclass(frozen=True)
class RobustnessResult:
    """A model under all attacks that were asked for.

    Attributes:
        clean: on untouched images; its retention is 1.
        attacks: one entry an attack.
        seed: of what is random.
        seconds: wall time of the evaluations, those of interrupted runs included.
    """

    clean: LevelResult
    attacks: tuple[AttackResult, ...]
    seed: int
    seconds: float

    @classmethod
    def of(
        cls, outcomes: Mapping[str, Outcome], attacks: Sequence[str], preset: Preset, seed: int, resamples: int = 1000
    ) -> RobustnessResult:
        """Put levels together.

        Intervals are percentile bootstraps over images with seed 0. A draw takes the same images at all levels: so
        the difficulty of the images cancels in a retention, whose interval is narrower than that of F1.

        Args:
            outcomes: by `Attack.key`; the clean one and all levels of `attacks`.
            attacks: keys of `ATTACKS`.
            preset: the protocol, for the means.
            seed: of what was random in the images.
            resamples: how often images are drawn.
        """
        keys = list(
            dict.fromkeys([CLEAN, *(a.key(level) for a in map(ATTACKS.get, attacks) if a for level in a.levels)])
        )
        chosen = [ATTACKS[name] for name in attacks]
        table = np.stack([outcomes[key].rows for key in keys], axis=1)
        weights = np.array([_weights(attack, keys) for attack in chosen]).reshape(len(chosen), len(keys))
        f1_place = Summary._fields.index("f1")

        def figures(drawn: Floats) -> Floats:
            f1 = np.array([preset.summarise(drawn[:, place])[f1_place] for place in range(len(keys))])
            areas = weights @ f1
            with np.errstate(divide="ignore", invalid="ignore"):
                kept = np.concatenate([f1, areas]) / f1[0]
            return np.concatenate([f1, areas, np.where(f1[0] > 0, kept, np.nan)])

        values = figures(table)
        ends = bootstrap_interval(table, lambda drawn: figures(drawn).tolist(), resamples=resamples)
        estimates = [Estimate(float(value), *pair) for value, pair in zip(values, ends, strict=True)]
        half = len(keys) + len(chosen)
        levels = {
            key: (estimates[place], estimates[half + place], outcomes[key].report) for place, key in enumerate(keys)
        }
        return cls(
            clean=LevelResult(CLEAN, *levels[CLEAN]),
            attacks=tuple(
                AttackResult(
                    attack,
                    tuple(LevelResult(level, *levels[attack.key(level)]) for level in attack.levels),
                    estimates[len(keys) + place],
                    estimates[half + len(keys) + place],
                )
                for place, attack in enumerate(chosen)
            ),
            seed=seed,
            seconds=sum(float(outcomes[key].report["seconds"]) for key in keys),
        )

    def to_json(self) -> dict[str, Any]:
        """Ready for `json.dumps`; None where a figure is not defined."""
        first = self.clean.report
        return {
            "preset": first["preset"],
            "mode": first["mode"],
            "seed": self.seed,
            "figure": "pixel f1 over tampered images",
            "area": "area under f1 over the levels (trapezoids), divided by the length of the axis; platforms: mean",
            "retention": "f1 divided by the f1 of the untouched images",
            "clean": self.clean.to_json(),
            "attacks": {result.attack.name: result.to_json() for result in self.attacks},
            **{name: first.get(name) for name in _NOT_SCORED},  # levels of before did not count misfits
            "model": first["model"],
            "environment": environment(),
            "seconds": round(self.seconds, 3),
        }

    def table(self) -> Iterator[dict[str, Any]]:
        """One row a level, for CSV; the untouched images first; None where a figure is not defined."""
        yield _row(CLEAN, self.clean)
        for result in self.attacks:
            for level in result.levels:
                yield _row(result.attack.name, level)


def _weights(attack: Attack, keys: Sequence[str]) -> Floats:
    """What each level of `keys` counts in the area under an attack's curve; they add up to 1."""
    weights = np.zeros(len(keys))
    if attack.numeric:
        axis = np.array(attack.levels, dtype=np.float64)
        halves = np.abs(np.diff(axis)) / 2 / abs(axis[-1] - axis[0])
        shares = np.append(halves, 0) + np.append(0, halves)
    else:
        shares = np.full(len(attack.levels), 1 / len(attack.levels))
    weights[[keys.index(attack.key(level)) for level in attack.levels]] = shares
    return weights


def _row(attack: str, level: LevelResult) -> dict[str, Any]:
    report = level.report
    pixel = {name: report["pixel"][name] for name in Summary._fields if name != "f1"}
    return {
        "attack": attack,
        "level": level.level,
        "f1": _number(level.f1.value),
        "f1_low": _number(level.f1.low),
        "f1_high": _number(level.f1.high),
        "retention": _number(level.retention.value),
        "retention_low": _number(level.retention.low),
        "retention_high": _number(level.retention.high),
        **pixel,
        **{f"image_{name}": value for name, value in report["image"].items()},
        **report["authentic"],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
