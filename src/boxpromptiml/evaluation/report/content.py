"""What stands on the page: figures, tables, plots and pictures, each with a sentence on what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from boxpromptiml.evaluation.groups import Group
from boxpromptiml.evaluation.plan import Plan
from boxpromptiml.evaluation.report import markup, plots
from boxpromptiml.evaluation.report.examples import Section, examples
from boxpromptiml.evaluation.report.words import interval, number
from boxpromptiml.evaluation.result import EvaluationResult, Figures, environment
from boxpromptiml.evaluation.sources import misfits
from boxpromptiml.metrics import get_preset
from boxpromptiml.runtime import Localizer

# Key of an interval, title, meaning. The order is that of the page.
_HEADLINES = (
    ("f1", "Pixel F1", "Balance of found and falsely marked pixels, at the preset's threshold. Tampered images."),
    ("iou", "Pixel IoU", "Overlap of mask and truth, divided by their union, at the preset's threshold."),
    ("auc", "Pixel AUC", "Chance that a tampered pixel of an image gets a higher value than an untouched one."),
    (
        "average_precision",
        "Average precision",
        "Area under an image's precision-recall curve: F1's cousin without a threshold.",
    ),
    ("best_f1", "Best F1", "Pixel F1 had each image got the threshold that suits it best: a bound, not a result."),
    ("best_shared_f1", "Best shared F1", "Mean F1 at the one threshold that suits all images best together."),
    ("boundary_f1", "Boundary F1", "How well the outlines of mask and truth agree."),
    ("image.auc", "Image AUC", "Chance that a tampered image scores higher than an authentic one."),
    ("image.f1", "Image F1", "Balance of found and falsely accused images, at the image threshold."),
    ("image.accuracy", "Image accuracy", "Share of images that are judged rightly, at the image threshold."),
    ("image.tpr", "Found images", "Share of tampered images that are called tampered, at the image threshold."),
    ("image.fpr", "False alarms", "Share of authentic images that are called tampered there. Lower is better."),
    (
        "image.fpr_at_95_tpr",
        "False alarms at 95 %",
        "Share of authentic images accused when 95 % of the tampered ones are found. Lower is better.",
    ),
    (
        "false_positive_area",
        "False-positive area",
        "Mean share of an authentic image that is called tampered. Lower is better.",
    ),
)


def sections(result: EvaluationResult, plan: Plan, localizer: Localizer) -> list[Section]:
    """All parts of the page in their order; those without content are left out."""
    parts = [
        ("figures", "Figures", _figures(result)),
        ("datasets", "Data sets", _datasets(result) if len(result.datasets) > 1 else ""),
        ("images", "Whole images", _image_level(result)),
        ("pixels", "Pixels", _pixel_level(result)),
        ("groups", "Which manipulations are found", _groups(result)),
        *examples(result, plan, localizer),
        ("meaning", "What the numbers mean", _meaning(result)),
    ]
    return [(name, title, inner) for name, title, inner in parts if inner]


def head(result: EvaluationResult) -> list[str]:
    """What was evaluated, under the page's title."""
    model, figures, versions = result.model, result.figures, environment()
    size = f"{model['input'][1]} × {model['input'][0]} pixels"
    params = f", {model['params'] / 1e6:.2f} M parameters" if model["params"] else ""
    trained = f", trained from {model['supervision']}" if model["supervision"] else ""
    count = figures.n_tampered + figures.n_authentic
    images = f"{figures.n_tampered:,} tampered, {figures.n_authentic:,} authentic"
    if figures.n_without_mask:
        images += f"; {figures.n_without_mask:,} tampered ones have no true mask and count for whole images only"
    if result.n_skipped:
        images += f"; {result.n_skipped:,} with neither label nor mask were left out"
    images += "".join(f"; {said}" for said in misfits(result.n_left_out, result.n_mended))
    mode = "" if result.mode == "origin" else f", mode {result.mode}"
    if "tta" in model:
        trained += ", looked at four times, mirrored (--tta)"
    elif model["looks"] == 2:
        trained += ", looked at twice, once turned by half"
    trained += ", searched for copied parts" if model["copies"] else ""
    trained += ", regions completed by colour" if model["completion"] else ""
    ties = ", AUC blind to ties" if result.tie_blind else ""
    rate = f" ({count / result.seconds:.1f} images/s)" if result.seconds > 0 else ""
    return [
        markup.facts(
            [
                ("Model", f"{model['path']}, id {model['id']}: {model['backbone']}, {size}{params}{trained}"),
                ("Images", images),
                ("Preset", f"{result.preset}{mode}{ties}: {get_preset(result.preset).rule}"),
                ("Made", f"boxpromptiml {versions['boxpromptiml']}, {result.seconds:.0f} s{rate}"),
            ]
        )
    ]


def _figures(result: EvaluationResult) -> str:
    values = _by_key(result.figures)
    shown = [
        markup.card(title, number(values[key]), interval(result.ci95.get(key)), meaning)
        for key, title, meaning in _HEADLINES
        if not np.isnan(values[key])
    ]
    words = "Below each figure its 95 % interval: what other images of the same kind would have given."
    return markup.cards(shown) + markup.paragraph(words)


def _datasets(result: EvaluationResult) -> str:
    head_row = ["data set", "tampered", "authentic", *(title for _, title, _ in _HEADLINES)]
    rows: list[list[markup.Cell]] = []
    parts = [
        (part.name if part.split is None else f"{part.name} ({part.split})", part.figures, part.ci95)
        for part in result.datasets
    ]
    parts.append(("all together", result.figures, result.ci95))
    for name, figures, ci95 in parts:
        values = _by_key(figures)
        cells = [(number(values[key]), interval(ci95.get(key))) for key, _, _ in _HEADLINES]
        rows.append([name, f"{figures.n_tampered:,}", f"{figures.n_authentic:,}", *cells])
    return markup.table(head_row, rows)


def _image_level(result: EvaluationResult) -> str:
    table = result.images
    items = [
        (
            plots.score_histogram(table.score, table.tampered, result.image_threshold),
            "Image scores. The further the two lie apart, the better the model tells tampered images from authentic "
            "ones; what is right of the dotted line is called tampered.",
        )
    ]
    if table.tampered.any() and not table.tampered.all():
        order = np.argsort(-table.score, kind="stable")
        truth = table.tampered[order]
        ends = np.append(np.flatnonzero(np.diff(table.score[order])), truth.size - 1)  # ties are one step
        tpr = np.concatenate([[0], np.cumsum(truth)[ends] / truth.sum()])
        fpr = np.concatenate([[0], np.cumsum(~truth)[ends] / (~truth).sum()])
        drawn = plots.curve(
            fpr,
            tpr,
            ("false positive rate, images", "true positive rate"),
            f"AUC {result.figures.image.auc:.3f}",
            diagonal=True,
        )
        items.append(
            (drawn, "ROC curve of whole images: how many tampered ones are found, at which share of false alarms.")
        )
    calibration = result.calibration
    for diagram, before, name in (
        (calibration.score_after, calibration.score_before, "score"),
        (calibration.pixel_after, calibration.pixel_before, "pixel"),
    ):
        if diagram is None or before is None:
            continue
        what = "image's score" if name == "score" else "pixel's value in the map"
        uncalibrated = f", {before.ece:.3f} before calibration" if before.ece != diagram.ece else ""
        items.append(
            (
                plots.reliability(diagram, name),
                f"Reliability of the {what}: on the diagonal it is a probability. Expected calibration error "
                f"{diagram.ece:.3f}{uncalibrated}; larger dots stand for more.",
            )
        )
    return markup.plots(items)


def _pixel_level(result: EvaluationResult) -> str:
    table = result.images
    usable = table.tampered & table.scored
    if not usable.any():
        return ""
    f1 = table.pixels[usable, 0]
    items = [
        (
            plots.figure_distribution(f1[~np.isnan(f1)], "pixel F1"),
            "Pixel F1 of the tampered images, each at the preset's threshold. A mean often hides two heaps: found and "
            "missed.",
        )
    ]
    if result.curves is not None:
        items += list(_curves(result))
    return markup.plots(items)


def _curves(result: EvaluationResult) -> Iterator[tuple[str, str]]:
    assert result.curves is not None
    pooled = result.figures.pooled
    points = result.curves.points()
    drawn = plots.curve(
        points.fpr,
        points.tpr,
        ("false positive rate, pixels", "true positive rate"),
        f"AUC {pooled.auc.value:.3f}",
        diagonal=True,
    )
    yield (
        drawn,
        "ROC curve over all pixels of the tampered images in one pot: large images and large regions weigh more.",
    )
    drawn = plots.curve(
        points.tpr,
        points.precision,
        ("recall, pixels", "precision"),
        f"AP {pooled.average_precision.value:.3f}",
        level=points.share,
    )
    yield drawn, "Precision-recall curve of the same pixels. Guessing gets the share of the pixels that is tampered."
    thresholds, f1 = result.curves.f1_by_threshold()
    drawn = plots.curve(
        thresholds, f1, ("threshold", "mean pixel F1"), f"best {pooled.shared_f1:.3f} at {pooled.shared_threshold:.2f}"
    )
    yield (
        drawn,
        "Mean F1 of the tampered images at each threshold that all of them share: how much the choice of 0.5 costs.",
    )


def _groups(result: EvaluationResult) -> str:
    if not any(group.n for group in result.by_region_size):
        return ""
    inner = _group_part(
        result.by_region_size,
        "share of the image",
        "Pixel F1 by the share of the image that is tampered, with 95 % intervals "
        "and the number of images. Small regions are lost where a large photograph is shrunk to the network's input.",
    )
    if result.by_kind:
        inner += _group_part(
            result.by_kind,
            "kind",
            "Pixel F1 by kind of manipulation, where the data set tells, with 95 % intervals and the number of images.",
        )
    return inner


def _group_part(groups: Sequence[Group], title: str, caption: str) -> str:
    f1, low, high = (
        np.array(column, dtype=np.float64) for column in zip(*((g.f1, g.low, g.high) for g in groups), strict=True)
    )
    names = [group.name for group in groups]
    drawn = plots.bars(names, f1, low, high, [group.n for group in groups], "pixel F1")
    rows: list[list[markup.Cell]] = [
        [
            group.name,
            f"{group.n:,}",
            (number(group.f1), "" if np.isnan(group.low) else interval((group.low, group.high))),
        ]
        for group in groups
    ]
    side = markup.table([title, "images", "pixel F1"], rows)
    return markup.beside(drawn, caption, side)


def _meaning(result: EvaluationResult) -> str:
    pooled = result.figures.pooled_all_images
    items = [
        (
            "Preset",
            "Papers disagree on what “pixel F1” means, so every number belongs to a preset. This page: "
            f"{result.preset}, {get_preset(result.preset).rule}. Numbers of different presets must not be compared.",
        ),
        (
            "95 % interval",
            "Percentile bootstrap over images, 1000 draws, seed 0. Two models whose intervals overlap may "
            "still differ; compare them on the same images.",
        ),
        (
            "Pooled curves",
            "Over all pixels of all images, from a histogram with bounded memory; the AUC is exact to "
            f"±{result.figures.pooled.auc.error:.1g}."
            + ("" if np.isnan(pooled.auc.value) else f" With the authentic images it is {pooled.auc.value:.3f}."),
        )
        if result.curves is not None
        else ("", ""),
        (
            "Image threshold",
            f"An image is called tampered when its score is above {result.image_threshold:g}. How far the "
            "score can be read as a probability is in the reliability curve.",
        ),
        ("A figure that is missing", "It is not defined here: image AUC needs both kinds of images, for example."),
        (
            "images.csv",
            "Beside this page: every image with all its numbers, digits that read back exactly. figures.json "
            "has the figures of this page.",
        ),
        ("More", "docs/evaluation.md and docs/metrics.md of the project tell each formula and each preset's quirks."),
    ]
    return markup.meanings(item for item in items if item[0])


def _by_key(figures: Figures) -> dict[str, float]:
    return {
        **figures.pixel._asdict(),
        **figures.pooled.shared(),
        **{f"image.{name}": value for name, value in figures.image._asdict().items()},
        "false_positive_area": figures.false_positive_area,
    }
