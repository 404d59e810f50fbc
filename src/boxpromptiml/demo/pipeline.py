"""Every step of the method in one go, each by the same function that its verb calls; every step resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from boxpromptiml.bulk import ResultsFile, expand_inputs, localize_images
from boxpromptiml.cli.synthesis import synthesize_dataset
from boxpromptiml.dataset import Dataset
from boxpromptiml.dataset.boxes import derive_boxes
from boxpromptiml.demo.photographs import export_photographs
from boxpromptiml.demo.settings import RECIPE, SHARES, SYNTHESIS, DemoSettings
from boxpromptiml.errors import DatasetError
from boxpromptiml.evaluation import EvaluationResult, evaluate
from boxpromptiml.export import export_onnx
from boxpromptiml.images import open_mask
from boxpromptiml.metrics import confusion, f1_score, iou_score
from boxpromptiml.model_config import ONNX_NAME
from boxpromptiml.progress import track
from boxpromptiml.pseudolabels import agreement_with_truth, pseudo_label
from boxpromptiml.regions import filled_boxes
from boxpromptiml.runtime import Localizer
from boxpromptiml.synthesis import PhotoPool, SynthesisConfig
from boxpromptiml.teachers import load_teacher
from boxpromptiml.training import Recipe
from boxpromptiml.training.recipe import Supervision
from boxpromptiml.training.run import train
from boxpromptiml.training.summary import TrainingSummary


@dataclass
class Trained:
    """One of the demo's students."""

    supervision: Supervision
    folder: Path
    training: TrainingSummary
    test: EvaluationResult


@dataclass
class DemoResult:
    """What the demo made and measured.

    Attributes:
        out: the folder.
        dataset: the dataset folder.
        photographs: names of the source photographs of each split.
        counts: tampered images of each split.
        teacher: mean pixel F1 and IoU of the pseudo masks against the true masks of the training split.
        boxes: the same figures of the filled boxes.
        flagged: training images whose pseudo mask is flagged as suspicious.
        students: one a supervision: pseudo, box, mask.
        seconds: wall time of each step, in order.
    """

    out: Path
    dataset: Path
    photographs: dict[str, list[str]]
    counts: dict[str, int]
    teacher: dict[str, float] = field(default_factory=dict)
    boxes: dict[str, float] = field(default_factory=dict)
    flagged: int = 0
    students: list[Trained] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def localized(self) -> Path:
        """Folder with masks, heatmaps, overlays and results.jsonl of the test images."""
        return self.out / "localized"

    def student(self, supervision: Supervision) -> Trained:
        """The student that was trained with that supervision."""
        return next(item for item in self.students if item.supervision == supervision)


def run_demo(out: Path, settings: DemoSettings | None = None, say: Callable[[str], None] | None = None) -> DemoResult:
    """Photographs, tampered images, boxes, pseudo masks, three students, their figures.

    Args:
        out: folder for everything; a second run goes on where the first one stopped.
        settings: sizes; None for the defaults.
        say: told what is being done, a line a step; None prints to standard error.

    Raises:
        MissingExtraError: scikit-image or scikit-learn is missing.
        DatasetError: `out` is a file, or holds a demo of other settings.
    """
    settings = settings or DemoSettings()
    tell = say or Console(stderr=True, highlight=False).print
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out}: not a folder; choose another --out")
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str, text: str) -> Iterator[None]:
        tell(f"[{len(seconds) + 1}/7] {text}")
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    folder = out / "dataset"
    with step("synthesize", f"making {settings.images} tampered images from real photographs"):
        synthesize_dataset(
            PhotoPool(export_photographs(out / "photographs")),
            folder,
            settings.images,
            authentic=settings.authentic,
            config=SynthesisConfig.model_validate(SYNTHESIS),
            seed=settings.seed,
            size=(settings.side, settings.side),
            fractions=SHARES,
        )
    with Dataset.open(folder) as dataset:
        with step("boxes", f"drawing boxes {settings.loosen:.0%} too large, as a person would in 7 seconds an image"):
            derive_boxes(dataset, settings.loosen, settings.jitter, settings.seed)
        with step("pseudo-label", "turning boxes into pseudo masks with GrabCut"):
            for split in ("train", "val"):  # students are tested against the truth alone
                pseudo_label(dataset, load_teacher("grabcut"), split=split)
        result = DemoResult(out, folder, _photographs(dataset), _counts(dataset), seconds=seconds)
        _measure_teacher(dataset, result)
    recipe = _recipe(settings)
    names: dict[Supervision, str] = {
        "pseudo": "pseudo masks (the method)",
        "box": "filled boxes (the control)",
        "mask": "true masks (the bound)",
    }
    for supervision, name in names.items():
        with step(f"train {supervision}", f"training a student from {name}"):
            run = out / f"student-{supervision}"
            summary = train(folder, run, recipe, supervision=supervision, resume=True)
            if not (run / ONNX_NAME).exists():
                export_onnx(run)
            test = evaluate(Localizer.load(run), folder, split="test")
        result.students.append(Trained(supervision, run, summary, test))
    with step("localize", "localizing the test images with the student from boxes"), Dataset.open(folder) as dataset:
        _localize_test(dataset, result)
    return result


def _localize_test(dataset: Dataset, result: DemoResult) -> None:
    """What `boxpromptiml localize` does, for the tampered test images."""
    paths = [str(dataset.path(record.image)) for record in dataset.records(split="test", label="tampered")]
    results = ResultsFile.open(result.localized)
    try:
        images = list(expand_inputs(paths))
        localizer = Localizer.load(result.student("pseudo").folder)
        for _ in track(localize_images(localizer, images, results), "localize", total=len(images)):
            pass
        results.finish(image.name for image in images)
    finally:
        results.close()


def _recipe(settings: DemoSettings) -> Recipe:
    raw = {**RECIPE, "seed": settings.seed}
    if settings.epochs is not None:
        raw["epochs"] = settings.epochs
    return Recipe.model_validate(raw)


def _photographs(dataset: Dataset) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for record in dataset.records():
        if record.split and record.group:
            found.setdefault(record.split, set()).add(Path(record.group).stem)
    return {split: sorted(names) for split, names in found.items()}


def _counts(dataset: Dataset) -> dict[str, int]:
    return {split: dataset.count(split=split, label="tampered") for split in ("train", "val", "test")}


def _measure_teacher(dataset: Dataset, result: DemoResult) -> None:
    """Pseudo masks and filled boxes against the truth that the synthesis knows, on the training split."""
    agreement = agreement_with_truth(dataset, split="train")
    result.teacher = {"f1": agreement.f1, "iou": agreement.iou}
    result.flagged = sum(bool(image.flags) for image in agreement.images)
    scores: list[tuple[float, float]] = []
    for record in dataset.records(split="train", label="tampered"):
        if record.mask is not None:
            truth = open_mask(dataset.path(record.mask)) > 127
            counts = confusion(filled_boxes(record.boxes, record.width, record.height), truth)
            scores.append((f1_score(counts), iou_score(counts)))
    f1, iou = np.mean(scores, axis=0)
    result.boxes = {"f1": float(f1), "iou": float(iou)}
