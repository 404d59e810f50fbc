"""Copies on a student's map: the student says which part was pasted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.runtime.marking import EITHER, PASTED, mark_copies, pasted_part

SHAPE = 20, 30
FIRST, SECOND = (slice(2, 8), slice(2, 10)), (slice(10, 16), slice(18, 26))


def part(where: tuple[slice, slice]) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[where] = True
    return mask


def copy_of(direction: float = 0.0) -> Copy:
    matrix = np.array([[1.0, 0, 16], [0, 1, 8]])
    return Copy((part(FIRST), part(SECOND)), matrix, 0.99, 20, direction)


def suspicious(first: float, second: float, elsewhere: float = 0.05) -> NDArray[np.float32]:
    values = np.full(SHAPE, elsewhere, np.float32)
    values[FIRST], values[SECOND] = first, second
    return values


@pytest.mark.parametrize(
    ("first", "second", "pasted"),
    [(0.1, 0.6, 1), (0.4, 0.02, 0), (0.2, 0.3, None), (0.0, 0.0, None), (0.9, 0.9, None), (0.99, 0.5, 0)],
)
def test_the_part_that_the_student_suspects_far_more_was_pasted(
    first: float, second: float, pasted: int | None
) -> None:
    marked = mark_copies(suspicious(first, second), [copy_of()])
    assert pasted_part(marked, copy_of()) == pasted
    for index, where in enumerate((FIRST, SECOND)):
        if pasted is None:
            np.testing.assert_allclose(marked[where], EITHER)
        elif pasted == index:
            assert marked[where].min() >= np.float32(PASTED)
        else:
            assert marked[where].max() < 0.5


@pytest.mark.parametrize(
    ("first", "second", "direction", "pasted"),
    [
        (0.1, 0.1, 3.0, 1),  # the picture is sure
        (0.1, 0.1, -3.0, 0),
        (0.1, 0.1, 1.0, None),
        (0.2, 0.3, 2.0, 1),  # both a little
        (0.1, 0.6, -3.0, None),  # each says another
        (0.001, 0.999, -7.0, 0),  # a student that has never seen such photos is never sure enough
    ],
)
def test_the_picture_and_the_student_are_heard_together(
    first: float, second: float, direction: float, pasted: int | None
) -> None:
    copy = copy_of(direction)
    assert pasted_part(mark_copies(suspicious(first, second), [copy]), copy) == pasted


def test_a_higher_value_of_the_student_stays() -> None:
    assert mark_copies(suspicious(0.99, 0.01), [copy_of()])[FIRST].min() == pytest.approx(0.99)


def test_elsewhere_it_takes_twenty_times_the_odds_to_be_marked() -> None:
    for value, odds in ((0.5, 1.0), (0.97, 0.97 / 0.03)):
        marked = mark_copies(suspicious(0.1, 0.6, elsewhere=value), [copy_of()])
        assert marked[0, 0] / (1 - marked[0, 0]) == pytest.approx(odds / np.exp(3), rel=1e-3)
    assert mark_copies(suspicious(0.1, 0.6, elsewhere=0.97), [copy_of()])[0, 0] > 0.5


def test_beside_small_copies_all_else_stays_as_suspected() -> None:
    values = suspicious(0.1, 0.9, elsewhere=0.8)
    small = replace(copy_of(), small=True)
    marked = mark_copies(values, [small])
    outside = ~(part(FIRST) | part(SECOND))
    np.testing.assert_array_equal(marked[outside], values[outside])
    assert marked[SECOND].min() >= np.float32(PASTED)
    assert marked[FIRST].max() < 0.5
    assert mark_copies(values, [small, copy_of()])[outside].max() < 0.5


def test_which_part_was_pasted_is_asked_of_the_student_not_of_what_was_completed() -> None:
    student, completed = suspicious(0.2, 0.25), suspicious(0.25, 0.25)
    copy = copy_of(direction=2.0)
    assert pasted_part(mark_copies(student, [copy]), copy) == 1
    assert pasted_part(mark_copies(completed, [copy]), copy) is None
    assert pasted_part(mark_copies(completed, [copy], student), copy) == 1


def test_a_part_that_one_copy_settles_stays_settled() -> None:
    third = part((slice(10, 16), slice(2, 10)))
    undecided = Copy((part(SECOND), third), np.eye(2, 3), 0.99, 20)
    values = suspicious(0.05, 0.6)
    values[third] = 0.5
    for copies in ([copy_of(), undecided], [undecided, copy_of()]):
        marked = mark_copies(values, copies)
        np.testing.assert_allclose(marked[SECOND], PASTED)
        np.testing.assert_allclose(marked[third], EITHER)
        assert pasted_part(marked, copy_of()) == 1


def test_certain_pixels_stay_finite() -> None:
    marked = mark_copies(suspicious(0.0, 1.0, elsewhere=1.0), [copy_of()])
    assert np.isfinite(marked).all()
    assert marked.min() >= 0
    assert marked.max() <= 1


def test_without_copies_the_map_is_untouched() -> None:
    values = suspicious(0.2, 0.8)
    assert mark_copies(values, []) is values


def test_the_map_may_have_another_grid_than_the_search() -> None:
    fine = Copy(tuple(np.kron(mask, np.ones((2, 2), bool)) for mask in copy_of().parts), np.eye(2, 3), 0.99, 20)  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        mark_copies(suspicious(0.1, 0.6), [fine]), mark_copies(suspicious(0.1, 0.6), [copy_of()])
    )


def test_the_map_that_was_given_is_not_written_to() -> None:
    values = suspicious(0.1, 0.6)
    before = values.copy()
    mark_copies(values, [copy_of()])
    np.testing.assert_array_equal(values, before)
