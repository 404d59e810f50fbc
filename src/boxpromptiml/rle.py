"""Run-length encoding of masks as COCO does it: column-major runs, compressed to a short string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

# Bits of the longest number in counts: far more than any mask has pixels.
_LONGEST = 60


class Rle(TypedDict):
    """``{"size": [height, width], "counts": "..."}``, readable by pycocotools."""

    size: list[int]
    counts: str


def encode(mask: NDArray[Any]) -> Rle:
    """Encode a mask (height, width), non-zero = inside."""
    mask = np.asarray(mask) != 0
    height, width = mask.shape
    if mask.size == 0:
        return {"size": [height, width], "counts": _compressed([0])}
    # Changes within columns, from one column's end to the next one's start, and from the zeros that counts begin with.
    rows, columns = np.divmod(np.flatnonzero(mask[1:] != mask[:-1]), width)
    between = np.flatnonzero(mask[0, 1:] != mask[-1, :-1]) + 1
    first = np.zeros(int(mask[0, 0]), dtype=np.int64)
    places = np.sort(np.concatenate([first, columns * height + rows + 1, between * height]))
    return _from_places(places, height, width)


def from_runs(starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int) -> Rle:
    """Encode ascending runs of inside pixels, given as column-major positions (see `regions.component_runs`)."""
    # Where one run ends at the bottom of a column and the next begins at the top of the following one, they are one.
    joined = np.flatnonzero(ends[:-1] == starts[1:])
    places = np.column_stack([np.delete(starts, joined + 1), np.delete(ends, joined)]).ravel()
    if len(places) and places[-1] == height * width:
        places = places[:-1]
    return _from_places(places, height, width)


def decode(rle: Rle) -> NDArray[np.bool_]:
    """Decode to a boolean mask (height, width). Raises ValueError when the counts do not fill the size."""
    height, width = rle["size"]
    return decode_runs(_expanded(rle["counts"]), height, width)


def decode_runs(runs: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Decode plain run lengths, column by column and beginning with zeros, to a boolean mask (height, width).

    Raises:
        ValueError: a run length is below 0, or they do not fill the size.
    """
    if min(runs, default=0) < 0:
        raise ValueError(f"a run length is {min(runs)}, below 0")
    # Summed as Python's numbers: 64 bits wrap, and runs that only then add up are far longer than memory.
    total = sum(runs)
    if total != height * width:
        raise ValueError(f"run lengths add up to {total}, not to {height} x {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, np.array(runs, np.int64)).reshape((height, width), order="F")


def _from_places(places: NDArray[np.int64], height: int, width: int) -> Rle:
    """From the ascending column-major positions where the mask changes, beginning with zeros."""
    runs = np.diff(places, prepend=0, append=height * width)
    return {"size": [height, width], "counts": _compressed(runs.tolist())}


def _compressed(runs: list[int]) -> str:
    """COCO's LEB128 variant: from the fourth run on, differences to the run two before; 5 bits a character, +48."""
    text: list[str] = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(text)


def _expanded(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r} does not belong in run-length counts")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            if shift >= _LONGEST:
                raise ValueError(f"run-length counts hold a number of more than {_LONGEST} bits")
            continue
        if bits & 0x10:
            value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("run-length counts end in the middle of a number")
    return runs
