"""Measurements of all rounds, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxpromptiml.bench.cells import Cell, Decoding, Effort, Peak
from boxpromptiml.bench.peak import best_peak
from boxpromptiml.bench.peers import NOTE, Peers
from boxpromptiml.bench.runtimes import RUNTIMES
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import WEIGHTS_NAME, ModelConfig


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is counted, not timed.

    Attributes:
        model: its folder.
        supervision: what it was trained from; None where that is not recorded.
        params: trainable parameters; None where the model does not say.
        multiply_adds: of one image at the input size; None where the model does not say.
        height, width: of the input that they are counted for.
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

    def at(self, height: int, width: int) -> float | None:
        """Multiply-adds of one image of another size: they grow with the area, all but exactly."""
        if self.multiply_adds is None:
            return None
        return self.multiply_adds * height * width / (self.height * self.width)


def _bytes(path: Path) -> int:
    """Of a file, with the weights that it takes from one beside it: OpenVINO's always, a packaged model's ONNX file."""
    weights = path.with_suffix(".bin") if path.suffix == ".xml" else path.with_name(WEIGHTS_NAME)
    referred = path.suffix == ".xml" or (path.suffix == ".onnx" and WEIGHTS_NAME.encode() in path.read_bytes())
    return path.stat().st_size + (weights.stat().st_size if referred and weights.is_file() else 0)


@dataclass(frozen=True, slots=True)
class Timing:
    """Calls of all rounds.

    Attributes:
        median_ms: of a call, for the whole batch.
        p95_ms: 95 % of the calls were not slower.
        p99_ms: 99 % of the calls were not slower; with few calls the slowest one.
        images_per_second: batch x processes / median.
        spread: of the rounds' medians, (largest - smallest) / median: what the machine did meanwhile.
        calls: measured.
    """

    median_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    spread: float
    calls: int

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]], images: int) -> Timing:
        """Of milliseconds a call, one sequence a round; `images` are done at a time.

        Example:
            >>> Timing.of([[10.0, 12.0, 11.0], [9.0, 10.0, 9.0]], images=2)
            Timing(median_ms=10.0, p95_ms=12.0, p99_ms=12.0, images_per_second=200.0, spread=0.2, calls=6)
        """
        samples = np.concatenate([np.asarray(calls, np.float64) for calls in rounds])
        # The median of the rounds' medians: a round with more calls, because the machine was quiet, has no more say.
        medians = [float(np.median(calls)) for calls in rounds]
        median = float(np.median(medians))
        p95, p99 = (float(np.quantile(samples, share, method="inverted_cdf")) for share in (0.95, 0.99))
        return cls(median, p95, p99, 1000 * images / median, (max(medians) - min(medians)) / median, len(samples))


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell's figures.

    Attributes:
        cell: what was measured.
        network: the network alone, 8-bit pixels at its input size to its map; None where the cell failed.
        whole: from photos on disk to masks, scores and regions, one step after the other.
        steps_ms: of a batch, by the names of `STEPS`; median of the rounds.
        load_seconds: until the runtime is open, imports included; median.
        first_ms: the first call of the network; median.
        height, width: of what the network was shown.
        cores: CPU seconds a second in the network's calls, all processes; median.
        baseline_mb: memory of a process before the runtime was loaded; median.
        peak_mb: largest memory of the processes together, network alone.
        whole_peak_mb: the same with all steps.
        device_mb: largest memory of the accelerator, of one process; None without one.
        error: why it failed; empty if it did not.
    """

    cell: Cell
    network: Timing | None = None
    whole: Timing | None = None
    steps_ms: dict[str, float] | None = None
    load_seconds: float | None = None
    first_ms: float | None = None
    height: int | None = None
    width: int | None = None
    cores: float | None = None
    baseline_mb: float | None = None
    peak_mb: float | None = None
    whole_peak_mb: float | None = None
    device_mb: float | None = None
    error: str = ""

    @classmethod
    def of(cls, cell: Cell, rounds: Sequence[Mapping[str, Any]]) -> CellResult:
        """Of the answers of `boxpromptiml.bench.turn.run_turn`, one a round."""
        error = next((turn["error"] for turn in rounds if "error" in turn), "")
        if error:
            return cls(cell, error=error)

        def timing(name: str) -> Timing:
            calls = [[ms for answer in turn["answers"] for ms in answer[name]] for turn in rounds]
            return Timing.of(calls, cell.batch * cell.processes)

        def column(name: str) -> list[Any]:
            return [answer[name] for turn in rounds for answer in turn["answers"]]

        def sums(name: str) -> list[float]:
            return [sum(answer[name] for answer in turn["answers"]) for turn in rounds]

        device = [value for value in column("device_mb") if value is not None]
        steps = column("steps_ms")
        height, width = column("input")[0]
        return cls(
            cell,
            timing("network_ms"),
            timing("whole_ms"),
            {name: float(np.median([spent[name] for spent in steps])) for name in steps[0]},
            float(np.median(column("load_seconds"))),
            float(np.median(column("first_ms"))),
            height,
            width,
            float(np.median(sums("cores"))),
            float(np.median(column("baseline_mb"))),
            max(sums("peak_mb")),
            max(sums("whole_peak_mb")),
            max(device) if device else None,
        )


@dataclass(frozen=True, slots=True)
class PeakResult:
    """The largest matrix product's speed.

    Attributes:
        peak: what was measured.
        library: that was fastest; None where no installed one multiplies at that precision.
        flops: operations a second, two for each multiply-add, all processes together; best of all rounds.
    """

    peak: Peak
    library: str | None = None
    flops: float | None = None

    @classmethod
    def of(cls, peak: Peak, rounds: Sequence[Mapping[str, Any]]) -> PeakResult:
        """Of the turns' answers, one a round."""
        turns = [turn["answers"] for turn in rounds if "answers" in turn]
        # A library's processes work at the same time, so that their rates add up.
        rates = [{name: sum(a["rates"][name] for a in answers) for name in answers[0]["rates"]} for answers in turns]
        best = best_peak(rates)
        return cls(peak) if best is None else cls(peak, *best)


@dataclass(frozen=True, slots=True)
class DecodingResult:
    """The bound that reading and decoding set; `timing` is None where it failed."""

    decoding: Decoding
    timing: Timing | None = None
    error: str = ""

    @classmethod
    def of(cls, decoding: Decoding, rounds: Sequence[Mapping[str, Any]]) -> DecodingResult:
        """Of the turns' answers, one a round."""
        error = next((turn["error"] for turn in rounds if "error" in turn), "")
        if error:
            return cls(decoding, error=error)
        calls = [[ms for answer in turn["answers"] for ms in answer["decoding_ms"]] for turn in rounds]
        return cls(decoding, Timing.of(calls, decoding.processes))


@dataclass(frozen=True)
class SpeedResult:
    """All that was measured in one run.

    Attributes:
        models: what is counted of each.
        cells: networks.
        peaks: the machine's peak at each precision, number of threads and processes that occurs.
        decodings: the bound of throughput by model and processes; empty unless asked for.
        effort: how long.
        photo: what was looked at: name, width, height, bytes.
        machine: what was measured on; ``load`` holds the load averages before and after.
        peers: published figures; None if they are not wanted.
        seconds: wall time.
    """

    models: list[ModelFacts]
    cells: list[CellResult]
    peaks: list[PeakResult]
    decodings: list[DecodingResult]
    effort: Effort
    photo: dict[str, Any]
    machine: dict[str, Any]
    peers: Peers | None
    seconds: float

    @property
    def failed(self) -> list[CellResult]:
        """Cells that could not be measured."""
        return [cell for cell in self.cells if cell.error]

    def flops(self, result: CellResult) -> float | None:
        """Operations a second that a network reached, two for each multiply-add; None where they are not known."""
        facts = next(model for model in self.models if model.model == result.cell.model)
        if result.network is None or result.height is None or result.width is None:
            return None
        count = facts.at(result.height, result.width)
        return None if count is None else 2 * count * result.network.images_per_second

    def share_of_peak(self, result: CellResult) -> float | None:
        """What part of the peak at its precision, threads and processes a network reached."""
        reached, cell = self.flops(result), result.cell
        wanted = Peak(RUNTIMES[cell.runtime].precision, cell.threads, cell.processes, cell.device)
        peak = next((found.flops for found in self.peaks if found.peak == wanted), None)
        return None if reached is None or peak is None else reached / peak

    def share_of_decoding(self, result: CellResult) -> float | None:
        """What part of the throughput that decoding alone allows all steps together reach."""
        wanted = Decoding(result.cell.model, result.cell.processes)
        bound = next((found.timing for found in self.decodings if found.decoding == wanted), None)
        if bound is None or result.whole is None:
            return None
        return result.whole.images_per_second / bound.images_per_second

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        cells = []
        for result in self.cells:
            values = asdict(result)
            shares = {"flops_per_second": self.flops(result), "share_of_peak": self.share_of_peak(result)}
            cells.append(values.pop("cell") | values | shares | {"share_of_decoding": self.share_of_decoding(result)})
        answer: dict[str, Any] = {
            "flops": "multiply-adds; flops_per_second: two operations for each",
            "models": [asdict(model) for model in self.models],
            "cells": cells,
            "peaks": [
                asdict(found.peak) | {"library": found.library, "flops_per_second": found.flops} for found in self.peaks
            ],
            "decodings": [asdict(found) for found in self.decodings],
            "effort": asdict(self.effort),
            "photo": self.photo,
            "machine": self.machine,
            "seconds": round(self.seconds, 1),
        }
        if self.peers is not None:
            answer["peers"] = {"status": NOTE, **self.peers.model_dump(mode="json")}
        return answer
