"""Evaluate a model on datasets, through the runtime that deployment uses: both see the same pixels."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from boxpromptiml import __version__
from boxpromptiml.errors import DatasetError
from boxpromptiml.evaluation.calibration import Calibrations
from boxpromptiml.evaluation.groups import by_kind, by_region_size
from boxpromptiml.evaluation.intervals import figure_intervals
from boxpromptiml.evaluation.plan import Plan, Task, open_plan
from boxpromptiml.evaluation.pooled import PixelCurves
from boxpromptiml.evaluation.result import DatasetFigures, EvaluationResult, Figures
from boxpromptiml.evaluation.scoring import Scored, Scorer, Transform
from boxpromptiml.evaluation.sources import AUTO, Source
from boxpromptiml.evaluation.state import RunState
from boxpromptiml.evaluation.table import ImageTable
from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.machine import usable_cores
from boxpromptiml.metrics import Mode, get_preset
from boxpromptiml.preprocessing import Fed
from boxpromptiml.progress import progress_bar
from boxpromptiml.runtime import Localizer


def evaluate(
    localizer: Localizer,
    sources: Source | Sequence[Source] | Plan,
    preset: str = "imdlbenco",
    *,
    mode: Mode = "origin",
    split: str = AUTO,
    batch_size: int = 8,
    threads: int | None = None,
    on_mismatch: OnMismatch = "error",
    transform: Transform | None = None,
    state: str | Path | None = None,
    keep_state: bool = False,
    tie_blind: bool = False,
    tta: bool = False,
    label: str = "evaluate",
) -> EvaluationResult:
    """Score a model's maps against true masks.

    Args:
        localizer: the model.
        sources: one or several of: dataset folders, Tp/Gt(/Au) folders, IMDLBenCo lists, manifests, open datasets. Or
            a plan, which has been opened with a split already.
        preset: protocol of the pixel figures, see `boxpromptiml.metrics.PRESETS`.
        mode: the protocol's mode.
        split: ``train``, ``val``, ``test``, ``all``, or ``auto``: ``test`` where a dataset has one, otherwise all.
        batch_size: images an inference.
        threads: threads that read and score images; None for all usable cores.
        on_mismatch: for masks that do not fit their images, see `open_plan`.
        transform: called in the reading threads with the upright image, uint8 (h, w, 3) at its own size, and its name
            in the dataset; what it returns, uint8 (h', w', 3), goes to the network instead. The truth stays as it is.
        state: folder where the run keeps what it has done: when it is interrupted, in whatever way, the next run with
            the same folder goes on there, and ends in the same digits. A transform is known by `label` alone.
        keep_state: whether the folder stays when the run is finished, so that the next one has nothing left to do.
        tie_blind: let the AUC depend on the order of tied pixels, as the benchmark's own code does.
        tta: let the network look at each image four times, as it is and mirrored, and average.
        label: what the progress bar says.

    Returns:
        The figures. Pixel figures count tampered images with true masks; pseudo masks are never truth.

    Raises:
        DatasetError: a source that is missing, empty, or has no truth to score against.
        ImageError: an image or mask that cannot be read: a figure over the rest would be another figure.
        BoxPromptError: `state` belongs to another evaluation.
        ValueError: unknown preset or mode.
    """
    rule = get_preset(preset)
    if mode not in rule.modes:
        raise ValueError(f"preset {preset} has no mode {mode!r}; it has {', '.join(rule.modes)}")
    with _opened(sources, split, on_mismatch) as plan:
        scorer = Scorer(localizer, rule, mode, tie_blind, transform, tta)
        saved = None if state is None else RunState.open(state, _identity(scorer, plan, batch_size, label))
        try:
            run = _Run(scorer, plan, batch_size, threads or usable_cores(), saved)
            run.go(label)
            result = _result(run)
        except BaseException:
            if saved is not None:
                saved.close()  # with what the last checkpoint covers
            raise
        if saved is not None and keep_state:
            saved.close()
        elif saved is not None:
            saved.discard()
        return result


def _opened(
    sources: Source | Sequence[Source] | Plan, split: str, on_mismatch: OnMismatch
) -> AbstractContextManager[Plan]:
    return (
        nullcontext(sources) if isinstance(sources, Plan) else open_plan(sources, split=split, on_mismatch=on_mismatch)
    )


def describe_model(localizer: Localizer) -> dict[str, Any]:
    """What identifies a model in a report."""
    config = localizer.config
    return {
        "path": str(localizer.folder),
        "id": localizer.model_id,
        "backbone": config.student.backbone,
        "input": [config.preprocessing.height, config.preprocessing.width],
        "fit": config.preprocessing.fit,
        "copies": config.decision.copies,
        "completion": config.decision.completion,
        "looks": config.decision.looks,
        "params": config.params,
        "flops": config.flops,
        "supervision": config.trained_on.supervision,
    }


def _identity(scorer: Scorer, plan: Plan, batch_size: int, label: str) -> dict[str, Any]:
    """What the digits of a result depend on, by names that make sense in a message."""
    # A state without curves of all data sets together, of an earlier version, cannot be gone on with.
    several = {"way to pool several data sets": "together"} if len(plan.sources) > 1 else {}
    return {
        **several,
        "model": scorer.localizer.model_id,
        "preset": scorer.preset.name,
        "mode": scorer.mode,
        "treatment of ties": scorer.tie_blind,
        "tta": scorer.tta,
        "label": label,
        "data set, or changed files": plan.fingerprint,
        "decision rule": scorer.localizer.config.decision.model_dump(mode="json"),
        "batch size": batch_size,  # the last digits of a network may depend on it
        "version of boxpromptiml": __version__,
    }


@dataclass
class _Run:
    """An evaluation under way: reading, the network and scoring overlap; results come in the order of the plan."""

    scorer: Scorer
    plan: Plan
    batch_size: int
    workers: int
    state: RunState | None
    table: ImageTable = field(init=False)
    curves: list[PixelCurves] = field(init=False)  # one a dataset
    together: PixelCurves = field(init=False)  # of all datasets; the same where there is one
    _before: float = 0.0  # seconds of earlier runs

    def __post_init__(self) -> None:
        self.table = ImageTable(len(self.plan))
        self.curves = [PixelCurves() for _ in self.plan.sources]
        self.together = self.curves[0] if len(self.curves) == 1 else PixelCurves()
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._start

    def go(self, label: str) -> None:
        """Look at every image that earlier runs have not looked at."""
        tasks = self.plan.tasks()
        if self.state is not None:
            self._resume(self.state, tasks)
        with progress_bar() as bar:
            item = bar.add_task(label, total=len(self.plan), completed=len(self.table))
            for batch in self._scored_batches(tasks):
                for task, scored in batch:
                    self._record(task, scored)
                bar.advance(item, len(batch))
                # Checkpoints stand between batches, so that the next run fills them with the same images.
                if self.state is not None and self.state.due:
                    self._save(self.state)
        if len(self.table) != len(self.plan):
            raise _changed()
        if self.state is not None:
            self._save(self.state)

    def _resume(self, state: RunState, tasks: Iterator[Task]) -> None:
        for row, task in zip(state.rows, tasks, strict=False):  # in this order: no task is lost
            self.table.append(row, task.dataset, task.name, task.kind)
        for prefix, curves in self._named_curves():
            found = {name.removeprefix(prefix): a for name, a in state.arrays.items() if name.startswith(prefix)}
            if found:
                curves.restore(found)
        self._before = state.seconds

    def _save(self, state: RunState) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        for prefix, curves in self._named_curves():
            arrays |= {f"{prefix}{name}": values for name, values in curves.arrays().items()}
        state.save(arrays, self.seconds)

    def _named_curves(self) -> Iterator[tuple[str, PixelCurves]]:
        """All curves, each with what its arrays' names in a state begin with."""
        yield from ((f"{index}.", curves) for index, curves in enumerate(self.curves))
        if len(self.curves) > 1:
            yield "together.", self.together

    def _record(self, task: Task, scored: Scored) -> None:
        if len(self.table) == len(self.plan):
            raise _changed()
        self.table.append(scored.row, task.dataset, task.name, task.kind)
        if scored.pixels is not None:
            self.curves[task.dataset].add(scored.pixels, tampered=scored.tampered)
            if len(self.curves) > 1:
                self.together.add(scored.pixels, tampered=scored.tampered)
        if self.state is not None:
            self.state.append(scored.row)

    def _scored_batches(self, tasks: Iterator[Task]) -> Iterator[list[tuple[Task, Scored]]]:
        """Whole batches, each when all of it is done. Memory holds about three of them."""
        loading: deque[tuple[Task, Future[Fed]]] = deque()
        scoring: deque[list[tuple[Task, Future[Scored]]]] = deque()
        with ThreadPoolExecutor(self.workers, "evaluate") as pool:
            try:
                while True:
                    for task in islice(tasks, self.batch_size + self.workers - len(loading)):
                        loading.append((task, pool.submit(self.scorer.load, task)))
                    if not loading:
                        break
                    batch = [loading.popleft() for _ in range(min(self.batch_size, len(loading)))]
                    fed = [future.result() for _, future in batch]
                    maps = self.scorer.localizer.maps(fed, tta=self.scorer.tta)
                    scoring.append(
                        [
                            (task, pool.submit(self.scorer.score, task, values, item.copies))
                            for (task, _), item, values in zip(batch, fed, maps, strict=True)
                        ]
                    )
                    while len(scoring) > 1:
                        yield _results(scoring.popleft())
                while scoring:
                    yield _results(scoring.popleft())
            finally:
                for future in [future for _, future in loading] + [f for some in scoring for _, f in some]:
                    future.cancel()


def _results(batch: list[tuple[Task, Future[Scored]]]) -> list[tuple[Task, Scored]]:
    return [(task, future.result()) for task, future in batch]


def _changed() -> DatasetError:
    return DatasetError("a dataset was changed while it was evaluated; run the evaluation again")


def _result(run: _Run) -> EvaluationResult:
    scorer, plan, table = run.scorer, run.plan, run.table
    preset, decision = scorer.preset, scorer.localizer.config.decision
    threshold = decision.threshold if preset.image_threshold is None else preset.image_threshold
    # Where each image has the better of two maps, there is no one map to pool.
    pooled = scorer.mode != "double"
    everything = run.together if pooled else None
    seconds = run.seconds
    parts = []
    for index, (source, split) in enumerate(zip(plan.sources, plan.splits, strict=True)):
        curves = run.curves[index] if pooled else None
        figures = Figures.of(table, preset, threshold, curves, index)
        intervals = figure_intervals(table, preset, threshold, curves, index)
        parts.append(DatasetFigures(source.name, split, figures, intervals, source.left_out, source.mended))
    whole = len(parts) == 1
    return EvaluationResult(
        preset=preset.name,
        mode=scorer.mode,
        tie_blind=scorer.tie_blind,
        figures=parts[0].figures if whole else Figures.of(table, preset, threshold, everything),
        ci95=parts[0].ci95 if whole else figure_intervals(table, preset, threshold, everything),
        datasets=tuple(parts),
        images=table,
        by_region_size=by_region_size(table, preset),
        by_kind=by_kind(table, preset),
        curves=everything,
        calibration=Calibrations.of(
            table,
            everything if scorer.mode == "origin" else None,
            decision,
            own_score=preset.image_rule != "max" and scorer.mode == "origin",
        ),
        image_threshold=threshold,
        n_skipped=plan.n_skipped,
        model=describe_model(scorer.localizer) | ({"tta": True} if scorer.tta else {}),
        seconds=seconds,
    )
