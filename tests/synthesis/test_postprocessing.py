from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from boxpromptiml.synthesis.config import PostprocessingConfig
from boxpromptiml.synthesis.postprocessing import Compression, Plan, decode_jpeg

ALWAYS = {"probability": 1, "quality": [92, 95, 98]}
EVERYTHING = PostprocessingConfig.model_validate(
    {
        "host_jpeg": ALWAYS,
        "share_jpeg": ALWAYS,
        "final_jpeg": ALWAYS,
        "misalign_probability": 1,
        "resize_probability": 1,
        "blur_probability": 1,
    }
)


@given(seed=st.integers(0, 2**32), height=st.integers(64, 200), width=st.integers(64, 200))
@settings(max_examples=25, deadline=None)
def test_the_mask_moves_with_the_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    plan = Plan.draw(EVERYTHING, rng)
    rows, columns = plan.host_size((height, width))
    host = plan.prepare(np.zeros((rows, columns, 3), np.uint8))
    alpha = np.zeros(host.shape[:2], np.float32)
    alpha[host.shape[0] // 4 : host.shape[0] // 2, host.shape[1] // 3 : -host.shape[1] // 4] = 1
    tampered = np.repeat((alpha * 255).astype(np.uint8)[..., None], 3, axis=2)
    image, mask, encoded = plan.finish(tampered, alpha, (height, width))
    assert image.shape == (height, width, 3)
    assert mask.shape == (height, width)
    seen = image[..., 1] > 127
    # JPEG and blur move the half-way contour by far less than a pixel.
    assert np.mean(seen != (mask == 255)) < 0.01
    assert encoded is not None


@pytest.mark.parametrize("subsampling", ["420", "422", "440", "444"])
def test_chroma_subsampling_is_what_was_asked_for(subsampling: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = Compression(90, subsampling).encode(image)
    picture = Image.open(io.BytesIO(data))
    assert isinstance(picture, JpegImagePlugin.JpegImageFile)
    factors = {layer[1:3] for layer in picture.layer[:1]}
    assert factors == {{"420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}[subsampling]}
    assert np.array_equal(decode_jpeg(data), np.asarray(picture))


def test_grids_are_misaligned_by_one_to_seven_pixels() -> None:
    rng = np.random.default_rng(0)
    offsets = set()
    for _ in range(300):
        plan = Plan.draw(EVERYTHING, rng)
        assert plan.before is not None
        offsets.update(plan.before.offset)
    assert offsets == set(range(1, 8))


def test_nothing_happens_where_everything_is_switched_off() -> None:
    never = {"probability": 0, "quality": [90, 90, 90]}
    off = PostprocessingConfig.model_validate(
        {
            **dict.fromkeys(("host_jpeg", "donor_jpeg", "final_jpeg", "share_jpeg"), never),
            "resize_probability": 0,
            "blur_probability": 0,
        }
    )
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    plan = Plan.draw(off, np.random.default_rng(0))
    result, mask, encoded = plan.finish(plan.prepare(image), None, None)
    assert np.array_equal(result, image)
    assert not mask.any()
    assert encoded is None
    assert plan.to_json() == {"before": [], "after": []}
