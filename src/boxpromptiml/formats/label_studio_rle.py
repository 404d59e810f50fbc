"""Label Studio's brush masks: the run lengths of its own kind, as its page and its SDK read and write them.

The format is that of the npm package ``@thi.ng/rle-pack``, over the RGBA bytes of the picture, row by row. All numbers
are big-endian bit fields: 32 bits number of values, 5 bits word size - 1, four times 4 bits length sizes - 1, then
chunks of 1 bit (1 = one value repeated, 0 = values one by one), 2 bits which length size, length - 1, value or values.
What counts is the alpha channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER_BITS = 32 + 5 + 4 * 4
_LENGTH_SIZES = (3, 4, 8, 16)
_LONGEST = 1 << 16
_CHANNELS = 4
# Chunks that are turned into bits at once: bounds the memory that masks of noise take.
_BLOCK = 1 << 18


def encode(mask: NDArray[Any]) -> list[int]:
    """Encode a mask as Label Studio's brush RLE, byte for byte as `mask2rle` of its SDK does for values 0 and 255.

    Args:
        mask: (h, w), non-zero = inside, at the image's own size.

    Returns:
        Bytes as integers, the value of ``"rle"`` in a result of type ``brushlabels`` with ``"format": "rle"``.

    Raises:
        ValueError: the mask is not two-dimensional, is empty, or has more values than 32 bits can count.
    """
    inside = np.asarray(mask) != 0
    if inside.ndim != 2 or inside.size == 0:
        raise ValueError(f"a mask has the shape (height, width), got {inside.shape}")
    number = inside.size * _CHANNELS
    if number >= 1 << 32:
        raise ValueError(f"a mask of {inside.shape[1]} x {inside.shape[0]} pixels is too large for Label Studio's RLE")
    flat = inside.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * _CHANNELS
    values = np.where(flat[ends - 1], 255, 0).astype(np.int64)
    header = number
    for value, size in ((7, 5), *((size - 1, 4) for size in _LENGTH_SIZES)):
        header = header << size | value
    bits = [np.array([header >> place & 1 for place in reversed(range(_HEADER_BITS))], np.uint8)]
    for start in range(0, len(lengths), _BLOCK):
        bits.append(_chunk_bits(lengths[start : start + _BLOCK], values[start : start + _BLOCK]))
    total = sum(map(len, bits))
    # The SDK always closes with at least one zero bit.
    bits.append(np.zeros(8 - total % 8, np.uint8))
    encoded: list[int] = np.packbits(np.concatenate(bits)).tolist()
    return encoded


def decode(rle: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Decode Label Studio's brush RLE, whoever wrote it.

    Args:
        rle: bytes as integers.
        height: ``original_height`` of the result.
        width: ``original_width`` of the result.

    Returns:
        bool (height, width): where alpha is not zero, which is what Label Studio paints.

    Raises:
        ValueError: something else than bytes, data of another size than the image's, or data that ends too early.
    """
    try:
        data = bytes(iter(rle))
    except (TypeError, ValueError) as error:
        raise ValueError("rle is not a list of numbers from 0 to 255") from error
    if len(data) * 8 < _HEADER_BITS:
        raise ValueError(f"rle has {len(data)} bytes, which is too short to be one")
    header = int.from_bytes(data[:7], "big") >> 56 - _HEADER_BITS
    number = header >> 21
    word = (header >> 16 & 0x1F) + 1
    sizes = [(header >> place & 0xF) + 1 for place in (12, 8, 4, 0)]
    if number != height * width * _CHANNELS:
        raise ValueError(
            f"rle holds {number:,} values, an image of {width} x {height} pixels has {height * width * _CHANNELS:,}"
        )
    if word != 8:
        raise ValueError(f"rle holds words of {word} bits, a brush mask has 8")
    values = np.zeros(number, np.uint8)
    filled, place, end = 0, _HEADER_BITS, len(data) * 8
    while filled < number:
        repeated, which = _bits(data, place, 1), _bits(data, place + 1, 2)
        length = _bits(data, place + 3, sizes[which]) + 1
        place += 3 + sizes[which]
        stop = place + (8 if repeated else 8 * length)
        if stop > end:
            raise ValueError(f"rle ends after {filled:,} of {number:,} values")
        if repeated:
            values[filled : filled + length] = _bits(data, place, 8)
        else:
            literal = _words(data, place, length)
            values[filled : filled + length] = literal[: number - filled]
        filled, place = filled + length, stop
    alpha: NDArray[np.uint8] = values.reshape(height, width, _CHANNELS)[..., 3]
    return np.not_equal(alpha, 0)


def _chunk_bits(lengths: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bits of runs of one value each, longer ones in several chunks."""
    pieces = (lengths + _LONGEST - 1) // _LONGEST
    run = np.repeat(np.arange(len(lengths)), pieces)
    last = np.zeros(len(run), bool)
    last[np.cumsum(pieces) - 1] = True
    rest = lengths - (pieces - 1) * _LONGEST
    length = np.where(last, rest[run], _LONGEST)
    # A long run's rest keeps the longest size, as in the SDK.
    which = np.searchsorted([8, 16, 256], lengths[run])
    size = np.array(_LENGTH_SIZES)[which]
    code = ((((1 << 2 | which) << size) | length - 1) << 8) | values[run]
    total = 3 + size + 8
    # Each code's bits, the highest first.
    shift = np.repeat(np.cumsum(total), total) - np.arange(total.sum()) - 1
    bits: NDArray[np.uint8] = (np.repeat(code, total) >> shift & 1).astype(np.uint8)
    return bits


def _bits(data: bytes, place: int, size: int) -> int:
    """`size` (at most 16) bits from a place on; zeros behind the end."""
    first = place >> 3
    window = int.from_bytes(data[first : first + 3].ljust(3, b"\0"), "big")
    return window >> 24 - (place & 7) - size & (1 << size) - 1


def _words(data: bytes, place: int, count: int) -> NDArray[np.uint8]:
    """`count` bytes from any bit on."""
    first, offset = divmod(place, 8)
    raw = np.frombuffer(data, np.uint8, count + bool(offset), first)
    if not offset:
        return raw
    shifted: NDArray[np.uint8] = np.bitwise_or(raw[:-1] << offset, raw[1:] >> 8 - offset)
    return shifted
