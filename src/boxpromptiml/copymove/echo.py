"""Where an image echoes itself: shifts of copies without a keypoint that would tell them.

A copy of grass, sand, bark or cloth has few corners, and those look like many others. But all of its grain moved by the
same way, and where an image is correlated with itself, that way is a peak: by Fourier transform, all shifts at once.
What was turned or scaled has none.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boxpromptiml.copymove.copy import Matrix

_BLUR = 1.0  # pixels: compression changes the finest detail
_DETAIL, _AROUND = 7, 15  # pixels: coarser than that is no grain; its strength is evened out over so many
_NOISE = 1.0  # squared grey levels, added to the grain's variance: what is flat has none
_STRONGEST = 2.5  # deviations: an edge counts no more than that
_SMOOTH = 27  # frequencies that the spectrum is evened out over
_DENSE = 1e-3  # of the mean of that, added to it
_NOTHING = 1e-6  # added as well: an image of one colour has no spectrum
_NEAR = 16  # pixels along both axes: a texture always resembles what is close by
_OVERLAP = 0.05  # least share of the image that still lies over its moved self
_FLAT = 15  # pixels: a peak stands out from so many around it
_SAMPLED = 3  # every third shift tells how much they vary
_CLOSE = 3  # pixels: the same peak
_WHOLE = 0.25  # pixels: what was shifted at the photo's own size went whole ones
_STRENGTH = 6.5  # deviations of all other shifts
_LEAST_SIDE = 48  # pixels

Floats = NDArray[np.float32]


def echoes(grey: NDArray[np.uint8], most: int) -> list[Matrix]:
    """Shifts by which an image may hold a copy of a part of itself, the strongest first.

    Args:
        grey: uint8 (h, w).
        most: so many at most.

    Returns:
        float64 (2, 3) each, of pixels (x, y); they point down, or to the right. Of images that were not tampered
        with about half have some too: only `boxpromptiml.copymove.agreement` tells.
    """
    height, width = grey.shape
    if min(height, width) < _LEAST_SIDE:
        return []
    strength = _strength(_autocorrelation(_grain(grey)), height, width)
    found: list[Matrix] = []
    while len(found) < most:
        down, column = divmod(int(strength.argmax()), strength.shape[1])
        if strength[down, column] < _STRENGTH:
            break
        right = column - (width - 1) + _between(strength[down, max(0, column - 1) : column + 2])
        found.append(
            np.array([[1.0, 0, right], [0, 1, down + _between(strength[max(0, down - 1) : down + 2, column])]])
        )
        strength[max(0, down - _CLOSE) : down + _CLOSE + 1, max(0, column - _CLOSE) : column + _CLOSE + 1] = 0
    return found


def _grain(grey: NDArray[np.uint8]) -> Floats:
    """Detail, everywhere equally strong."""
    image = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _BLUR)
    detail = image - cv2.boxFilter(image, -1, (_DETAIL, _DETAIL), borderType=cv2.BORDER_REFLECT)
    variance = cv2.boxFilter(detail * detail, -1, (_AROUND, _AROUND), borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(detail / np.sqrt(variance + _NOISE), -_STRONGEST, _STRONGEST))


def _autocorrelation(grain: Floats) -> Floats:
    """Of shifts 0 to h - 1 down and -(w - 1) to w - 1 to the right, float32 (h, 2 w - 1).

    Frequencies are brought to about one strength: what hatching and bricks repeat would drown everything.
    """
    height, width = grain.shape
    padded = np.zeros((cv2.getOptimalDFTSize(2 * height), cv2.getOptimalDFTSize(2 * width)), np.float32)
    padded[:height, :width] = grain
    # Packed by OpenCV: real and imaginary parts of one frequency to the right after the other, a column each. Of power,
    # the latter are 0. The first column, and the last of an even number, are packed otherwise and left out.
    spectrum = cv2.dft(padded)
    power = cv2.mulSpectrums(spectrum, spectrum, 0, conjB=True)[:, 1:-1:2]
    smooth = cv2.blur(power, (_SMOOTH, _SMOOTH))
    even = np.zeros_like(padded)
    even[:, 1:-1:2] = power / np.sqrt(smooth + _DENSE * smooth.mean() + _NOTHING)
    back = cv2.idft(even)[:height]
    return np.concatenate([back[:, -(width - 1) :], back[:, :width]], axis=1)


def _strength(correlation: Floats, height: int, width: int) -> Floats:
    """How far each shift stands out, in deviations; 0 where none is asked for."""
    down = np.arange(height, dtype=np.float32)[:, None]
    right = np.arange(-(width - 1), width, dtype=np.float32)[None]
    overlap = (height - down) * (width - np.abs(right))
    level = correlation / np.sqrt(overlap)
    level -= cv2.blur(level, (_FLAT, _FLAT))
    asked = (overlap >= _OVERLAP * height * width) & ((np.abs(right) >= _NEAR) | (down >= _NEAR))
    asked[0, :width] = False  # the way back of those to the right
    some = np.abs(level[::_SAMPLED, ::_SAMPLED])[asked[::_SAMPLED, ::_SAMPLED]]
    deviation = 1.4826 * float(np.median(some))
    return np.where(asked, level / max(deviation, 1e-12), 0)


def _between(levels: Floats) -> float:
    """Where the top is of a parabola through a peak and its neighbours, from the peak on; 0 at an end or nearby."""
    if len(levels) < 3:
        return 0.0
    before, peak, after = (float(level) for level in levels)
    bend = 2 * peak - before - after
    top = 0.5 * (after - before) / bend if bend > 0 else 0.0
    return top if abs(top) > _WHOLE else 0.0
