from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from boxpromptiml.evaluation import evaluate
from boxpromptiml.evaluation.pooled import GROUPS, ImagePixels, PixelCurves
from boxpromptiml.runtime import Localizer

Images = list[tuple[np.ndarray, np.ndarray]]


def _images(count: int, seed: int = 0) -> Images:
    """Maps that know something, with their truths; each fourth image is authentic. Odd sizes."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        shape = (15 + number % 9, 21 + number % 5)
        truth = np.zeros(shape, bool)
        if number % 4:
            truth[2 : 4 + number % 9, 3 : 8 + number % 13] = True
        values = rng.beta(1 + 2 * truth, 3 - truth).astype(np.float32)
        images.append((values, truth))
    return images


def _curves(images: Images) -> PixelCurves:
    curves = PixelCurves()
    for values, truth in images:
        curves.add(ImagePixels.of(values, truth), tampered=bool(truth.any()))
    return curves


def _pot(images: Images, authentic: bool) -> tuple[np.ndarray, np.ndarray]:
    kept = [(values.ravel(), truth.ravel()) for values, truth in images if authentic or truth.any()]
    return np.concatenate([values for values, _ in kept]), np.concatenate([truth for _, truth in kept])


@pytest.mark.parametrize("authentic", [False, True])
def test_pooled_figures_are_as_exact_as_they_say(authentic: bool) -> None:
    images = _images(70)
    pooled = _curves(images).pooled(authentic=authentic)
    values, truth = _pot(images, authentic)
    assert pooled.auc.value == pytest.approx(roc_auc_score(truth, values), abs=pooled.auc.error + 1e-12)
    assert pooled.auc.error < 1e-3
    exact = average_precision_score(truth, values)
    assert pooled.average_precision.value == pytest.approx(exact, abs=pooled.average_precision.error + 1e-12)
    marked = values > np.float32(pooled.best_threshold)
    assert pooled.best_f1 == pytest.approx(2 * (marked & truth).sum() / (marked.sum() + truth.sum()))


def test_the_shared_threshold_is_the_best_one_for_the_mean() -> None:
    images = [pair for pair in _images(20) if pair[1].any()]
    curves = _curves(images)
    pooled = curves.pooled(authentic=False)

    def mean_f1(threshold: float) -> float:
        marks = [(values > np.float32(threshold), truth) for values, truth in images]
        return float(np.mean([2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in marks]))

    thresholds, f1 = curves.f1_by_threshold()
    assert f1 == pytest.approx([mean_f1(threshold) for threshold in thresholds], abs=1e-9)
    assert pooled.shared_f1 == pytest.approx(mean_f1(pooled.shared_threshold), abs=1e-9)
    assert pooled.shared_f1 == pytest.approx(max(f1), abs=1e-9)


def test_the_points_of_the_curves_enclose_the_area() -> None:
    images = _images(40)
    curves = _curves(images)
    points = curves.points()
    assert (points.fpr[0], points.tpr[0], points.fpr[-1], points.tpr[-1]) == (0, 0, 1, 1)
    assert float(np.trapezoid(points.tpr, points.fpr)) == pytest.approx(curves.pooled(authentic=False).auc.value)
    truth = _pot(images, authentic=False)[1]
    assert points.share == pytest.approx(truth.mean())
    assert points.precision[-1] == pytest.approx(truth.mean())


def test_datasets_together_are_as_certain_as_their_images_in_one(red: Localizer, tmp_path: Path) -> None:
    """The first image of one data set and the first of another are two images, drawn apart."""
    rng = np.random.default_rng(3)
    for place in ("one/", "parts/a/", "parts/b/"):
        for part in ("Tp", "Gt"):
            (tmp_path / place / part).mkdir(parents=True)
    for number in range(8):
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        mask = np.zeros((64, 64), bool)
        mask[:, : 8 + 6 * number] = True
        image[mask, 0] |= 255 if number < 4 else 64  # the images of one data set are easier than the others
        for place in ("one", "parts/a" if number < 4 else "parts/b"):
            Image.fromarray(image).save(tmp_path / place / "Tp" / f"{number}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / place / "Gt" / f"{number}.png")
    parts = evaluate(red, [tmp_path / "parts" / "a", tmp_path / "parts" / "b"])
    one = evaluate(red, tmp_path / "one")
    assert parts.figures.pooled == one.figures.pooled
    assert parts.ci95 == one.ci95

    def stopped(image: np.ndarray, name: str) -> np.ndarray:
        if name.endswith("6.png"):
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt):
        evaluate(red, [tmp_path / "parts" / x for x in "ab"], batch_size=1, transform=stopped, state=tmp_path / "state")
    assert (tmp_path / "state" / "checkpoint.npz").exists()
    resumed = evaluate(red, [tmp_path / "parts" / x for x in "ab"], batch_size=1, state=tmp_path / "state")
    assert resumed.ci95 == one.ci95


def test_a_single_image_has_no_interval() -> None:
    (image,) = [pair for pair in _images(2) if pair[1].any()]
    curves = _curves([image])
    assert curves.pooled(authentic=False).auc.value > 0.5
    assert curves.intervals(authentic=False) == curves.intervals(authentic=True) == {}


def test_curves_go_on_where_they_were_saved() -> None:
    images = _images(90)
    first = _curves(images[:41])
    resumed = PixelCurves()
    resumed.restore({name: values.copy() for name, values in first.arrays().items()})
    for values, truth in images[41:]:
        resumed.add(ImagePixels.of(values, truth), tampered=bool(truth.any()))
    straight = _curves(images)
    for name, counts in straight.arrays().items():
        assert np.array_equal(counts, resumed.arrays()[name]), name
    assert resumed.intervals(authentic=True) == straight.intervals(authentic=True)


@pytest.mark.parametrize("count", [3, 24, 10 * GROUPS])
def test_intervals_hold_the_figure_and_shrink_with_the_number_of_images(count: int) -> None:
    curves = _curves([pair for pair in _images(2 * count) if pair[1].any()][:count])
    pooled, intervals = curves.pooled(authentic=False), curves.intervals(authentic=False)
    assert intervals.keys() == {"pooled.auc", "pooled.average_precision", "pooled.best_f1", "best_shared_f1"}
    for name, value in zip(intervals, (pooled.auc.value, pooled.average_precision.value), strict=False):
        low, high = intervals[name]
        assert low <= value <= high
    few = _curves(_images(8)).intervals(authentic=False)["pooled.auc"]
    if count > 100:
        assert np.ptp(intervals["pooled.auc"]) < np.ptp(few) / 2


def test_intervals_over_groups_are_about_those_over_images() -> None:
    """Against a bootstrap that draws single images, and keeps all their maps to do so."""
    images = [pair for pair in _images(240, seed=1) if pair[1].any()]
    low, high = _curves(images).intervals(authentic=False)["pooled.auc"]
    rng = np.random.default_rng(5)
    areas = []
    for _ in range(200):
        drawn = [images[place] for place in rng.integers(0, len(images), len(images))]
        values, truth = _pot(drawn, authentic=False)
        areas.append(roc_auc_score(truth, values))
    assert high - low == pytest.approx(np.subtract(*np.quantile(areas, [0.975, 0.025])), rel=0.5)


def test_no_tampered_image_no_figure() -> None:
    curves = _curves([(np.full((4, 4), 0.5, np.float32), np.zeros((4, 4), bool))])
    assert all(np.isnan(value) for value in np.hstack(curves.pooled(authentic=True)))
    assert curves.intervals(authentic=True) == {}


def test_evaluate_pools_what_the_network_says(red: Localizer, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for part in ("Tp", "Gt"):
        (tmp_path / part).mkdir()
    values, truths = [], []
    for number in range(12):
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        mask = rng.random((64, 64)) < 0.3
        image[mask, 0] |= 128
        Image.fromarray(image).save(tmp_path / "Tp" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "Gt" / f"{number}.png")
        values.append(red.probabilities(np.ascontiguousarray(image.transpose(2, 0, 1))[None])[0].ravel())
        truths.append(mask.ravel())
    exact = roc_auc_score(np.concatenate(truths), np.concatenate(values))
    report = evaluate(red, tmp_path).to_json()
    pooled = report["pixel"]["pooled"]
    assert pooled["auc"] == pytest.approx(exact, abs=pooled["auc_error"])
    assert pooled["auc_error"] < 0.01  # the red model rounds half of its pixels to about 0
    inverted = evaluate(red, tmp_path, mode="reverse").to_json()["pixel"]["pooled"]
    assert inverted["auc"] == pytest.approx(1 - exact, abs=inverted["auc_error"])
    assert evaluate(red, tmp_path, mode="double").to_json()["pixel"]["pooled"]["auc"] is None
