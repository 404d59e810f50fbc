"""Measurements of all rounds, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxpromptiml.evaluation.efficiency.cells import Cell, Effort
from boxpromptiml.evaluation.efficiency.peers import NOTE, Peers
from boxpromptiml.evaluation.efficiency.runtimes import RUNTIMES
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is counted, not timed.

    Attributes:
        model: its folder.
        supervision: what it was trained from; None where that is not recorded.
        params: trainable parameters; None where the model does not say.
        multiply_adds: of one image at the input size; None where the model does not say.
        height, width: of the input.
        files: bytes by name, of the files that the measured runtimes read.
        digests: SHA-256 of these.
    """

    model: str
    supervision: str | None
    params: int | None
    multiply_adds: int | None
    height: int
    width: int
    files: dict[str, int]
    digests: dict[str, str]

    @classmethod
    def of(cls, folder: str, runtimes: Sequence[str]) -> ModelFacts:
        """Of a model folder."""
        config = ModelConfig.load(folder)
        paths = {name: Path(folder) / name for name in dict.fromkeys(RUNTIMES[runtime].file for runtime in runtimes)}
        return cls(
            folder,
            config.trained_on.supervision,
            config.params or None,
            config.flops or None,
            config.preprocessing.height,
            config.preprocessing.width,
            {name: _bytes(path) for name, path in paths.items()},
            {name: sha256_of(path) for name, path in paths.items()},
        )


def _bytes(path: Path) -> int:
    """Of a file; of OpenVINO's graph with its weights, which lie beside it."""
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" and weights.is_file() else 0)


@dataclass(frozen=True, slots=True)
class Timing:
    """Calls of all rounds.

    Attributes:
        median_ms: of a call, for the whole batch.
        p95_ms: 95 % of the calls were not slower.
        images_per_second: batch / median.
        spread: of the rounds' medians, (largest - smallest) / median: what the machine did meanwhile.
        calls: measured.
    """

    median_ms: float
    p95_ms: float
    images_per_second: float
    spread: float
    calls: int

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]], batch: int) -> Timing:
        """Of milliseconds a call, one sequence a round.

        Example:
            >>> Timing.of([[10.0, 12.0, 11.0], [9.0, 10.0, 9.0]], batch=2)
            Timing(median_ms=10.0, p95_ms=12.0, images_per_second=200.0, spread=0.2, calls=6)
        """
        samples = np.concatenate([np.asarray(calls, np.float64) for calls in rounds])
        # The median of the rounds' medians: a round with more calls, because the machine was quiet, has no more say.
        medians = [float(np.median(calls)) for calls in rounds]
        median = float(np.median(medians))
        p95 = float(np.quantile(samples, 0.95, method="inverted_cdf"))
        return cls(median, p95, 1000 * batch / median, (max(medians) - min(medians)) / median, len(samples))


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell's figures.

    Attributes:
        cell: what was measured.
        network: the network alone, 8-bit pixels at its input size to its map; None where the cell failed.
        end_to_end: from JPEG bytes to a map at the image's own size, one step after the other.
        load_seconds: from nothing to the first answer, imports included; median.
        cores: CPU seconds a second in the network's calls; median.
        baseline_mb: memory of the process before the runtime was loaded; median.
        peak_mb: largest memory of the process, network alone.
        end_to_end_peak_mb: the same with decoding and resizing.
        device_mb: largest memory of the accelerator; None without one.
        error: why it failed; empty if it did not.
    """

    cell: Cell
    network: Timing | None = None
    end_to_end: Timing | None = None
    load_seconds: float | None = None
    cores: float | None = None
    baseline_mb: float | None = None
    peak_mb: float | None = None
    end_to_end_peak_mb: float | None = None
    device_mb: float | None = None
    error: str = ""

    @classmethod
    def of(cls, cell: Cell, rounds: Sequence[Mapping[str, Any]]) -> CellResult:
        """Of the answers of `boxpromptiml.evaluation.efficiency.worker`, one a round."""
        error = next((answer["error"] for answer in rounds if "error" in answer), "")
        if error:
            return cls(cell, error=error)

        def column(name: str) -> list[Any]:
            return [answer[name] for answer in rounds]

        device = [value for value in column("device_mb") if value is not None]
        return cls(
            cell,
            Timing.of(column("network_ms"), cell.batch),
            Timing.of(column("end_to_end_ms"), cell.batch),
            float(np.median(column("load_seconds"))),
            float(np.median(column("cores"))),
            float(np.median(column("baseline_mb"))),
            max(column("peak_mb")),
            max(column("end_to_end_peak_mb")),
            max(device) if device else None,
        )


@dataclass(frozen=True)
class EfficiencyResult:
    """All cells.

    Attributes:
        models: what is counted of each.
        cells: what was measured.
        effort: how long.
        image: what was decoded end to end: where it is from, width, height, bytes.
        machine: what was measured on; ``load`` holds the load averages before and after.
        peers: published figures; None if they are not wanted.
        seconds: wall time.
    """

    models: list[ModelFacts]
    cells: list[CellResult]
    effort: Effort
    image: dict[str, Any]
    machine: dict[str, Any]
    peers: Peers | None
    seconds: float

    @property
    def failed(self) -> list[CellResult]:
        """Cells that could not be measured."""
        return [cell for cell in self.cells if cell.error]

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        cells = []
        for result in self.cells:
            values = asdict(result)
            cells.append(values.pop("cell") | values)
        answer: dict[str, Any] = {
            "flops": "multiply-adds",
            "models": [asdict(model) for model in self.models],
            "cells": cells,
            "effort": asdict(self.effort),
            "image": self.image,
            "machine": self.machine,
            "seconds": round(self.seconds, 1),
        }
        if self.peers is not None:
            answer["peers"] = {"status": NOTE, **self.peers.model_dump(mode="json")}
        return answer
