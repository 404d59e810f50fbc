"""Run lengths in COCO's column-major, compressed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from boxpromptiml import rle
from boxpromptiml.regions import component_runs

masks = st.tuples(st.integers(1, 25), st.integers(1, 25)).flatmap(lambda shape: arrays(bool, shape))


def plain_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Run lengths, column by column, beginning with zeros: straight from the definition."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


# Worked out by hand from rleToString of the COCO API: five bits a character, 0x20 = more follow, + 48.
@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 1], [1, 1]], "13"),
        ([[1, 1], [1, 1]], "04"),
        ([[0, 0], [0, 0]], "4"),
        ([[1, 0, 1, 0, 1]], "011000"),  # runs 0 1 1 1 1 1; from the fourth on minus the one two before
        (np.zeros((16, 1)), "`0"),  # 16 has the sign bit set and needs a second character
        (np.zeros((40, 25)), "Xo0"),  # 1000 = 31 * 32 + 8
    ],
)
def test_known_strings(mask: object, counts: str) -> None:
    array = np.array(mask)
    assert rle.encode(array) == {"size": list(array.shape), "counts": counts}


@settings(max_examples=300, deadline=None)
@given(masks)
def test_decoding_gives_the_mask_back(mask: NDArray[np.bool_]) -> None:
    encoded = rle.encode(mask)

    assert rle._expanded(encoded["counts"]) == plain_runs(mask)
    np.testing.assert_array_equal(rle.decode(encoded), mask)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40))
def test_any_run_lengths_survive_compression(runs: list[int]) -> None:
    assert rle._expanded(rle._compressed(runs)) == runs


def test_large_masks() -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[100:1900, 50:2990] = True

    np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0)])
def test_masks_without_pixels(shape: tuple[int, int]) -> None:
    assert rle.decode(rle.encode(np.zeros(shape, bool))).shape == shape


def test_any_type_of_mask_and_views() -> None:
    mask = np.random.default_rng(0).random((20, 30)) > 0.5

    for values in (mask, mask.astype(np.uint8) * 255, mask.astype(np.float32), np.asfortranarray(mask)):
        assert rle.encode(values) == rle.encode(mask)


@pytest.mark.parametrize("mask", [np.ones((5, 4)), np.eye(6), np.zeros((3, 3)), np.tri(9, 4)])
def test_runs_of_regions_are_joined_across_columns(mask: NDArray[np.float64]) -> None:
    height, width = mask.shape
    regions = component_runs(mask)
    starts = np.concatenate([starts for _, starts, _ in regions] or [np.zeros(0, np.int64)])
    ends = np.concatenate([ends for _, _, ends in regions] or [np.zeros(0, np.int64)])

    assert rle.from_runs(starts, ends, height, width) == rle.encode(mask)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([2**61] * 8 + [4], "add up to 18446744073709551620, not to 2 x 2"),  # 4 in 64 bits
        ([2**62, 2**62, 2**63, 4], "add up to"),
        ([2**200], "add up to"),
        ([5, -1], "a run length is -1, below 0"),
        ([], "add up to 0"),
    ],
)
def test_runs_that_do_not_fill_the_size_are_errors(runs: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rle.decode_runs(runs, 2, 2)


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(1, 9))
def test_runs_that_fill_the_size_are_drawn(runs: list[int], height: int) -> None:
    runs = [*runs, -sum(runs) % height + height]  # full columns
    mask = rle.decode_runs(runs, height, sum(runs) // height)
    np.testing.assert_array_equal(
        mask.T.ravel(), [number % 2 == 1 for number, run in enumerate(runs) for _ in range(run)]
    )


@given(st.text("".join(map(chr, range(48, 112))), max_size=40))
def test_any_counts_are_decoded_or_refused(counts: str) -> None:
    try:
        mask = rle.decode({"size": [2, 2], "counts": counts})
    except ValueError:
        return
    assert mask.shape == (2, 2)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("3", "add up to 3, not to 2 x 2"),
        ("5", "add up to 5, not to 2 x 2"),
        ("`", "in the middle of a number"),
        ("4\n", "does not belong"),
        ("1é", "does not belong"),
        ("2O3", "a run length is -1, below 0"),
        ("o" * 20 + "0", "a number of more than 60 bits"),
    ],
)
def test_damaged_counts_are_errors(counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rle.decode({"size": [2, 2], "counts": counts})
