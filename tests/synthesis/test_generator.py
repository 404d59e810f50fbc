from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxpromptiml.errors import RecipeError
from boxpromptiml.synthesis import KINDS, ObjectPool, PhotoPool, SynthesisConfig, Synthesizer, Tampered
from boxpromptiml.synthesis.postprocessing import decode_jpeg


def host_of(result: Tampered, *pools: PhotoPool | ObjectPool) -> np.ndarray:
    """The pixels of the photo that was manipulated."""
    for pool in pools:
        for index, photo in enumerate(pool.photos):
            if photo.id == result.history["host"]:
                loaded = pool.load(index)
                return getattr(loaded, "image", loaded)
    raise AssertionError(result.history["host"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_objects", [False, True])
def test_only_the_masked_pixels_change(
    kind: str,
    with_objects: bool,
    photos: PhotoPool,
    objects: ObjectPool,
    only: Callable[..., SynthesisConfig],
    untouched: dict[str, Any],
) -> None:
    synthesizer = Synthesizer(photos, objects if with_objects else None, only(kind, **untouched))
    for seed in range(12):
        result = synthesizer.make(np.random.default_rng(seed))
        difference = np.abs(result.image.astype(int) - host_of(result, photos, objects)).sum(axis=2)
        inside = result.mask == 255
        assert result.kind == kind
        assert not difference[~inside].any()
        assert difference[inside].mean() / 3 >= synthesizer.config.min_change
        assert set(np.unique(result.mask)) == {0, 255}
        assert 0.01 <= inside.mean() <= 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_feathering_reaches_only_a_few_pixels_beyond_the_mask(
    kind: str, photos: PhotoPool, only: Callable[..., SynthesisConfig], untouched: dict[str, Any]
) -> None:
    from scipy.ndimage import distance_transform_edt

    config = only(kind, **{**untouched, "edge": {"feather_probability": 1, "feather": [4.0, 4.0]}})
    synthesizer = Synthesizer(photos, None, config)
    for seed in range(6):
        result = synthesizer.make(np.random.default_rng(seed))
        changed = (result.image != host_of(result, photos)).any(axis=2)
        sigma = 4.0 * 200 / 384
        assert distance_transform_edt(result.mask == 0)[changed].max() <= 4 * sigma + 1


@pytest.mark.parametrize("size", [None, (96, 128), (200, 120)])
def test_images_have_the_size_asked_for_and_masks_are_never_trivial(
    size: tuple[int, int] | None, photos: PhotoPool, objects: ObjectPool
) -> None:
    synthesizer = Synthesizer(photos, objects)
    low, high = synthesizer.config.area
    for seed in range(30):
        result = synthesizer.make(np.random.default_rng(seed), size)
        assert result.image.dtype == np.uint8
        assert result.image.shape == (*result.mask.shape, 3)
        assert size is None or result.mask.shape == size
        assert low <= np.mean(result.mask == 255) <= high


def test_one_seed_makes_one_image_in_any_process(photo_folder: Path, object_folder: Path) -> None:
    def digest(synthesizer: Synthesizer) -> str:
        results = [synthesizer.make(np.random.default_rng([5, i]), (96, 128)) for i in range(6)]
        results += [synthesizer.make_authentic(np.random.default_rng([6, i])) for i in range(3)]
        state = b"".join(r.image.tobytes() + r.mask.tobytes() + json.dumps(r.history).encode() for r in results)
        return hashlib.sha256(state).hexdigest()

    here = Synthesizer(PhotoPool(photo_folder), ObjectPool(object_folder))
    first = digest(here)
    assert digest(here) == first  # with warm caches
    assert digest(pickle.loads(pickle.dumps(here))) == first
    small = Synthesizer(PhotoPool(photo_folder, cache_bytes=0), ObjectPool(object_folder, cache_bytes=100_000))
    assert digest(small) == first
    program = f"""
import hashlib, json, numpy as np
from boxpromptiml.synthesis import *
s = Synthesizer(PhotoPool({str(photo_folder)!r}), ObjectPool({str(object_folder)!r}))
r = [s.make(np.random.default_rng([5, i]), (96, 128)) for i in range(6)]
r += [s.make_authentic(np.random.default_rng([6, i])) for i in range(3)]
b = b"".join(x.image.tobytes() + x.mask.tobytes() + json.dumps(x.history).encode() for x in r)
print(hashlib.sha256(b).hexdigest())
"""
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == first


def test_the_encoded_file_holds_exactly_the_image(photos: PhotoPool) -> None:
    synthesizer = Synthesizer(photos)
    results = [synthesizer.make(np.random.default_rng(seed)) for seed in range(20)]
    encoded = [r for r in results if r.encoded is not None]
    assert 0 < len(encoded) < len(results)
    for result in encoded:
        assert result.encoded is not None
        assert np.array_equal(decode_jpeg(result.encoded), result.image)
        assert "jpeg" in result.history["after"][-1]


def test_authentic_images_share_the_history_and_have_empty_masks(photos: PhotoPool) -> None:
    results = [Synthesizer(photos).make_authentic(np.random.default_rng(seed), (96, 128)) for seed in range(20)]
    assert all(r.kind == "authentic" and not r.mask.any() and "edits" not in r.history for r in results)
    steps = {key for r in results for step in r.history["after"] for key in step}
    assert {"jpeg", "resize", "cut"} <= steps


def test_copies_do_not_overlap_their_originals(
    photos: PhotoPool, only: Callable[..., SynthesisConfig], untouched: dict[str, Any]
) -> None:
    rectangles = dict.fromkeys(("segment", "blob", "freehand", "polygon", "ellipse"), 0.0) | {"rectangle": 1.0}
    transform = {"rotate_probability": 0}
    config = only("copy-move", **untouched, shapes=rectangles, transform=transform, area=[0.08, 0.3])
    for seed in range(20):
        result = Synthesizer(photos, None, config).make(np.random.default_rng(seed))
        (edit,) = result.history["edits"]
        assert (edit["shape"], edit["rotation"]) == ("rectangle", 0)
        x0, y0, x1, y1 = edit["source_box"]
        assert (result.mask[y0:y1, x0:x1] == 255).mean() < 0.1  # corners of slightly rotated ones


def test_both_of_two_regions_are_labelled(
    photos: PhotoPool, only: Callable[..., SynthesisConfig], untouched: dict[str, Any]
) -> None:
    config = only("retouch", **untouched | {"second_region": 1, "area": [0.01, 0.3]})
    twice = 0
    for seed in range(12):
        result = Synthesizer(photos, None, config).make(np.random.default_rng(seed))
        changed = (result.image != host_of(result, photos)).any(axis=2)
        assert not (changed & (result.mask == 0)).any()
        twice += len(result.history["edits"]) == 2
    assert twice > 6


def test_objects_are_where_their_masks_are_in_a_host_that_was_cut(
    photos: PhotoPool, objects: ObjectPool, only: Callable[..., SynthesisConfig], untouched: dict[str, Any]
) -> None:
    """A host that was once compressed on another grid has lost its first rows and columns, and so have its labels."""
    compressed = {"probability": 1, "quality": [95, 95, 95]}
    post = untouched["postprocessing"] | {"host_jpeg": compressed, "misalign_probability": 1}
    config = only("retouch", **untouched | {"postprocessing": post, "object_hosts": 1})
    cut = 0
    for seed in range(12):
        result = Synthesizer(photos, objects, config).make(np.random.default_rng(seed))
        whole = next(objects.load(i) for i, p in enumerate(objects.photos) if p.id == result.history["host"])
        top, left = (a - b for a, b in zip(whole.labels.shape, result.mask.shape, strict=True))
        cut += bool(top or left)
        labels = whole.labels[top:, left:]
        assert any(np.array_equal(result.mask == 255, labels == instance.label) for instance in whole.instances)
    assert cut > 6


def test_splices_name_their_donor_which_is_never_the_host(
    photos: PhotoPool, only: Callable[..., SynthesisConfig]
) -> None:
    synthesizer = Synthesizer(photos, None, only("splice"))
    for seed in range(20):
        history = synthesizer.make(np.random.default_rng(seed), (96, 128)).history
        assert history["donors"]
        assert history["host"] not in history["donors"]


def test_a_splice_needs_a_second_photo(
    photo_folder: Path, objects: ObjectPool, only: Callable[..., SynthesisConfig]
) -> None:
    one = PhotoPool(photo_folder / "photo00.jpg")
    with pytest.raises(RecipeError, match="a splice needs a second photo or objects"):
        Synthesizer(one)
    assert Synthesizer(one, objects, only("splice")).make(np.random.default_rng(0)).kind == "splice"
    assert Synthesizer(one, None, only("copy-move")).make(np.random.default_rng(0)).kind == "copy-move"


def test_a_photo_that_cannot_be_manipulated_visibly_ends_with_an_explanation(
    tmp_path: Path, only: Callable[..., SynthesisConfig]
) -> None:
    from PIL import Image

    Image.new("RGB", (120, 90), (90, 90, 90)).save(tmp_path / "flat.png")
    with pytest.raises(RecipeError, match=r"no copy-move after 40 tries.*min_change"):
        Synthesizer(PhotoPool(tmp_path), None, only("copy-move")).make(np.random.default_rng(0))


def test_photos_too_small_for_the_size_end_with_an_explanation(photos: PhotoPool) -> None:
    with pytest.raises(RecipeError, match="a photo of 200x150 pixels is too small for images of"):
        Synthesizer(photos).make(np.random.default_rng(0), (1000, 1000))


def test_photos_with_broken_pixels_are_passed_over_and_named(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos", 4)
    whole = (folder / "photo01.jpg").read_bytes()
    (folder / "photo01.jpg").write_bytes(whole[: len(whole) // 2])
    pool = PhotoPool(folder)
    assert len(pool) == 4  # the header is sound
    synthesizer = Synthesizer(pool)
    for seed in range(20):
        result = synthesizer.make(np.random.default_rng(seed), (64, 96))
        assert "photo01" not in json.dumps(result.history)
    assert list(pool.failed) == [folder / "photo01.jpg"]


@pytest.mark.shared
def test_real_photographs_and_objects(shared_data: Path) -> None:
    photos = PhotoPool(shared_data / "photos" / "imagenet_sample")
    objects = ObjectPool([shared_data / "objects" / name for name in ("coco", "davis", "people")])
    synthesizer = Synthesizer(photos, objects)
    kinds = [synthesizer.make(np.random.default_rng(seed), (256, 384)).kind for seed in range(40)]
    assert set(kinds) == set(KINDS)
