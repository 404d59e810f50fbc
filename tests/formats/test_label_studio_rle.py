from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from boxpromptiml.formats.label_studio_rle import decode, encode


def bits(text: str) -> list[int]:
    """Bytes of a string of 0 and 1, filled up with zeros."""
    text = text.replace(" ", "").replace("\n", "")
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


# 8-bit words, lengths of 3, 4, 8 and 16 bits.
HEADER = "00111 0010 0011 0111 1111"


def words(*values: int) -> str:
    return "".join(f"{value:08b}" for value in values)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        # One pixel, four channels: a run of 4 in a length of 3 bits.
        ([[1]], f"{4:032b} {HEADER} 1 00 011 {words(255)}"),
        # Three pixels outside, one inside: 12 values in a length of 4 bits, 4 in one of 3.
        ([[0, 0], [0, 1]], f"{16:032b} {HEADER} 1 01 1011 {words(0)} 1 00 011 {words(255)}"),
        # 65 pixels: 260 values need 16 bits.
        ([[0] * 65], f"{260:032b} {HEADER} 1 11 {259:016b} {words(0)}"),
    ],
)
def test_the_bits_are_those_of_the_specification(mask: list[list[int]], expected: str) -> None:
    encoded = encode(np.array(mask))
    assert encoded[: len(bits(expected))] == bits(expected)
    assert encoded[len(bits(expected)) :] in ([], [0])


def test_runs_beyond_16_bits_are_cut() -> None:
    # 20,000 pixels are 80,000 values: 65,536 and 14,464.
    expected = f"{80_000:032b} {HEADER} 1 11 {65_535:016b} {words(255)} 1 11 {14_463:016b} {words(255)}"
    assert encode(np.ones((100, 200), np.uint8))[: len(bits(expected))] == bits(expected)


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_masks_come_back(mask: NDArray[np.bool_]) -> None:
    encoded = encode(mask)
    assert all(type(value) is int and 0 <= value <= 255 for value in encoded)
    assert (decode(encoded, *mask.shape) == mask).all()


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_rectangles_come_back(height: int, width: int, data: Any) -> None:
    mask = np.zeros((height, width), np.uint8)
    mask[data.draw(st.integers(0, height)) :, data.draw(st.integers(0, width)) :] = 255
    assert (decode(encode(mask), height, width) == (mask > 0)).all()


def test_what_the_page_writes_is_read() -> None:
    # The page encodes coloured RGBA, partly value by value, with lengths of its own choice; alpha alone counts.
    pixels = words(10, 20, 30, 255, 0, 0, 0, 0, 10, 20, 30, 1)
    text = f"{20:032b} {HEADER} 0 01 1011 {pixels} 1 00 111 {words(0)}"
    assert decode(bits(text), 1, 5).tolist() == [[True, False, True, False, False]]


def test_other_length_sizes_are_read() -> None:
    text = f"{8:032b} 00111 0000 0001 0010 1110 1 10 111 {words(9)}"
    assert decode(bits(text), 2, 1).tolist() == [[True], [True]]


@pytest.mark.parametrize(
    ("rle", "size", "message"),
    [
        ("abc", (1, 1), "not a list of numbers"),
        (12, (1, 1), "not a list of numbers"),
        ([256], (1, 1), "not a list of numbers"),
        ([], (1, 1), "has 0 bytes"),
        (encode(np.ones((2, 3))), (3, 3), "holds 24 values, an image of 3 x 3 pixels has 36"),
        (encode(np.ones((2, 3)))[:8], (2, 3), "ends after 0 of 24 values"),
        (bits(f"{4:032b} 01111 0010 0011 0111 1111 0"), (1, 1), "words of 16 bits"),
    ],
)
def test_what_is_wrong_is_said(rle: Any, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(rle, *size)


@pytest.mark.parametrize("mask", [np.zeros((0, 4)), np.zeros(4), np.zeros((2, 2, 4))])
def test_only_masks_are_encoded(mask: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="height, width"):
        encode(mask)
