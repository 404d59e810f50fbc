"""What the child processes of a study are told, and what is said of how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from boxpromptiml.evaluation.studies.annotation import read_quality
from boxpromptiml.evaluation.studies.engine import Job
from boxpromptiml.evaluation.studies.folder import StudyFolder, read_failure
from boxpromptiml.evaluation.studies.measure import Measure
from boxpromptiml.evaluation.studies.plan import BoxErrors, Plan, Run
from boxpromptiml.evaluation.studies.snapshot import Snapshot, read_snapshot
from boxpromptiml.evaluation.studies.statistics import FIGURES, figures_of
from boxpromptiml.metrics import get_preset

_WORKER = "boxpromptiml.evaluation.studies.worker"
_ANNOTATOR = "boxpromptiml.evaluation.studies.annotator"


def annotation_jobs(folder: StudyFolder, plan: Plan, todo: Sequence[Run], threads: int) -> list[Job]:
    """The derived datasets that runs wait for, with pseudo masks."""
    wanted = {run.variant.dataset: run.variant.boxes for run in todo if run.variant.boxes is not None}
    source = folder.dataset("train")
    known = read_snapshot(source)
    images = 1 if known is None else int(known.facts["tampered"])

    def job(name: str, errors: BoxErrors) -> Job:
        place = folder.annotation(name)
        dataset = folder.dataset(name)
        return Job(
            name=name,
            module=_ANNOTATOR,
            content={
                "folder": str(place.absolute()),
                "source": str(source.absolute()),
                "dataset": str(dataset.absolute()),
                "errors": asdict(errors),
                "seed": plan.options["seed"],
                "teacher": plan.options["teacher"],
                "threads": threads,
            },
            log=place / "log.txt",
            size=images,
            done=lambda: sum(1 for _ in dataset.glob("pseudo/*/*.png")),
            finished=lambda code: _annotated(folder, name, code),
        )

    return [
        job(name, errors)
        for name, errors in wanted.items()
        if errors is not None and read_quality(folder.dataset(name)) is None
    ]


def _annotated(folder: StudyFolder, name: str, code: int) -> str:
    quality = read_quality(folder.dataset(name))
    if code == 0 and quality is not None:
        return f"teacher IoU {quality['iou']['value']:.3f}, F1 {quality['f1']['value']:.3f}"
    place = folder.annotation(name)
    failure = read_failure(place)
    return f"FAILED: {failure['message'] if failure else _how_it_ended(code)} ({place / 'log.txt'})"


def training_job(folder: StudyFolder, run: Run, tests: dict[str, Snapshot], measure: Measure, threads: int) -> Job:
    """A student that is trained and measured."""
    place = folder.run(run.name)
    rule = get_preset(measure.preset)

    def finished(code: int) -> str:
        if code != 0:
            failure = place.failure()
            message = failure["message"] if failure else _how_it_ended(code)
            return f"FAILED: {message} ({place.log})"
        parts = []
        for test in tests:
            table = place.table(test, measure.preset, measure.mode)
            if table is not None:
                parts.append(f"F1 {figures_of(table, rule)[FIGURES.index('f1')]:.3f} ({test})")
        return ", ".join(parts)

    return Job(
        name=run.name,
        module=_WORKER,
        content={
            "folder": str(place.path.absolute()),
            "dataset": str(folder.dataset(run.variant.dataset).absolute()),
            "truth": None if run.variant.boxes is None else str(folder.dataset("train").absolute()),
            "supervision": run.variant.supervision,
            "recipe": run.recipe.model_dump(mode="json"),
            "tests": {name: str(test.folder.absolute()) for name, test in tests.items()},
            "preset": measure.preset,
            "mode": measure.mode,
            "threads": threads,
        },
        log=place.log,
        size=run.recipe.epochs,
        done=place.epochs,
        finished=finished,
    )


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"the process was killed by signal {-code}, perhaps for want of memory"
    return f"the process ended with code {code}"
