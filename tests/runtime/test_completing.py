"""What is marked of an object becomes all of it: in a map, and in what a `Localizer` answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.errors import ModelError
from boxpromptiml.model_config import DecisionRule
from boxpromptiml.preprocessing import Fed, PreprocessingSpec
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.completing import complete
from boxpromptiml.runtime.finishing import finish
from boxpromptiml.runtime.marking import pasted_part
from boxpromptiml.scaling import logit, sigmoid

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Map = NDArray[np.float32]
HEIGHT, WIDTH = 150, 200


def disc(row: int, column: int, radius: int, height: int = HEIGHT, width: int = WIDTH) -> Mask:
    y, x = np.mgrid[:height, :width]
    return np.asarray(np.hypot(y - row, x - column) < radius)


OBJECT, SEEN = disc(70, 80, 16), disc(67, 77, 11)


@pytest.fixture
def picture(foliage: Callable[..., Pixels]) -> Pixels:
    """Leaves, and before them a disc of another colour."""
    leaves = foliage(HEIGHT, WIDTH)
    pixels = (leaves * [0.3, 0.9, 0.4]).astype(np.uint8)
    pixels[OBJECT] = leaves[OBJECT] // 8 + [190, 20, 30]
    return pixels


def suspicion(marked: float = 0.7, faint: float = 0.05) -> Map:
    """A student that sees a part of the object."""
    return np.where(SEEN, marked, faint).astype(np.float32)


def overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_a_part_of_an_object_becomes_all_of_it(picture: Pixels) -> None:
    values = suspicion()
    completed = complete(values, picture, 0.5)
    assert overlap(values > 0.5, OBJECT) < 0.5
    assert overlap(completed > 0.5, OBJECT) > 0.85


def test_what_is_added_is_a_little_above_the_threshold(picture: Pixels) -> None:
    for threshold in (0.2, 0.5, 0.65):
        completed = complete(suspicion(), picture, threshold)
        added = (completed != suspicion()) & ~SEEN
        assert added.any()
        assert threshold < completed[added].min() == completed[added].max() < threshold + 0.1
        np.testing.assert_array_equal(completed[SEEN], np.float32(0.7))


def test_without_suspicion_nothing_changes(picture: Pixels) -> None:
    for values in (suspicion(marked=0.45), np.where(disc(64, 74, 2), 0.9, 0.05).astype(np.float32)):
        assert complete(values, picture, 0.5) is values  # not marked; too small to know its colours


def test_an_object_of_which_little_is_marked_stays_as_it_is(picture: Pixels) -> None:
    nearly = np.where(disc(64, 72, 6), 0.7, np.where(SEEN, 0.45, 0.05)).astype(np.float32)
    np.testing.assert_array_equal(complete(nearly, picture, 0.5), nearly)
    more = np.where(disc(66, 76, 10), 0.7, np.where(SEEN, 0.45, 0.05)).astype(np.float32)
    assert overlap(complete(more, picture, 0.5) > 0.5, OBJECT) > 0.85


def test_what_is_surely_clean_stays_so(picture: Pixels) -> None:
    values = suspicion()
    values[:, 92:] = 0.001
    completed = complete(values, picture, 0.5)
    assert not (completed[:, 92:] > 0.5).any()
    assert (completed[:, :92] > 0.5).sum() > SEEN[:, :92].sum()


def test_what_looks_like_all_around_is_not_added() -> None:
    even = np.random.default_rng(0).integers(100, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    values = np.where(disc(70, 100, 20), 0.7, 0.05).astype(np.float32)
    np.testing.assert_array_equal(complete(values, even, 0.5), values)


@pytest.mark.parametrize("factor", [2, 4])
def test_map_and_picture_may_have_different_grids(picture: Pixels, factor: int) -> None:
    values = suspicion()
    expected = complete(values, picture, 0.5) > 0.5
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    fine = values.repeat(factor, 0).repeat(factor, 1)
    assert overlap(complete(values, large, 0.5) > 0.5, expected) > 0.85
    finer = complete(fine, picture, 0.5)
    assert finer.shape == fine.shape
    assert overlap(finer[::factor, ::factor] > 0.5, expected) > 0.85


def test_the_same_map_and_picture_give_the_same(picture: Pixels) -> None:
    first = complete(suspicion(), picture, 0.5)
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(complete(suspicion(), picture, 0.5), first)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    threshold=st.floats(0, 1),
    seed=st.integers(0, 1000),
    flat=st.booleans(),
)
def test_any_map_of_any_picture(height: int, width: int, threshold: float, seed: int, flat: bool) -> None:
    """Nothing is unmarked, what is added is near, and no picture is too small or too even."""
    random = np.random.default_rng(seed)
    values = random.choice(np.array([0, 0.001, 0.2, 0.5, 0.9, 1], np.float32), (height, width))
    pixels = random.integers(0, 1 if flat else 256, (height, width, 3), dtype=np.uint8)
    completed = complete(values, pixels, threshold)
    assert (completed.shape, completed.dtype) == (values.shape, values.dtype)
    changed = completed != values
    reach = round(0.05 * max(height, width))
    seeds = values > sigmoid(logit(threshold) - 0.5)
    assert not changed[cv2.dilate(seeds.view(np.uint8), np.ones((2 * reach + 1,) * 2)) == 0].any()
    assert not (changed & (values > threshold)).any()
    assert (completed[changed] > values[changed]).all()
    assert (completed >= 0).all()
    assert (completed <= 1).all()


class Odd:
    """A network that suspects the pixels whose blue is odd, and nothing else much."""

    digest = "0" * 64

    def run(self, batch: Pixels) -> Map:
        return np.where(batch[:, 2:] % 2, 0.7, 0.05).astype(np.float32)

    def device_memory(self) -> float | None:
        return None


@pytest.fixture
def localizer(red_model: Path) -> Callable[..., Localizer]:
    """``localizer(completion=True, copies=False)``, of images at their own size."""

    def make(**choices: bool) -> Localizer:
        loaded = Localizer.load(red_model, threads=1)
        spec = PreprocessingSpec(fit="native", height=64, width=96)
        config = loaded.config.model_copy(update={"preprocessing": spec}).deciding(red_model, **choices)
        return Localizer(Odd(), config, loaded.folder, loaded.choice)

    return make


@pytest.mark.parametrize("detail", [False, True])
def test_a_localizer_completes_what_its_network_finds(
    picture: Pixels, localizer: Callable[..., Localizer], detail: bool
) -> None:
    picture[..., 2] = picture[..., 2] // 2 * 2 + SEEN
    whole, part = localizer(completion=True), localizer()
    assert whole.model_id != part.model_id
    completed, seen = whole.localize(picture, detail=detail), part.localize(picture, detail=detail)
    assert overlap(seen.mask, OBJECT) < 0.5
    assert overlap(completed.mask, OBJECT) > 0.85
    assert (completed.verdict, len(completed.regions)) == (seen.verdict, 1)
    assert completed.score == pytest.approx(seen.score)


def test_where_a_part_is_found_twice_it_is_known_where_it_ends(
    localizer: Callable[..., Localizer], copy_move: Callable[..., tuple[Pixels, ...]], foliage: Callable[..., Pixels]
) -> None:
    image = copy_move(foliage(300, 400), (100, 150), (280, 145), 50)[0]
    with_it, without = (localizer(copies=True, completion=completion).localize(image) for completion in (True, False))
    assert with_it.copies
    np.testing.assert_array_equal(with_it.map, without.map)


def test_an_object_that_is_completed_says_nothing_of_what_was_pasted(picture: Pixels) -> None:
    values = suspicion()
    parts = OBJECT & ~disc(67, 77, 14), disc(120, 30, 12)
    values[parts[1]] = 0.06
    small = Copy(parts, np.eye(2, 3), 0.99, 20, direction=2.0, small=True)
    fed = Fed(picture.transpose(2, 0, 1), HEIGHT, WIDTH, (small,))
    rule = DecisionRule(threshold=0.5, completion=True, copies=True)
    assert (complete(values, picture, 0.5) > 0.5)[parts[0]].mean() > 0.8
    marked = finish(values, fed, rule, threads=1)
    assert pasted_part(marked, small) == 1
    assert not (marked > 0.5)[parts[0]].any()
    assert (marked > 0.5)[SEEN].all()


def test_a_model_that_sees_shrunk_images_completes_nothing(red_model: Path) -> None:
    with pytest.raises(ModelError, match=r"at their own size .*; leave out --completion"):
        Localizer.load(red_model, completion=True)
