"""Which matches of keypoints moved together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from boxpromptiml.copymove.matching import movements

Points = NDArray[np.float32]


def part(count: int = 12, spread: float = 30, seed: int = 0) -> Points:
    """Keypoints of a part around (80, 60)."""
    return np.random.default_rng(seed).uniform(-spread, spread, (count, 2)).astype(np.float32) + np.float32([80, 60])


def turned(points: Points, degrees: float, scale: float, to: tuple[float, float]) -> Points:
    """Where they go when they are turned and scaled around (80, 60), and moved."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((points - np.float32([80, 60])) @ turn.T + np.float32(to)).astype(np.float32)


def chance(count: int, seed: int = 7) -> tuple[Points, Points]:
    """Matches that have nothing to do with each other."""
    random = np.random.default_rng(seed)
    here, there = (random.uniform(0, 380, (count, 2)).astype(np.float32) for _ in range(2))
    return here, there


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.3), (30, 1.05), (-140, 1.2)])
def test_matches_that_moved_together_are_one_movement(degrees: float, scale: float) -> None:
    here = part()
    there = turned(here, degrees, scale, (250, 180))
    (movement,) = movements(here, there, 4, 6)
    np.testing.assert_allclose(here @ movement.matrix[:, :2].T + movement.matrix[:, 2], there, atol=0.01)


def test_a_movement_leads_from_the_smaller_part_to_the_larger_one() -> None:
    large = part()
    small = turned(large, 20, 0.7, (250, 180))
    (movement,) = movements(large, small, 4, 6)
    assert movement.growth == pytest.approx(1 / 0.49, rel=0.01)
    np.testing.assert_array_equal(np.sort(movement.here, axis=0), np.sort(small, axis=0))


def test_matches_both_ways_are_one_movement_and_no_mirror_between_the_parts() -> None:
    """Each twin is the other one's match. A mirror halfway between them would lead all of them right."""
    left = part()
    right = left + np.float32([140, 0])
    (movement,) = movements(np.concatenate([left, right]), np.concatenate([right, left]), 4, 6)
    np.testing.assert_allclose(np.abs(movement.matrix), [[1, 0, 140], [0, 1, 0]], atol=1e-4)


def test_few_that_were_shifted_are_told_from_many_by_chance() -> None:
    shifted, (here, there) = part(6), chance(40)
    found = movements(np.concatenate([here, shifted]), np.concatenate([there, shifted + np.float32([120, 90])]), 4, 6)
    assert any(np.allclose(np.abs(one.matrix), [[1, 0, 120], [0, 1, 90]], atol=1e-4) for one in found)


def test_what_was_merely_shifted_is_neither_turned_nor_scaled_by_keypoints_that_are_a_little_off() -> None:
    here = part(6, spread=8)
    off = np.random.default_rng(3).normal(0, 0.2, here.shape).astype(np.float32)
    (movement,) = movements(here, here + np.float32([120, 90]) + off, 4, 6)
    np.testing.assert_array_equal(movement.matrix[:, :2], np.eye(2))
    np.testing.assert_allclose(movement.matrix[:, 2], [120, 90], atol=0.3)


def test_a_small_part_tells_its_shift_but_not_how_it_was_turned() -> None:
    here = part(5, spread=3)
    assert len(movements(here, here + np.float32([120, 90]), 4, 6)) == 1
    assert movements(here, turned(here, 40, 1.2, (200, 150)), 4, 6) == []


def test_what_was_sheared_is_a_movement_too() -> None:
    here = part(20)
    there = here @ np.float32([[1, 0], [0.3, 1]]) + np.float32([100, 70])
    (movement,) = movements(here, there, 4, 6)
    np.testing.assert_allclose(movement.matrix, [[1, 0.3, 100], [0, 1, 70]], atol=0.01)


def test_matches_of_a_mirror_are_mirrored_and_no_others() -> None:
    here = part()
    there = here * np.float32([-1, 1]) + np.float32([330, 40])
    (movement,) = movements(here, there, 4, 6, mirrored=True)
    np.testing.assert_allclose(movement.matrix[:, :2], [[-1, 0], [0, 1]], atol=0.01)
    np.testing.assert_allclose(np.abs(movement.matrix[:, 2]), [330, 40], atol=0.01)
    assert movement.growth == pytest.approx(-1)
    assert movements(here, there, 4, 6) == []
    assert movements(here, here + np.float32([100, 40]), 4, 6, mirrored=True) == []


def test_a_movement_of_a_mirror_leads_to_the_larger_part_too() -> None:
    small = part()
    large = (small - np.float32([80, 60])) * np.float32([-1.4, 1.4]) + np.float32([260, 170])
    for here, there in ((small, large), (large, small)):
        (movement,) = movements(here, there, 4, 6, mirrored=True)
        assert movement.growth == pytest.approx(-(1.4**2), rel=0.01)
        np.testing.assert_allclose(movement.matrix[:, :2], [[-1.4, 0], [0, 1.4]], atol=0.01)
        np.testing.assert_allclose(np.sort(movement.here, axis=0), np.sort(small, axis=0), atol=1e-4)


@pytest.mark.parametrize("to", [(200.0, 100.0), (80.0, 60.0)])
def test_many_keypoints_that_match_one_spot_are_no_movement(to: tuple[float, float]) -> None:
    assert movements(part(), np.repeat(np.float32([to]), 12, axis=0), 4, 6) == []
    assert movements(np.repeat(np.float32([to]), 12, axis=0), part(), 4, 6) == []


def test_two_parts_that_moved_differently_are_two_movements() -> None:
    first, second = part(12), part(10, seed=1) + np.float32([0, 150])
    there = turned(first, 25, 1.1, (250, 80)), second + np.float32([130, 20])
    assert len(movements(np.concatenate([first, second]), np.concatenate(there), 4, 6)) == 2


def test_a_stretched_part_is_mostly_told_by_most_of_its_matches_though_strips_of_it_seem_turned() -> None:
    told = []
    for seed in range(8):
        here = part(60, spread=80, seed=seed)
        there = here @ np.float32([[1, 0.3], [0.5, 1]]) + np.float32([100, 170])
        there += np.random.default_rng(seed).normal(0, 0.4, there.shape).astype(np.float32)
        found = movements(np.concatenate([here, there]), np.concatenate([there, here]), 4, 6)
        told.append(len(found[0].here) > 48)
    assert sum(told) >= 6


def test_the_movement_of_most_matches_comes_first() -> None:
    first, second = part(6), part(20, seed=1) + np.float32([0, 150])
    there = first + np.float32([150, 10]), second + np.float32([130, 20])
    found = movements(np.concatenate([first, second]), np.concatenate(there), 4, 6)
    assert [len(one.here) for one in found] == [20, 6]
    assert len(movements(np.concatenate([first, second]), np.concatenate(there), 4, 1)) == 1
