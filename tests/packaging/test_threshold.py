"""The threshold: where F1 is high, and where few authentic pixels are marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from boxpromptiml.packaging.observing import Observed
from boxpromptiml.packaging.threshold import choose_cut, within_bound

Make = Callable[..., list[Observed]]


@pytest.mark.parametrize(
    ("level", "stray", "least", "most"),
    [
        (0.9, 0.1, 0.5, 0.5),  # 0.5 is as good as any other: it stays
        (0.4, 0.1, 0.15, 0.4),  # tampered pixels stay below 0.5
        (0.9, 0.6, 0.62, 0.88),  # stray ones above it
    ],
)
def test_the_cut_lies_where_f1_is_high(
    level: float, stray: float, least: float, most: float, make_images: Make
) -> None:
    cut = choose_cut(make_images(20, level=level, stray=stray))
    assert cut is not None
    assert least <= cut.cut <= most
    assert cut.f1_at_cut > 0.9
    assert cut.f1_at_best >= cut.f1_at_cut >= cut.f1_at_half


def test_a_bound_of_the_false_area_moves_the_cut(make_images: Make) -> None:
    images = make_images(20, level=0.7, stray=0.6)
    for image in images:  # F1 alone would not care
        if image.f1 is not None:
            image.f1[:] = 0.5
    free, bound = choose_cut(images), choose_cut(images, max_false_area=0.01)
    assert free is not None
    assert bound is not None
    assert (free.cut, free.false_area_at_cut) == (0.5, pytest.approx(0.1, abs=0.03))
    assert bound.cut > 0.6
    assert bound.false_area_at_cut is not None
    assert bound.false_area_at_cut <= 0.01


def test_the_bound_holds_for_other_images_too(make_images: Make) -> None:
    """Few authentic images that differ much: their mean below the bound is not enough."""
    authentic = [image for image in make_images(20, level=0.7, stray=0.6) if not image.tampered]
    clean = [image for image in make_images(20, level=0.7, stray=0.01) if not image.tampered]
    tampered = [image for image in make_images(20, level=0.7, stray=0.6) if image.tampered]
    for image in tampered:
        assert image.f1 is not None
        image.f1[:] = 0.5
    alike = choose_cut(tampered + authentic, max_false_area=0.12)
    unlike = choose_cut(tampered + authentic[:5] + clean[:1], max_false_area=0.1)
    assert alike is not None
    assert alike.cut == 0.5
    assert unlike is not None
    assert unlike.false_area_at_half is not None
    assert unlike.false_area_at_half < 0.1  # and yet
    assert unlike.cut > 0.5


def test_the_confidence_is_that_of_few_images_too(make_images: Make) -> None:
    """Where the true mean is the bound itself, one set of images in twenty may keep it by chance."""
    four = [image for image in make_images(8, level=0.7, stray=0.1) if not image.tampered][:4]
    rng = np.random.default_rng(0)
    kept = [within_bound(shares[:, None], four, 0.02)[1] for shares in rng.normal(0.02, 0.01, (2000, 4))]
    assert np.mean(kept) == pytest.approx(0.05, abs=0.015)


def test_images_of_one_source_are_one_witness(make_images: Make) -> None:
    """Many clean images of one scene, and two of others that are marked: the scene is one image of three."""
    stray, clean = (
        [image for image in make_images(40, level=0.7, stray=level) if not image.tampered] for level in (0.6, 0.01)
    )
    tampered = [image for image in make_images(20, level=0.7, stray=0.6) if image.tampered]
    for image in tampered:
        assert image.f1 is not None
        image.f1[:] = 0.5
    scene = [replace(image, group="scene") for image in clean]
    alone = choose_cut(tampered + stray[:2] + clean, max_false_area=0.05)
    grouped = choose_cut(tampered + stray[:2] + scene, max_false_area=0.05)
    assert alone is not None
    assert alone.cut == 0.5
    assert grouped is not None
    assert grouped.cut > 0.5


def test_a_cut_can_be_given(make_images: Make) -> None:
    cut = choose_cut(make_images(10, level=0.4, stray=0.1), fixed=0.5)
    assert cut is not None
    assert (cut.cut, cut.rule) == (0.5, "given")
