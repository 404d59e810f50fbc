from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from boxpromptiml.metrics import PRESETS, Confusion, ImageFigures, get_preset, image_level

NAN = math.nan
Images = tuple[np.ndarray, np.ndarray]
images = st.integers(1, 40).flatmap(
    lambda n: st.tuples(arrays(np.float64, n, elements=st.sampled_from([0, 0.2, 0.5, 0.6, 0.9, 1])), arrays(bool, n))
)


@pytest.mark.parametrize("preset", ["scaf", "micro"])
@given(case=images)
def test_plain_figures_agree_with_scikit_learn(preset: str, case: Images) -> None:
    scores, tampered = case
    found = get_preset(preset).image_figures(scores, tampered, 0.5)
    called = scores > 0.5
    assert found.accuracy == pytest.approx(sk.accuracy_score(tampered, called))
    if tampered.any():
        assert found.tpr == pytest.approx(sk.recall_score(tampered, called))
    if not tampered.all():
        assert found.fpr == pytest.approx(1 - sk.recall_score(~tampered, ~called))
    if tampered.any():
        assert found.f1 == pytest.approx(sk.f1_score(tampered, called))
    if tampered.any() and not tampered.all():
        assert found.auc == pytest.approx(sk.roc_auc_score(tampered, scores))
        fpr, tpr, _ = sk.roc_curve(tampered, scores, drop_intermediate=False)
        assert found.fpr_at_95_tpr == pytest.approx(fpr[tpr >= 0.95].min())


@given(case=images)
def test_trufors_accuracy_is_balanced(case: Images) -> None:
    scores, tampered = case
    if tampered.any() and not tampered.all():
        found = get_preset("trufor").image_figures(scores, tampered, 0.5).accuracy
        assert found == pytest.approx(sk.balanced_accuracy_score(tampered, scores > 0.5))


SCORES = np.array([0.9, 0.8, 0.3, 0.6, 0.1, 0.1])
TAMPERED = np.array([True, True, True, False, False, False])  # above 0.5: TP 2, FP 1, FN 1, TN 2
RATES = (2 / 3, 1 / 3)


@pytest.mark.parametrize(
    ("preset", "f1", "accuracy"),
    [
        ("scaf", 2 / 3, 2 / 3),
        ("imdlbenco", 2 / 3, 2 / 3),
        ("trufor", 2 / 3, 2 / 3),
        ("mvss", 2 / 3, 2 / 3),  # sensitivity and specificity happen to be the same
    ],
)
def test_cases_by_hand(preset: str, f1: float, accuracy: float) -> None:
    found = PRESETS[preset].image_figures(SCORES, TAMPERED, 0.5)
    assert found == pytest.approx((8 / 9, f1, accuracy, 1 / 3, *RATES), abs=1e-6)


@pytest.mark.parametrize(
    ("judge", "counts", "f1", "accuracy"),
    [
        (image_level.plain, Confusion(1, 3, 1, 15), 2 / 6, 0.8),
        (image_level.plain, Confusion(0, 3, 0, 1), NAN, 0.25),
        (image_level.plain, Confusion(0, 0, 4, 0), 0.0, 0.0),
        (image_level.imdlbenco, Confusion(1, 3, 1, 15), 2 / 6, 0.8),
        (image_level.imdlbenco, Confusion(0, 3, 0, 1), 0.0, 0.25),  # 0, not undefined
        (image_level.mvss, Confusion(1, 3, 1, 15), 2 * 0.5 * (5 / 6) / (0.5 + 5 / 6), 0.8),
        (image_level.mvss, Confusion(0, 9, 5, 0), NAN, 0.0),  # neither sensitive nor specific
        (image_level.mvss, Confusion(9, 9, 0, 0), 0.0, 0.5),
        (image_level.trufor, Confusion(1, 3, 1, 15), 2 / 6, (1 / 2 + 15 / 18) / 2),
        (image_level.trufor, Confusion(3, 0, 1, 0), 6 / 7, 0.75),  # one class only
    ],
)
def test_formulas_of_verdicts(judge: image_level.Judge, counts: Confusion, f1: float, accuracy: float) -> None:
    assert judge(counts) == pytest.approx((f1, accuracy), abs=1e-6, nan_ok=True)


@given(*[st.integers(0, 10_000)] * 3)
def test_the_benchmarks_image_f1_is_computed_in_float32(tp: int, fp: int, fn: int) -> None:
    a, b, c = (torch.tensor(float(value), dtype=torch.float32) for value in (tp, fp, fn))
    precision, recall = a / (a + b + 1e-9), a / (a + c + 1e-9)
    expected = 2 * precision * recall / (precision + recall + 1e-9)
    assert image_level.imdlbenco(Confusion(tp, fp, fn, 1))[0] == expected.item()


def test_mvss_reads_scores_from_8_bits_and_has_its_own_threshold() -> None:
    mvss = get_preset("mvss")
    scores, tampered = np.array([0.5019, 0.502]), np.array([True, True])
    assert mvss.image_rule == "max"
    assert mvss.image_figures(scores, tampered, threshold=0.9).accuracy == pytest.approx(0.5)  # 127 and 128 of 255
    assert get_preset("scaf").image_figures(scores, tampered, threshold=0.9).accuracy == 0


@pytest.mark.parametrize(
    ("n_positive", "expected"),
    [(1, 0.0), (19, 0.0), (20, 0.0), (21, 1.0)],
)
def test_95_percent_of_20_are_19(n_positive: int, expected: float) -> None:
    # One tampered image scores below the authentic one. Missing 1 of 20 is allowed, 2 of 21 are not.
    missed = 0 if n_positive < 20 else 1 if n_positive == 20 else 2
    scores = np.concatenate([np.full(n_positive - missed, 0.9), np.full(missed, 0.1), [0.5]])
    tampered = np.arange(n_positive + 1) < n_positive
    assert get_preset("micro").image_figures(scores, tampered, 0.5).fpr_at_95_tpr == expected


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_not_defined_is_nan(name: str) -> None:
    preset = PRESETS[name]
    assert all(math.isnan(value) for value in preset.image_figures(np.zeros(0), np.zeros(0, bool), 0.5))
    one_class = preset.image_figures(np.array([0.2, 0.7]), np.array([False, False]), 0.5)
    assert math.isnan(one_class.auc)
    assert math.isnan(one_class.fpr_at_95_tpr)
    assert math.isnan(one_class.tpr)
    assert (one_class.fpr, one_class.accuracy) == pytest.approx((0.5, 0.5))
    assert preset.image_intervals(np.zeros(0), np.zeros(0, bool), 0.5) == {}


@pytest.mark.parametrize("name", PRESETS)
def test_nan_scores_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="NaN"):
        PRESETS[name].image_figures(np.array([0.1, NAN]), np.array([True, False]), 0.5)
    with pytest.raises(ValueError, match="differ in shape"):
        PRESETS[name].image_figures(np.array([0.1]), np.array([True, False]), 0.5)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("levels", [0, 7])  # all scores different, and many the same
def test_intervals_are_those_of_drawing_images_one_by_one(name: str, levels: int) -> None:
    rng = np.random.default_rng(1)
    tampered = rng.random(60) < 0.4
    scores = np.clip(rng.normal(0.4, 0.2, 60) + 0.2 * tampered, 0, 1)
    scores = np.round(scores * levels) / levels if levels else scores
    preset = PRESETS[name]
    found = preset.image_intervals(scores, tampered, 0.5, resamples=200, seed=3)
    order = np.argsort(scores.astype(np.float32) if name == "mvss" else scores, kind="stable")
    if name == "mvss":
        order = np.argsort(np.floor(scores.astype(np.float32) * np.float32(255)), kind="stable")
    draws = np.random.default_rng(3).integers(0, 60, (200, 60))
    drawn = np.array([preset.image_figures(scores[order][d], tampered[order][d], 0.5) for d in draws])
    for column, figure in zip(drawn.T, ImageFigures._fields, strict=True):
        known = column[~np.isnan(column)]
        assert found[figure] == pytest.approx((np.quantile(known, 0.025), np.quantile(known, 0.975)), abs=1e-9)
