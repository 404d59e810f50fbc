"""Masks as brush regions: equal to what Label Studio's SDK writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.regions import Box
from boxpromptiml.web.label_studio.results import brush_region, rectangle_region, tampered

# Written by Label Studio's SDK; the file says how.
SDK = json.loads(Path(__file__).with_name("sdk_masks.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", SDK["masks"], ids=lambda vector: vector["name"])
def test_brush_masks_are_those_of_the_sdk(vector: dict[str, object]) -> None:
    height, width = int(str(vector["height"])), int(str(vector["width"]))
    bits = np.unpackbits(np.array(vector["inside"], np.uint8), count=height * width)
    mask = bits.reshape(height, width).astype(bool)
    region = brush_region(mask, control="mask", image="image", label="A", score=0.25, width=width, height=height)
    assert region["value"] == {"format": "rle", "rle": vector["rle"], "brushlabels": ["A"]}
    assert (region["original_width"], region["original_height"], region["image_rotation"]) == (width, height, 0)
    assert (region["from_name"], region["to_name"], region["type"]) == ("mask", "image", "brushlabels")
    assert region["score"] == 0.25


def test_ids_differ_and_a_score_may_be_missing() -> None:
    regions = [
        rectangle_region(Box(0, 0, 1, 1), control="b", image="i", label="A", score=None, width=2, height=2)
        for _ in range(100)
    ]
    assert len({region["id"] for region in regions}) == 100
    assert "score" not in regions[0]


def test_the_cut_is_above_one_half() -> None:
    assert tampered(np.array([[0.0, 0.5, 0.5001, 1.0]], np.float32)).tolist() == [[False, False, True, True]]
