from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.synthesis import ObjectPool, PhotoPool
from boxpromptiml.synthesis.given import Given


def test_photos_have_ids_from_their_folder_on_and_come_once(photo_folder: Path) -> None:
    pool = PhotoPool([photo_folder, photo_folder / "photo03.jpg"])
    assert [photo.id for photo in pool.photos] == [f"photos/photo{i:02d}.jpg" for i in range(8)]
    assert pool.load(0).shape == (150, 200, 3)
    assert not pool.load(0).flags.writeable


def test_equal_names_in_two_folders_get_different_ids(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    folders = [make_photos(tmp_path / side / "photos", 2) for side in ("a", "b")]
    ids = [photo.id for photo in PhotoPool(folders).photos]
    assert ids == ["photos/photo00.jpg", "photos/photo01.jpg", "photos/photo00.jpg#2", "photos/photo01.jpg#2"]


def test_unusable_files_are_skipped_with_a_reason(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos", 2)
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (300, 20)).save(folder / "strip.png")
    pool = PhotoPool(folder)
    assert len(pool) == 2
    reasons = {skipped.path.name: skipped.reason for skipped in pool.skipped}
    assert set(reasons) == {"empty.jpg", "strip.png"}
    assert reasons["strip.png"] == "300x20 pixels, the shorter side must have at least 64"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.mkdir(), "no photographs there"),
        (lambda folder: None, "no such file or folder"),
        (lambda folder: (folder.mkdir(), (folder / "a.png").write_bytes(b"no image")), "none of 1 files is usable"),
    ],
)
def test_a_pool_without_photos_says_why(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "photos")
    with pytest.raises(BoxPromptError, match=message) as caught:
        PhotoPool(tmp_path / "photos")
    assert "\n" not in str(caught.value)


def test_large_photos_are_scaled_down_on_request(photo_folder: Path, object_folder: Path) -> None:
    pool = PhotoPool(photo_folder, max_side=100)
    assert (pool.photos[0].width, pool.photos[0].height) == (100, 75)
    assert pool.load(0).shape == (75, 100, 3)
    scaled = ObjectPool(object_folder, max_side=100, min_area=100).load(0)
    assert scaled.labels.shape == scaled.image.shape[:2] == (75, 100)
    assert {instance.label for instance in scaled.instances} == {1, 2}


def test_the_cache_is_bounded_and_stays_behind_when_pickled(photo_folder: Path) -> None:
    one = 150 * 200 * 3
    pool = PhotoPool(photo_folder, cache_bytes=3 * one)
    arrays = [pool.load(index) for index in range(8)]
    assert pool.load(7) is arrays[7]
    assert pool.load(0) is not arrays[0]
    assert np.array_equal(pool.load(0), arrays[0])
    assert len(pickle.dumps(pool)) < 5000


def test_objects_are_found_with_their_boxes(objects: ObjectPool) -> None:
    loaded = objects.load(0)
    assert [instance.label for instance in loaded.instances] == [1, 2]
    assert tuple(loaded.instances[0].box) == (40, 40, 81, 111)
    assert loaded.instances[0].area == np.count_nonzero(loaded.labels == 1)


def test_small_huge_and_scattered_objects_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "instances").mkdir()
    labels = np.full((150, 200), 1, np.uint8)
    labels[:10, :10] = 2
    labels[20:60, 20:60] = 3
    labels[70:90, 20:40] = labels[70:90, 150:170] = 4
    Image.new("RGB", (200, 150)).save(tmp_path / "images" / "a.png")
    Image.fromarray(labels).save(tmp_path / "instances" / "a.png")
    assert [instance.label for instance in ObjectPool(tmp_path).load(0).instances] == [3]


def test_object_folders_must_hold_pairs_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(BoxPromptError, match="no folder images/ in it"):
        ObjectPool(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "instances").mkdir()
    Image.new("RGB", (200, 150)).save(tmp_path / "images" / "alone.png")
    Image.new("RGB", (200, 150)).save(tmp_path / "images" / "unequal.png")
    Image.new("L", (100, 150)).save(tmp_path / "instances" / "unequal.png")
    with pytest.raises(BoxPromptError, match=r"none of 2 files is usable.*alone\.png: no instance mask"):
        ObjectPool(tmp_path)


def test_what_a_pool_holds_does_not_depend_on_where_it_lies(photo_folder: Path, tmp_path: Path) -> None:
    facts = PhotoPool(photo_folder).facts()
    assert facts["number"] == 8
    shutil.copytree(photo_folder, tmp_path / "photos")
    assert PhotoPool(tmp_path / "photos").facts() == facts
    Image.new("RGB", (200, 150)).save(tmp_path / "photos/photo00.jpg")
    assert PhotoPool(tmp_path / "photos").facts()["digest"] != facts["digest"]
    # Photographs that are no files of their own have names and sizes.
    read = (photo_folder / "photo00.jpg").read_bytes
    lent = Given("a.jpg", Path("store#a.jpg"), 200, 150, read)
    assert PhotoPool([lent]).facts() == PhotoPool([lent]).facts() != PhotoPool([lent._replace(width=190)]).facts()
