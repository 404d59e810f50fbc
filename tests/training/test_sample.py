"""What training, evaluation and deployment show the network of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import DatasetError
from boxpromptiml.evaluation.plan import Task
from boxpromptiml.evaluation.scoring import Scorer
from boxpromptiml.images import open_image
from boxpromptiml.metrics import get_preset
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.regions import Box
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.preparing import prepare
from boxpromptiml.training.sample import Sample


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """605 x 803 pixels upright, turned by EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 8
    noise = np.random.default_rng(0).integers(0, 256, (605, 803, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(noise).save(path, quality=90, exif=exif)
    return path


@pytest.mark.parametrize("margin", [None, 1.0, 2.0])
def test_all_see_the_same_pixels(margin: float | None, photo: Path, red_model: Path) -> None:
    loaded = Localizer.load(red_model, threads=1)
    spec = loaded.config.preprocessing.model_copy(update={"draft_margin": margin})
    config = loaded.config.model_copy(update={"preprocessing": spec})
    localizer = Localizer(loaded.session, config, loaded.folder, loaded.choice)
    box = Box(100, 200, 300, 500)

    image, target = Sample("photo.jpg", photo, 605, 803, tampered=True, boxes=(box,)).load_for(spec)

    seen = image.transpose(2, 0, 1)
    task = Task(0, "photo.jpg", photo, None, "tampered", None, 605, 803)
    np.testing.assert_array_equal(Scorer(localizer, get_preset("imdlbenco"), "origin").load(task).pixels, seen)
    np.testing.assert_array_equal(prepare(localizer, photo.read_bytes(), "photo.jpg").fed.pixels, seen)
    np.testing.assert_array_equal(localizer.localize(photo).map, localizer.probabilities(seen[None])[0])
    # Without a margin it is all of the photo, otherwise nearly that; boxes are those of the full size.
    whole = spec.resize(open_image(photo))
    assert bool((image != whole).any()) == (margin is not None)
    assert np.abs(image.astype(int) - whole).mean() < 4
    np.testing.assert_array_equal(target > 127, spec_mask(box, 605, 803, spec))


def spec_mask(box: Box, width: int, height: int, spec: PreprocessingSpec) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[box.slices] = 255
    return np.asarray(Image.fromarray(mask).resize((spec.width, spec.height), Image.Resampling.BILINEAR)) > 127


def test_another_size_than_the_dataset_says_is_an_error(photo: Path) -> None:
    spec = PreprocessingSpec(height=64, width=64, draft_margin=2)
    with pytest.raises(DatasetError, match="605 x 803 pixels, the dataset says 803 x 605"):
        Sample("photo.jpg", photo, 803, 605, tampered=False).load_for(spec)
