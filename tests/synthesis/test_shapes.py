from __future__ import annotations

import numpy as np
import pytest

from boxpromptiml.regions import connected_components
from boxpromptiml.synthesis.config import ShapeWeights
from boxpromptiml.synthesis.sampling import Unusable
from boxpromptiml.synthesis.shapes import draw_region, fill_outline, outline, segment


@pytest.mark.parametrize("shape", ["blob", "freehand", "polygon", "ellipse", "rectangle"])
@pytest.mark.parametrize("area", [400.0, 9000.0])
def test_outlines_enclose_the_wanted_area(shape: str, area: float) -> None:
    for seed in range(20):
        points = outline(shape, area, np.random.default_rng(seed))
        mask = fill_outline(points + 400, 800, 800)
        # OpenCV also fills the pixels that the outline runs through.
        assert np.count_nonzero(mask) == pytest.approx(area, rel=0.05 + 4 / area**0.5)
        assert len(connected_components(mask)) == 1


def test_segments_follow_edges() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[30:90, 40:110] = (200, 60, 60)
    image = image + np.random.default_rng(0).integers(0, 12, image.shape, dtype=np.uint8)
    inside = np.zeros((120, 160), bool)
    inside[30:90, 40:110] = True
    shares = []
    for seed in range(20):
        try:
            mask = segment(image, 0.7 * inside.sum(), np.random.default_rng(seed)) > 0
        except Unusable:
            continue
        share = (mask & inside).sum() / mask.sum()
        shares.append(max(share, 1 - share))
    assert len(shares) >= 10
    # Either of the square or of the ground around it, seldom of both.
    assert np.median(shares) > 0.95


def test_regions_come_in_all_shapes_and_about_the_area() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    names, areas = set(), []
    for _ in range(80):
        try:
            mask, name = draw_region(image, 1500, ShapeWeights(), rng)
        except Unusable:
            continue
        names.add(name)
        areas.append(np.count_nonzero(mask))
    assert names == set(ShapeWeights.model_fields)
    assert 700 < np.median(areas) < 2000
