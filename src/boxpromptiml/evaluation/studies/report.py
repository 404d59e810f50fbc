"""What came of a study: JSON, CSV, Markdown and a plot, from all runs that are finished."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxpromptiml.evaluation.result import environment
from boxpromptiml.evaluation.sources import misfits
from boxpromptiml.evaluation.studies.annotation import read_quality
from boxpromptiml.evaluation.studies.folder import StudyFolder
from boxpromptiml.evaluation.studies.plan import Variant
from boxpromptiml.evaluation.studies.statistics import FIGURES, Comparison, Estimate, compare
from boxpromptiml.evaluation.studies.tables import RunTable
from boxpromptiml.files import write_json, write_text
from boxpromptiml.metrics import get_preset

METHOD = (
    "Mean over seeds of the figure over images. 95 % intervals: crossed bootstrap over images (all, with replacement) "
    "and seeds (one fewer than there are), 1000 draws, the same for all variants; differences and ratios are paired by "
    "image and seed. With one seed the interval reflects images alone."
)
_TITLES = {
    "f1": "F1",
    "iou": "IoU",
    "auc": "AUC",
    "best_f1": "best F1",
    "average_precision": "AP",
    "boundary_f1": "boundary F1",
    "image_auc": "image AUC",
    "false_positive_area": "false area",
}


@dataclass(frozen=True)
class StudyReport:
    """A study's figures.

    Attributes:
        folder: where the reports are: ``report.json``, ``report.md``, ``report.csv``, ``report.png``.
        kind: which study.
        preset, mode: the protocol.
        variants: those with at least one finished run, in the study's order.
        results: by test set, then by variant, then by figure.
        teachers: of variants with derived boxes, how good boxes and teacher are (see `label_and_measure`).
        failures: message by run.
        missing: runs that are not finished, without those that failed.
        study: the content of ``study.json``.
    """

    folder: Path
    kind: str
    preset: str
    mode: str
    variants: tuple[Variant, ...]
    results: dict[str, dict[str, dict[str, Comparison]]]
    teachers: dict[str, dict[str, Any]]
    failures: dict[str, str]
    missing: tuple[str, ...]
    study: dict[str, Any]

    @property
    def reference(self) -> str:
        """Name of the variant that differences are taken to."""
        return str(self.study["reference"])

    @property
    def yardstick(self) -> str:
        """Name of the variant that ratios are taken to."""
        return str(self.study["yardstick"])

    @property
    def figures(self) -> list[str]:
        """Names of the figures that are defined for any variant."""
        rows = [row for test in self.results.values() for row in test.values()]
        return [name for name in FIGURES if any(row[name].mean.is_defined for row in rows)]

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "study": self.kind,
            "preset": self.preset,
            "mode": self.mode,
            "reference": self.reference,
            "yardstick": self.yardstick,
            "method": METHOD,
            "training_images": self.study["training_images"],
            "recipe": self.study["recipe"],
            "options": self.study["options"],
            "tests": {
                test: {
                    **self.study["tests"][test],
                    "variants": [
                        {
                            **variant.to_json(),
                            "teacher": self.teachers.get(variant.name),
                            "figures": {name: _json(rows[variant.name][name]) for name in self.figures},
                        }
                        for variant in self.variants
                        if variant.name in rows
                    ],
                }
                for test, rows in self.results.items()
            },
            "failures": self.failures,
            "missing": list(self.missing),
            "environment": environment(),
        }


def make_report(folder: StudyFolder, preset: str, mode: str) -> StudyReport:
    """Report on the finished runs of a study, in memory and in its folder."""
    study = folder.stored()
    known = [Variant.from_json(raw) for raw in study["variants"].values()]
    tables: dict[str, dict[str, dict[int, RunTable]]] = {test: {} for test in study["tests"]}
    failures: dict[str, str] = {}
    missing: list[str] = []
    for variant in known:
        for seed in study["seeds"]:
            name = f"{variant.name}-seed{seed}"
            run = folder.run(name)
            found = {test: run.table(test, preset, mode) for test in tables}
            for test, table in found.items():
                if table is not None:
                    tables[test].setdefault(variant.name, {})[seed] = table
            failure = run.failure()
            if failure is not None:
                failures[name] = str(failure["message"])
            elif not any(table is not None for table in found.values()):
                missing.append(name)
    rule = get_preset(preset)
    results = {
        test: compare(runs, rule, study["reference"], study["yardstick"]) for test, runs in tables.items() if runs
    }
    shown = tuple(variant for variant in known if any(variant.name in rows for rows in results.values()))
    teachers = {
        variant.name: quality
        for variant in known
        if variant.boxes is not None and (quality := read_quality(folder.dataset(variant.dataset))) is not None
    }
    for quality in teachers.values():
        quality.pop("per_image")
    report = StudyReport(
        folder=folder.path,
        kind=study["study"],
        preset=preset,
        mode=mode,
        variants=shown,
        results=results,
        teachers=teachers,
        failures=failures,
        missing=tuple(missing),
        study=study,
    )
    if results:
        write_json(folder.path / "report.json", report.to_json())
        write_text(folder.path / "report.csv", as_csv(report))
        write_text(folder.path / "report.md", as_markdown(report))
        from boxpromptiml.evaluation.studies.plot import draw

        draw(report, folder.path / "report.png")
    return report


def misfits_of(report: StudyReport, test: str) -> list[str]:
    """What was done about files of a test set that do not fit, for people; nothing where all of them do."""
    facts = report.study["tests"][test]
    return misfits(facts.get("left_out", 0), facts.get("mended", 0))  # studies of before did not count them


def rows_of(report: StudyReport, test: str, *, brief: bool = False) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of one test set, for people; `brief` for a terminal."""
    figures = [] if brief else [name for name in report.figures if name != "f1"]
    teacher = ["teacher IoU", "teacher F1"] if report.teachers else []
    header = ["variant", "runs", *teacher, "F1 [95 %]", "difference [95 %]", "ratio [95 %]"]
    rows = []
    for variant in report.variants:
        row = report.results[test].get(variant.name)
        if row is None:
            continue
        f1 = row["f1"]
        quality = report.teachers.get(variant.name)
        teacher = [] if not report.teachers else ["", ""] if quality is None else [_teacher(quality, "iou", brief)]
        if quality is not None:
            teacher.append(_teacher(quality, "f1", brief))
        rows.append(
            [
                variant.label,
                str(len(f1.per_seed)),
                *teacher,
                _range(f1.mean),
                "reference" if variant.name == report.reference else _range(f1.difference, sign=True),
                "1" if variant.name == report.yardstick else _range(f1.ratio, digits=2),
                *(_short(row[name].mean.value) for name in figures),
            ]
        )
    return [*header, *(_TITLES[name] for name in figures)], rows


def _teacher(quality: dict[str, Any], name: str, brief: bool) -> str:
    estimate = Estimate(quality[name]["value"], *quality[name]["ci95"])
    return _short(estimate.value) if brief else _range(estimate)


def as_markdown(report: StudyReport) -> str:
    """The report as Markdown."""
    lines = [f"# Study: {report.kind}", "", *_facts(report), ""]
    for test in report.results:
        facts = report.study["tests"][test]
        lines += [f"## {test}: {facts['tampered']} tampered, {facts['authentic']} authentic images", ""]
        lines += [f"{said}.\n" for said in misfits_of(report, test)]
        header, rows = rows_of(report, test)
        lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    if report.failures:
        lines += ["## Failed", "", *(f"- {name}: {message}" for name, message in report.failures.items()), ""]
    if report.missing:
        lines += [f"Not finished: {', '.join(report.missing)}.", ""]
    return "\n".join([*lines, METHOD, ""])


def as_csv(report: StudyReport) -> str:
    """One line a test set, variant and figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    ends = ("", "_low", "_high")
    writer.writerow(
        ["test", "variant", "label", "factor", "level", "figure", "seeds"]
        + [f"{name}{end}" for name in ("mean", "difference", "ratio") for end in ends]
        + ["sd_over_seeds"]
    )
    for test, rows in report.results.items():
        for variant in report.variants:
            for name in report.figures if variant.name in rows else []:
                cell = rows[variant.name][name]
                estimates = [cell.mean, cell.difference, cell.ratio]
                numbers = [n for e in estimates for n in ((e.value, e.low, e.high) if e else ("", "", ""))]
                seeds = " ".join(map(str, cell.per_seed))
                head = [test, variant.name, variant.label, variant.factor or "", variant.level, name, seeds]
                writer.writerow([*head, *numbers, cell.sd])
    return stream.getvalue()


def _facts(report: StudyReport) -> list[str]:
    train = report.study["training_images"]
    left = sum(train["left_out"].values())
    reasons = ", ".join(f"{number} x {reason}" for reason, number in train["left_out"].items())
    seeds = ", ".join(map(str, report.study["seeds"]))
    return [
        f"Preset {report.preset}, mode {report.mode}; seeds {seeds}; differences to "
        f"{_label(report, report.reference)}, ratios to {_label(report, report.yardstick)}.",
        f"Trained on {train['source']}: {train['tampered']} tampered, {train['authentic']} authentic images, "
        f"with those that choose the epoch; {left} left out for all variants{f' ({reasons})' if reasons else ''}.",
    ]


def _label(report: StudyReport, name: str) -> str:
    return next((variant.label for variant in report.variants if variant.name == name), name)


def _json(cell: Comparison) -> dict[str, Any]:
    return {
        **cell.mean.to_json(),
        "per_seed": {str(seed): value if value == value else None for seed, value in cell.per_seed.items()},
        "sd_over_seeds": cell.sd if cell.sd == cell.sd else None,
        "difference": None if cell.difference is None else cell.difference.to_json(),
        "ratio": None if cell.ratio is None else cell.ratio.to_json(),
    }


def _range(estimate: Estimate | None, *, sign: bool = False, digits: int = 3) -> str:
    if estimate is None or not estimate.is_defined:
        return "-"
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _short(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
