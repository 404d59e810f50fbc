from __future__ import annotations

import doctest
import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boxpromptiml.metrics import Curve, ScoreHistogram, ThresholdSweep, f1_score, streaming
from boxpromptiml.metrics.functional import confusion

# What networks give: values next to 0, next to 1, on the edges of bins, and many times the same.
probabilities = st.one_of(
    st.floats(0, 1, width=32),
    st.floats(0, 0.015625, width=32),
    st.floats(0, 0.015625, width=32).map(lambda value: float(np.float32(1) - np.float32(value))),
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 0.75, 1.0, 2.0**-25, 1 - 2.0**-24]),
)
pixels = st.integers(1, 40).flatmap(lambda n: st.tuples(arrays(np.float32, n, elements=probabilities), arrays(bool, n)))
Pixels = tuple[np.ndarray, np.ndarray]
ROUNDING = 1e-9  # of the float sums; the bound itself is about binning


def histogram_of(parts: list[Pixels], bins: int = 64) -> ScoreHistogram:
    histogram = ScoreHistogram(bins)
    for part in parts:
        histogram.update(*part)
    return histogram


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(streaming, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize("bins", [2, 4, 64, 4096, 65536])
def test_a_pixel_is_above_an_edge_when_its_bin_is(bins: int) -> None:
    edges = ScoreHistogram(bins).edges
    assert len(edges) == bins - 1
    assert (np.diff(edges) >= 0).all()
    assert np.float32(0.5) in edges
    rng = np.random.default_rng(0)
    near = [np.nextafter(edges, np.float32(end)) for end in (0, 1)]
    values = np.concatenate([edges, *near, rng.random(5000, np.float32), np.float32([0, 1, 1e-40])])
    found = ScoreHistogram(bins)
    found.update(values, np.ones(len(values), bool))
    expected = np.bincount(np.searchsorted(edges, values, side="left"), minlength=bins)
    np.testing.assert_array_equal(found.positives, expected)


@given(st.lists(pixels, min_size=1, max_size=4), st.sampled_from([2, 8, 64, 4096]))
def test_the_exact_figures_lie_within_the_stated_error(parts: list[Pixels], bins: int) -> None:
    histogram = histogram_of(parts, bins)
    curve = Curve.of(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    for bounded, exact in (
        (histogram.roc_auc(), curve.roc_auc()),
        (histogram.average_precision(), curve.average_precision()),
    ):
        assert math.isnan(bounded.value) == math.isnan(bounded.error) == math.isnan(exact)
        assert math.isnan(exact) or abs(bounded.value - exact) <= bounded.error + ROUNDING


@given(st.lists(pixels, min_size=1, max_size=4))
def test_the_best_f1_is_exact_at_its_threshold(parts: list[Pixels]) -> None:
    f1, threshold = histogram_of(parts).best_f1()
    scores, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not truth.any():
        assert math.isnan(f1)
        assert math.isnan(threshold)
        return
    assert f1 == pytest.approx(f1_score(confusion(scores > np.float32(threshold), truth)), abs=1e-12)
    assert f1 <= f1_score(Curve.of(scores, truth).best_f1()) + 1e-12
    assert f1 >= f1_score(confusion(scores > 0.5, truth)) - 1e-12  # 0.5 is an edge


@pytest.mark.parametrize("bins", [2, 4096])
def test_minus_zero_is_zero(bins: int) -> None:
    """Its bits are not those of zero; a map that was inverted or clipped may hold it."""
    scores, truth = np.float32([-0.0, 0.1, 0.3, 0.2]), np.array([False, False, True, True])
    histogram, expected = histogram_of([(scores, truth)], bins), histogram_of([(np.abs(scores), truth)], bins)

    np.testing.assert_array_equal(histogram.negatives, expected.negatives)
    assert np.signbit(scores[0]), "the caller's map is left as it is"
    sweep = ThresholdSweep(255)
    sweep.update(scores, truth)
    assert (sweep.sums == sweep_of([(np.abs(scores), truth)], 255).sums).all()


def test_the_area_under_the_curve_is_right_with_minus_zero() -> None:
    scores, truth = np.float32([-0.0, 0.1, 0.3, 0.2]), np.array([False, False, True, True])

    assert histogram_of([(scores, truth)], 4096).roc_auc() == (1.0, 0.0)


def test_a_map_is_not_copied_to_be_checked() -> None:
    scores = np.float32([[0.0, 0.25], [1.0, 0.5]])

    assert np.shares_memory(streaming._checked(scores), scores)


@pytest.mark.parametrize("bins", [1024, 4096, 16384])
def test_on_what_a_network_gives_the_error_is_small(bins: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200_000) < 0.1
    scores = (1 / (1 + np.exp(-(rng.normal(-4, 2, truth.size) + 5 * truth)))).astype(np.float32)
    histogram = histogram_of([(scores, truth)], bins)
    auc, curve = histogram.roc_auc(), Curve.of(scores, truth)
    assert auc.error < 1 / bins
    assert abs(auc.value - curve.roc_auc()) < auc.error
    assert abs(histogram.average_precision().value - curve.average_precision()) < histogram.average_precision().error
    assert histogram.average_precision().error < 40 / bins


@settings(max_examples=40)
@given(st.lists(pixels, min_size=3, max_size=3))
def test_merging_is_adding_in_any_order(parts: list[Pixels]) -> None:
    def merged(*histograms: ScoreHistogram) -> dict[str, list[int]]:
        total = ScoreHistogram.from_state(histograms[0].state())
        for other in histograms[1:]:
            total.merge(other)
        return {name: counts.tolist() for name, counts in total.state().items()}

    a, b, c = (histogram_of([part]) for part in parts)
    b_and_c = ScoreHistogram.from_state(b.state())
    b_and_c.merge(c)
    whole = {name: counts.tolist() for name, counts in histogram_of(parts).state().items()}
    assert merged(a, b, c) == merged(a, b_and_c) == merged(c, a, b) == whole


def test_billions_of_pixels_do_not_overflow() -> None:
    histogram = histogram_of([(np.float32([0.2, 0.8]), np.array([False, True]))])
    for _ in range(38):  # 2**38 pixels of each class: 2**76 pairs
        histogram.merge(ScoreHistogram.from_state(histogram.state()))
    assert histogram.roc_auc() == (1.0, 0.0)
    assert histogram.average_precision() == (1.0, 0.0)
    assert histogram.best_f1()[0] == 1.0


def test_a_state_is_a_copy() -> None:
    histogram = ScoreHistogram(2)
    state = histogram.state()
    histogram.update(np.float32([0.1]), np.array([True]))
    assert state["positives"].sum() == 0
    ScoreHistogram.from_state(state).update(np.float32([0.1]), np.array([True]))
    assert state["positives"].sum() == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [([0.1, math.nan], "NaN"), ([0.1, 1.5], r"\[0, 1\]"), ([-0.1, 0.2], r"\[0, 1\]"), ([0.1], "differ in shape")],
)
@pytest.mark.parametrize("kind", [ScoreHistogram, ThresholdSweep])
def test_only_probabilities_are_counted(
    kind: type[ScoreHistogram | ThresholdSweep], values: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind().update(np.float32(values), np.array([True, False]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScoreHistogram(3), "bins must be a power of two"),
        (lambda: ScoreHistogram(1), "bins must be a power of two"),
        (lambda: ThresholdSweep(256), "one less than a power of two"),
        (lambda: ThresholdSweep(0), "one less than a power of two"),
        (lambda: ScoreHistogram(2).merge(ScoreHistogram(4)), "2 and 4 bins"),
        (lambda: ThresholdSweep(1).merge(ThresholdSweep(3)), "1 and 3 thresholds"),
        (lambda: ThresholdSweep().update(np.float32([0.5]), np.array([False])), "without tampered pixels"),
        (lambda: ScoreHistogram.from_state({"positives": np.ones(2), "negatives": np.ones(4)}), "not the counts"),
        (lambda: ScoreHistogram.from_state({"positives": -np.ones(2), "negatives": np.ones(2)}), "not the counts"),
        (lambda: ThresholdSweep.from_state({"sums": np.full(3, 2**40), "images": np.array(1)}), "not the sums"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def sweep_of(parts: list[Pixels], thresholds: int = 15) -> ThresholdSweep:
    sweep = ThresholdSweep(thresholds)
    for part in parts:
        sweep.update(*part)
    return sweep


with_truth = pixels.filter(lambda pair: bool(pair[1].any()))


@settings(max_examples=40)
@given(st.lists(with_truth, min_size=1, max_size=5))
def test_a_sweep_is_the_mean_f1_at_each_threshold(parts: list[Pixels]) -> None:
    sweep = sweep_of(parts)
    expected = [
        np.mean([f1_score(confusion(scores > level, truth)) for scores, truth in parts]) for level in sweep.thresholds
    ]
    np.testing.assert_allclose(sweep.f1(), expected, atol=1e-10)
    f1, threshold = sweep.best_shared()
    assert f1 == pytest.approx(max(expected), abs=1e-10)
    assert threshold in sweep.thresholds


@settings(max_examples=40)
@given(st.lists(with_truth, min_size=2, max_size=6), st.randoms())
def test_order_and_grouping_do_not_change_a_sweep(parts: list[Pixels], random: object) -> None:
    whole = sweep_of(parts)
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def join(a: ThresholdSweep, b: ThresholdSweep) -> ThresholdSweep:
        a.merge(b)
        return a

    split = reduce(join, [sweep_of([part]) for part in shuffled])
    assert (split.sums == whole.sums).all()
    again = ThresholdSweep.from_state(whole.state())
    assert again.best_shared() == whole.best_shared() == split.best_shared()


def test_without_images_there_is_no_threshold() -> None:
    assert all(math.isnan(value) for value in ThresholdSweep().best_shared())
    assert np.isnan(ThresholdSweep().f1()).all()
    assert all(math.isnan(value) for value in (*ScoreHistogram().roc_auc(), *ScoreHistogram().average_precision()))


def test_half_is_a_threshold() -> None:
    assert 0.5 in ThresholdSweep().thresholds
    assert ThresholdSweep(1).thresholds.tolist() == [0.5]
