"""What the demo tells: one table on the terminal, and the pages of `report.html`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.table import Table as TerminalTable

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.demo.pipeline import DemoResult, Trained
from boxpromptiml.demo.report import Figure, Page, Section, Table, grey, with_boxes
from boxpromptiml.images import open_image, open_mask
from boxpromptiml.metrics import get_preset
from boxpromptiml.preprocessing import resize_nearest
from boxpromptiml.regions import Mask
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.overlay import draw_overlay
from boxpromptiml.training.recipe import Supervision

_STUDENTS: dict[Supervision, str] = {
    "pseudo": "student, pseudo masks from boxes (the method)",
    "box": "student, filled boxes (the control)",
    "mask": "student, true masks (the bound)",
}
_EXAMPLES = 10


def figures(result: DemoResult) -> list[tuple[str, str, str, str]]:
    """Rows of the demo's table: what, on which images, mean pixel F1, mean IoU."""
    train = f"{result.counts['train']} training images"
    test = f"{result.counts['test']} test images"
    rows = [
        ("filled boxes", train, f"{result.boxes['f1']:.3f}", f"{result.boxes['iou']:.3f}"),
        ("teacher (GrabCut)", train, f"{result.teacher['f1']:.3f}", f"{result.teacher['iou']:.3f}"),
    ]
    for supervision, name in _STUDENTS.items():
        pixel = result.student(supervision).test.figures.pixel
        rows.append((name, test, f"{pixel.f1:.3f}", f"{pixel.iou:.3f}"))
    return rows


def terminal_table(result: DemoResult) -> TerminalTable:
    """The demo's figures for a terminal."""
    table = TerminalTable(title="pixel figures against the true masks (preset imdlbenco)", title_justify="left")
    for name in ("", "on"):
        table.add_column(name)
    for name in ("F1", "IoU"):
        table.add_column(name, justify="right")
    for row in figures(result):
        table.add_row(*row)
    return table


def build_page(result: DemoResult) -> Page:
    """The report: figures, pictures of the test and training images, curves, times, and what to do next."""
    total = sum(result.seconds.values())
    page = Page(
        "BoxPromptIML: from boxes to localization",
        f"Every step of the method on {sum(map(len, result.photographs.values()))} real photographs, "
        f"in {total:.0f} seconds on this machine.",
    )
    page.sections = [
        _figures(result),
        _test_pictures(result),
        _teacher_pictures(result),
        _curves(result),
        _times(result),
        _next(result),
    ]
    return page


def _figures(result: DemoResult) -> Section:
    test = ", ".join(result.photographs["test"])
    return Section(
        "What came out",
        [
            "Means over images of pixel F1 and IoU at threshold 0.5 (preset imdlbenco). A box costs a person about 7 "
            "seconds, a mask 23 minutes: the question is how close the first student comes to the last.",
            f"The test images are made from photographs that no student has seen ({test}). The manipulations are easy "
            "on purpose, and the students tiny and trained for a minute from random weights: these figures show that "
            "the steps work together, not how good the method is.",
        ],
        Table(("", "on", "F1", "IoU"), figures(result), numbers=(2, 3)),
    )


def _test_pictures(result: DemoResult) -> Section:
    students = [(item, Localizer.load(item.folder)) for item in result.students]
    rows: list[list[Figure]] = []
    with Dataset.open(result.dataset) as dataset:
        for record in _spread(dataset, "test"):
            image = open_image(dataset.path(record.image))
            truth = _mask(dataset, record.mask)
            row = [Figure(image, record.kind or ""), Figure(grey(truth * np.uint8(255)), "truth")]
            for _, localizer in students:
                found = localizer.localize(image)
                row.append(Figure(grey(found.map), f"F1 {_f1(found.map, truth):.2f}"))
            row.append(Figure(draw_overlay(image, students[0][1].localize(image)), "overlay"))
            rows.append(row)
    return Section(
        "Test images",
        ["Maps of the three students; white is certain. The overlay is what boxpromptiml localize writes."],
        figures=rows,
        columns=("image", "truth", *(_short(item) for item, _ in students), "localize"),
    )


def _teacher_pictures(result: DemoResult) -> Section:
    rows: list[list[Figure]] = []
    with Dataset.open(result.dataset) as dataset:
        for record in _spread(dataset, "train"):
            if record.pseudo is None:
                continue
            image = open_image(dataset.path(record.image))
            truth = _mask(dataset, record.mask)
            pseudo = open_mask(dataset.path(record.pseudo.path))
            f1 = _f1(pseudo.astype(np.float32) / np.float32(255), truth)
            flags = sorted({flag for flags in record.pseudo.flags for flag in flags})
            rows.append(
                [
                    Figure(with_boxes(image, record.boxes), record.kind or ""),
                    Figure(grey(pseudo), f"F1 {f1:.2f}" + (f", flagged: {', '.join(flags)}" if flags else "")),
                    Figure(grey(truth * np.uint8(255)), ""),
                ]
            )
    return Section(
        "What the teacher makes of the boxes",
        [
            f"Training images. {result.flagged} of {result.counts['train']} pseudo masks are flagged as suspicious "
            "(empty, filling the box, far smaller than it) and replaced by the documented fallback.",
        ],
        figures=[[*first, *second] for first, second in zip(rows[::2], rows[1::2], strict=False)],
        columns=("image and boxes", "pseudo mask", "truth") * 2,
    )


def _curves(result: DemoResult) -> Section:
    row = [Figure(open_image(item.folder / "curves.png"), _short(item)) for item in result.students]
    return Section("Training", figures=[row], columns=[_short(item) for item in result.students])


def _times(result: DemoResult) -> Section:
    rows = [(name, f"{seconds:.1f}") for name, seconds in result.seconds.items()]
    rows += [
        (f"waiting for data, {_short(s)}", f"{s.training.data_wait_share:.1%} of training") for s in result.students
    ]
    rows.append(("peak memory of training", f"{max(s.training.peak_memory_mb for s in result.students):.0f} MB"))
    return Section("Where the time went", table=Table(("step", "seconds"), rows, numbers=(1,)))


def _next(result: DemoResult) -> Section:
    model = result.student("pseudo").folder
    return Section(
        "The same with your images",
        code="\n".join(
            [
                "boxpromptiml import MY_IMAGES -o my-dataset        # Tp/ + Gt/ (+ Au/), a plain folder, or a list",
                "boxpromptiml boxes my-dataset --from-masks         # or draw them yourself",
                "boxpromptiml pseudo-label my-dataset --teacher grabcut",
                "boxpromptiml train my-dataset -o my-student",
                "boxpromptiml evaluate my-student my-dataset",
                f"boxpromptiml localize MY_PHOTO.jpg --out found --model {model}",
            ]
        ),
    )


def _spread(dataset: Dataset, split: str) -> list[ImageRecord]:
    """Some tampered images of a split, spread evenly."""
    records = list(dataset.records(split=split, label="tampered"))
    return [records[i] for i in np.linspace(0, len(records) - 1, min(_EXAMPLES, len(records))).astype(int)]


def _mask(dataset: Dataset, path: str | None) -> Mask:
    assert path is not None  # every synthesised tampered image has one
    return open_mask(dataset.path(path)) > 127


def _f1(values: NDArray[np.float32], truth: Mask) -> float:
    return get_preset("imdlbenco").score(values, resize_nearest(truth, *values.shape)).f1


def _short(item: Trained) -> str:
    return {"pseudo": "from pseudo masks", "box": "from filled boxes", "mask": "from true masks"}[item.supervision]
