"""Which of two parts was pasted, by the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from boxpromptiml.copymove.direction import direction
from boxpromptiml.copymove.search import find_copies
from boxpromptiml.perturbations import jpeg

Pixels = NDArray[np.uint8]
Foliage = Callable[..., Pixels]
Forge = Callable[..., tuple[Pixels, NDArray[np.bool_], NDArray[np.bool_]]]
HERE, THERE, RADIUS = (90, 120), (231, 108), 38
SHIFT = np.array([[1.0, 0, 141], [0, 1, -12]])


def dimmed_on_the_right(photo: Pixels) -> Pixels:
    """A photo whose right half lies in the shade: what is pasted there does not fit."""
    shaded = photo.astype(np.float32)
    shaded[:, 160:] *= 0.5
    return shaded.astype(np.uint8)


def test_the_part_that_breaks_with_what_is_around_it_was_pasted(foliage: Foliage, copy_move: Forge) -> None:
    forged, source, pasted = copy_move(dimmed_on_the_right(foliage()), HERE, THERE, RADIUS)
    assert direction(forged, (source, pasted), SHIFT) > 1
    back = np.array([[1.0, 0, -141], [0, 1, 12]])
    assert direction(forged, (pasted, source), back) == pytest.approx(-direction(forged, (source, pasted), SHIFT))


@pytest.mark.parametrize(("degrees", "scale"), [(25, 1.0), (0, 1.3), (15, 1.15)])
@pytest.mark.parametrize("quality", [95, 70])
def test_the_smoother_part_was_turned_or_scaled_and_pasted(
    degrees: float, scale: float, quality: int, foliage: Foliage, copy_move: Forge
) -> None:
    forged, _, pasted = copy_move(foliage(), HERE, THERE, RADIUS, degrees, scale)
    (copy,) = find_copies(jpeg(forged, quality))
    second_was_pasted = (copy.parts[1] & pasted).sum() > (copy.parts[0] & pasted).sum()
    assert (copy.direction > 1) == second_was_pasted
    assert abs(copy.direction) > 1


def test_smoothness_says_nothing_of_what_was_only_shifted_or_mirrored(foliage: Foliage, copy_move: Forge) -> None:
    forged, source, pasted = copy_move(foliage(), HERE, THERE, RADIUS)
    grainy = forged.copy()
    inner = np.zeros_like(source)
    inner[HERE[1] - 15 : HERE[1] + 15, HERE[0] - 15 : HERE[0] + 15] = True
    grainy[inner] = np.clip(
        grainy[inner] + np.random.default_rng(0).normal(0, 20, (int(inner.sum()), 3)), 0, 255
    ).astype(np.uint8)
    parts = source, pasted
    assert direction(grainy, parts, SHIFT) == pytest.approx(direction(forged, parts, SHIFT))
    mirrored = np.array([[-1.0, 0, 321], [0, 1, -12]])
    assert direction(grainy, parts, mirrored) == pytest.approx(direction(forged, parts, mirrored))
    turned = SHIFT + np.array([[0, -0.1, 0], [0.1, 0, 0]])
    assert direction(grainy, parts, turned) > direction(forged, parts, turned) + 1


def test_the_smaller_of_two_that_are_equally_smooth_was_pasted(foliage: Foliage) -> None:
    """Made smaller, detail comes closer together: without interpolation there would be more of it."""
    photo, everywhere = foliage(), np.ones((240, 320), bool)
    smaller, larger = (np.array([[scale, 0, 5], [0, scale, 5]]) for scale in (0.8, 1.25))
    assert direction(photo, (everywhere, everywhere), smaller) > 0.5
    assert direction(photo, (everywhere, everywhere), larger) < -0.5


def test_parts_that_fill_the_image_have_no_outline_and_say_nothing(foliage: Foliage) -> None:
    everything = np.ones((240, 320), bool)
    assert direction(foliage(), (everything, everything), SHIFT) == 0


def test_a_part_that_is_empty_says_nothing(foliage: Foliage) -> None:
    nothing, something = np.zeros((240, 320), bool), np.zeros((240, 320), bool)
    something[50:90, 50:90] = True
    assert direction(foliage(), (nothing, something), np.array([[1.1, 0, 5], [0, 1.1, 5]])) == 0


def test_a_ragged_outline_of_any_length_is_looked_at(foliage: Foliage) -> None:
    ragged = np.zeros((512, 512), bool)
    ragged[::6] = ragged[1::6] = ragged[2::6] = True
    assert np.isfinite(direction(foliage(512, 512), (ragged, np.roll(ragged, 3, axis=0)), SHIFT))
