"""A whole study: check, derive, train and test what is left, report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.dataset import Dataset
from boxpromptiml.dataset.schema import DATABASE
from boxpromptiml.errors import DatasetError, RecipeError
from boxpromptiml.evaluation.studies.annotation import read_quality
from boxpromptiml.evaluation.studies.engine import run_jobs, share_of_cores
from boxpromptiml.evaluation.studies.folder import RunFolder, StudyFolder, read_failure
from boxpromptiml.evaluation.studies.jobs import annotation_jobs, training_job
from boxpromptiml.evaluation.studies.measure import Measure
from boxpromptiml.evaluation.studies.plan import Plan, Run, slug
from boxpromptiml.evaluation.studies.report import StudyReport, make_report
from boxpromptiml.evaluation.studies.snapshot import Snapshot, snapshot_test, snapshot_training
from boxpromptiml.teachers import load_teacher

_PROBE = "boxpromptiml.evaluation.studies.probe"
# Start, export and evaluation of a run, as measured in docs/studies.md.
_OVERHEAD_SECONDS = 15.0


@dataclass(frozen=True)
class Preview:
    """What a study would do.

    Attributes:
        todo: names of the runs that are left, in order.
        done: names of those that are finished.
        images: training images (with those that choose the epoch) and test images.
        epochs: of all runs that are left.
        seconds: estimate for what is left, without pseudo masks; None if a step could not be timed.
        measured: whether it comes from runs that have ended, rather than from a few training steps.
    """

    todo: tuple[str, ...]
    done: tuple[str, ...]
    images: dict[str, int]
    epochs: int
    seconds: float | None
    measured: bool


def run_study(plan: Plan, dataset: Path, out: Path, measure: Measure, *, jobs: int = 1) -> StudyReport:
    """Do what is left of a study and report on all of it.

    Args:
        plan: see `make_plan`.
        dataset: the user's dataset folder; it is not changed.
        out: the study's folder; new, or one of the same study.
        measure: test sets and protocol.
        jobs: runs at a time.

    Raises:
        DatasetError: a dataset that cannot be used, or a folder that is in use.
        RecipeError: the folder holds another study, or the recipe names weights that are not there.
        TeacherError: the teacher cannot be loaded.
        Stopped: Ctrl-C; the same command goes on.
    """
    folder = StudyFolder(out)
    folder.check()
    folder.agree(plan)
    check_sources(dataset, measure.tests)
    check_weights(plan)
    _check_teacher(folder, plan)
    with folder.locked():
        train, tests = _derive(folder, folder, plan, dataset, measure)
        folder.write(plan, train, tests)
        todo = [run for run in plan.runs if not _is_done(folder.run(run.name), tests, measure)]
        for run in todo:
            folder.run(run.name).prepare(run)
        threads = share_of_cores(jobs)
        try:
            run_jobs(annotation_jobs(folder, plan, todo, threads), jobs, "boxes and pseudo masks")
            ready = [run for run in todo if _has_its_dataset(folder, run)]
            run_jobs([training_job(folder, run, tests, measure, threads) for run in ready], jobs, f"study {plan.kind}")
        finally:
            report = make_report(folder, measure.preset, measure.mode)
        return report


def preview_study(plan: Plan, dataset: Path, out: Path, measure: Measure, *, jobs: int = 1) -> Preview:
    """What `run_study` would do; nothing is written into `out`.

    Raises:
        DatasetError, RecipeError: as `run_study`.
    """
    folder = StudyFolder(out)
    folder.check()
    folder.agree(plan)
    check_sources(dataset, measure.tests)
    check_weights(plan)
    with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as scratch:
        train, tests = _derive(folder, StudyFolder(scratch), plan, dataset, measure)
    done = [run.name for run in plan.runs if _is_done(folder.run(run.name), tests, measure)]
    todo = [run for run in plan.runs if run.name not in done]
    spent = [seconds for name in done if (seconds := folder.run(name).timings().get("total"))]
    each = sum(spent) / len(spent) if spent else _probed(plan, train, jobs) if todo else 0.0
    left = sum(1 - min(1.0, folder.run(run.name).epochs() / run.recipe.epochs) for run in todo)
    return Preview(
        todo=tuple(run.name for run in todo),
        done=tuple(done),
        images={"train": train.facts["images"], **{name: test.facts["images"] for name, test in tests.items()}},
        epochs=sum(run.recipe.epochs for run in todo),
        seconds=None if each is None else each * left / max(1, min(jobs, len(todo))),
        measured=bool(spent),
    )


def _probed(plan: Plan, train: Snapshot, jobs: int) -> float | None:
    """Seconds of one run, from a few training steps in a process of its own."""
    threads = share_of_cores(jobs)
    job = json.dumps({"recipe": plan.base.model_dump(mode="json"), "threads": threads})
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", _PROBE]
    try:
        done = subprocess.run(command, input=job, capture_output=True, text=True, env=environment, timeout=120)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        return None
    images = int(train.facts["images"]) / (1 - plan.base.synthesis.fraction)
    return _OVERHEAD_SECONDS + float(done.stdout) * plan.base.epochs * images


def check_sources(dataset: Path, tests: Sequence[Path]) -> None:
    """Tell at once what is wrong with the paths.

    Raises:
        DatasetError: no dataset, no test split and no other test set, or a test set that is not there.
    """
    with Dataset.open(dataset) as opened:
        if not opened.count(split="test") and not tests:
            raise DatasetError(
                f"{dataset}: no image is in the test split; make one with  boxpromptiml split {dataset} "
                f"{_split_options(opened)}, or name other test sets with --test"
            )
    for test in tests:
        if not test.exists():
            raise DatasetError(f"{test}: no such test set; check --test")


def _split_options(dataset: Dataset) -> str:
    """How `boxpromptiml split` makes a test split, and leaves the splits that are there."""
    if dataset.count(split="train"):
        return "--within train --val 0 --test 0.2"
    return "--only-unassigned --val 0 --test 0.2" if dataset.count(split="val") else "--test 0.2"


def check_weights(plan: Plan) -> None:
    """Tell at once what would make every run fail.

    Raises:
        RecipeError: the recipe starts from a file of weights that is not there.
    """
    pretrained = plan.base.pretrained
    if isinstance(pretrained, str) and not Path(pretrained).exists():
        raise RecipeError(
            f"{pretrained}: no such file; the setting `pretrained` wants a file of weights or a model folder"
        )


def _check_teacher(folder: StudyFolder, plan: Plan) -> None:
    """Load the teacher once where it is still needed: without it the dataset of every variant would fail in turn."""
    if any(v.boxes is not None and read_quality(folder.dataset(v.dataset)) is None for v in plan.variants):
        load_teacher(**plan.options["teacher"])


def _derive(
    known: StudyFolder, target: StudyFolder, plan: Plan, dataset: Path, measure: Measure
) -> tuple[Snapshot, dict[str, Snapshot]]:
    stored = known.stored()
    # Boxes are derived from true masks: nothing else is needed.
    supervisions = ["mask" if variant.boxes is not None else variant.supervision for variant in plan.variants]
    expected = stored.get("training_images", {}).get("digest")
    train = snapshot_training(target.dataset("train"), dataset, plan.base, supervisions, expected)
    tests: dict[str, Snapshot] = {}
    with ExitStack() as stack:
        opened = stack.enter_context(Dataset.open(dataset))
        sources = [dataset] if opened.count(split="test") else []
    for source in [*sources, *measure.tests]:
        name = slug(source.resolve().name if (source / DATABASE).is_file() or source.is_dir() else source.stem)
        number = 2
        while name in tests:
            name, number = f"{name.rstrip('0123456789-')}-{number}", number + 1
        digest = stored.get("tests", {}).get(name, {}).get("digest")
        tests[name] = snapshot_test(target.test(name), source, digest, on_mismatch=measure.on_mismatch)
    return train, tests


def _is_done(run: RunFolder, tests: dict[str, Snapshot], measure: Measure) -> bool:
    failure = run.failure()
    return run.is_done(list(tests), measure.preset, measure.mode) or (failure is not None and failure["final"])


def _has_its_dataset(folder: StudyFolder, run: Run) -> bool:
    """Whether a run can be trained; one that cannot has failed, and says why."""
    if run.variant.boxes is None or read_quality(folder.dataset(run.variant.dataset)) is not None:
        return True
    failure = read_failure(folder.annotation(run.variant.dataset)) or {"message": "its dataset was not made"}
    folder.run(run.name).fail(f"dataset {run.variant.dataset}: {failure['message']}")
    return False
