"""Run-length encoding of masks as COCO does it: column-major runs, compressed to a short string."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class Rle(TypedDict):
    """``{"size": [height, width], "counts": "..."}``, readable by pycocotools."""

    size: list[int]
    counts: str


def encode(mask: NDArray[Any]) -> Rle:
    """Encode a mask (height, width), non-zero = inside."""
    height, width = mask.shape
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).astype(np.int64)
    if flat.size and flat[0]:  # counts begin with a run of zeros
        runs = np.concatenate([[0], runs])
    return {"size": [height, width], "counts": _compressed(runs.tolist())}


def decode(rle: Rle) -> NDArray[np.bool_]:
    """Decode to a boolean mask (height, width). Raises ValueError when the counts do not fill the size."""
    height, width = rle["size"]
    runs = np.array(_expanded(rle["counts"]), dtype=np.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths add up to {runs.sum()}, not to {height} x {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


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
            continue
        if bits & 0x10:
            value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("run-length counts end in the middle of a number")
    return runs
