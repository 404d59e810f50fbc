"""One resizer for training, evaluation and serving."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from boxpromptiml.preprocessing import PreprocessingSpec, resize_image, resize_map, resize_nearest

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (61, 83, 3), dtype=np.uint8)

sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


def test_the_default_is_the_papers() -> None:
    spec = PreprocessingSpec()

    assert (spec.height, spec.width, spec.resizer) == (224, 224, "pillow-bilinear")
    assert spec.mean == (0.485, 0.456, 0.406)
    assert spec.std == (0.229, 0.224, 0.225)


def test_a_spec_survives_json() -> None:
    spec = PreprocessingSpec(height=256, width=384, mean=(0.1, 0.2, 0.3))

    assert PreprocessingSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    "change", [{"height": 31}, {"width": 5000}, {"resizer": "cv2-area"}, {"mean": (0.5, 0.5)}, {"heigth": 224}]
)
def test_specs_out_of_range_or_unknown_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PreprocessingSpec.model_validate({**PreprocessingSpec().model_dump(), **change})


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        PreprocessingSpec().height = 96  # type: ignore[misc]


def test_batches_are_what_the_network_takes() -> None:
    spec = PreprocessingSpec(height=32, width=48)
    images = [IMAGE, IMAGE[::-1], RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)]

    batch = spec.batch(images)

    assert batch.shape == (3, 3, 32, 48)
    assert batch.dtype == np.uint8
    assert batch.flags.c_contiguous
    for network_input, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(network_input.transpose(1, 2, 0), spec.resize(image))


@pytest.mark.parametrize("size", [(32, 32), (200, 40), (61, 84)])
def test_images_are_resized_by_pillow(size: tuple[int, int]) -> None:
    expected = Image.fromarray(IMAGE).resize((size[1], size[0]), Image.Resampling.BILINEAR)

    np.testing.assert_array_equal(resize_image(IMAGE, *size), np.asarray(expected))
    np.testing.assert_array_equal(resize_image(Image.fromarray(IMAGE), *size), np.asarray(expected))


def test_shrinking_is_antialiased() -> None:
    """A checkerboard of single pixels becomes grey; without antialiasing it would alias."""
    y, x = np.mgrid[0:256, 0:256]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)

    small = resize_image(board, 32, 32)

    assert np.abs(small.astype(int) - 127).max() <= 2


def test_the_same_size_is_the_same_pixels() -> None:
    assert resize_image(IMAGE, 61, 83) is IMAGE
    values = np.zeros((5, 6), np.float32)
    assert resize_map(values, 5, 6) is values


@settings(deadline=None)
@given(sizes, sizes, st.integers(0, 1000))
def test_maps_stay_probabilities(old: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    values = np.random.default_rng(seed).random(old).astype(np.float32)

    resized = resize_map(values, *new)

    assert resized.shape == new
    assert resized.dtype == np.float32
    assert resized.min() >= max(0.0, values.min() - 1e-6)
    assert resized.max() <= min(1.0, values.max() + 1e-6) + 1e-6


@settings(deadline=None)
@given(sizes, sizes, st.integers(0, 1000))
def test_nearest_is_opencvs(old: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 256, old, dtype=np.uint8)

    expected = cv2.resize(mask, (new[1], new[0]), interpolation=cv2.INTER_NEAREST)

    np.testing.assert_array_equal(resize_nearest(mask, *new), expected)


@pytest.mark.parametrize("new", [49, 100, 200, 224, 225, 256, 384, 512])
def test_nearest_is_opencvs_where_rounding_decides(new: int) -> None:
    for old in range(1, 700):
        ramp = np.repeat(np.arange(old, dtype=np.float32)[:, None], 2, axis=1)
        expected = cv2.resize(ramp, (2, new), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(resize_nearest(ramp, new, 2), expected)


def test_nearest_keeps_type_and_channels() -> None:
    assert resize_nearest(np.ones((4, 4), bool), 9, 2).dtype == bool
    assert resize_nearest(IMAGE, 10, 12).shape == (10, 12, 3)


NATIVE = PreprocessingSpec(fit="native", height=64, width=96, max_side=128)


@given(sizes)
def test_images_at_their_own_size_are_padded_to_whole_cells(size: tuple[int, int]) -> None:
    height, width = size
    fed = NATIVE.feed(IMAGE[:height, :width])

    assert NATIVE.takes(*fed.pixels.shape[1:])
    assert (fed.rows, fed.columns) == NATIVE.grid(width, height) == (height, width)
    np.testing.assert_array_equal(fed.pixels[:, :height, :width], IMAGE[:height, :width].transpose(2, 0, 1))


def test_larger_images_are_scaled_down_to_the_longest_side() -> None:
    fed = NATIVE.feed(np.zeros((100, 512, 3), np.uint8))

    assert (fed.rows, fed.columns) == (25, 128)
    assert fed.pixels.shape == (3, 64, 128)


def test_a_spec_of_own_sizes_wants_whole_cells() -> None:
    with pytest.raises(ValidationError, match="multiples of 32"):
        PreprocessingSpec(fit="native", height=100, width=96)
    assert not NATIVE.takes(100, 96)
    assert not NATIVE.takes(32, 96)
    assert not PreprocessingSpec().takes(64, 96)


def test_specs_of_earlier_models_decode_at_full_size() -> None:
    """Their JSON does not have the field."""
    old = {name: value for name, value in PreprocessingSpec().model_dump().items() if name != "draft_margin"}

    assert PreprocessingSpec.model_validate(old) == PreprocessingSpec()
    assert PreprocessingSpec().enough(8000, 6000) is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (PreprocessingSpec(draft_margin=2), (448, 448)),
        (PreprocessingSpec(height=100, width=150, draft_margin=1.5), (225, 150)),
        (PreprocessingSpec(fit="native", height=64, width=96, max_side=1000, draft_margin=2), (2000, 1500)),
    ],
)
def test_how_much_of_a_jpeg_is_enough(spec: PreprocessingSpec, expected: tuple[int, int]) -> None:
    assert spec.enough(4000, 3000) == expected


@pytest.mark.parametrize("margin", [0, 0.9, 65, float("nan")])
def test_a_margin_below_the_input_is_refused(margin: float) -> None:
    with pytest.raises(ValidationError):
        PreprocessingSpec(draft_margin=margin)
