from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from boxpromptiml.errors import RecipeError
from boxpromptiml.files import sha256_of
from boxpromptiml.synthesis import ObjectPool, PhotoPool
from boxpromptiml.synthesis.sides import parse_fractions, side_of, split_sources


def test_no_photograph_is_on_two_sides_even_under_another_name(
    make_photos: Callable[..., Path], object_folder: Path, tmp_path: Path
) -> None:
    folder = make_photos(tmp_path / "photos", 10)
    shutil.copy(folder / "photo00.jpg", folder / "copy.jpg")
    shutil.copy(object_folder / "images" / "101.jpg", folder / "of_an_object.jpg")
    sides = split_sources(PhotoPool(folder), ObjectPool(object_folder), {"val": 0.2, "test": 0.3}, seed=1)
    contents = [
        {sha256_of(p.path) for p in (*side.photos.photos, *(side.objects.photos if side.objects else ()))}
        for side in sides
    ]
    assert [side.name for side in sides] == ["train", "val", "test"]
    assert sum(len(side.photos) for side in sides) == 12
    assert len(set.union(*contents)) == sum(len(one) for one in contents)


def test_shares_are_kept_and_the_seed_decides(photos: PhotoPool) -> None:
    def test_ids(seed: int) -> list[str]:
        return [p.id for p in split_sources(photos, None, {"test": 0.25}, seed)[1].photos.photos]

    assert len(test_ids(0)) == 2
    assert test_ids(0) == test_ids(0)
    assert len({tuple(test_ids(seed)) for seed in range(6)}) > 1


def test_images_are_spread_over_the_sides_whatever_their_number(photos: PhotoPool) -> None:
    sides = split_sources(photos, None, {"val": 0.1, "test": 0.2}, 0)
    for number in (50, 500):
        counts = Counter(side_of(i, sides) for i in range(number))
        assert counts[0] == pytest.approx(0.7 * number, abs=3)
        assert counts[1] == pytest.approx(0.1 * number, abs=3)


def test_too_few_photos_are_refused(photo_folder: Path) -> None:
    with pytest.raises(RecipeError, match="2 photos cannot be split into 3 sides"):
        split_sources(
            PhotoPool([photo_folder / "photo00.jpg", photo_folder / "photo01.jpg"]), None, {"val": 0.1, "test": 0.1}, 0
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("val=0.1,test=0.2", {"val": 0.1, "test": 0.2}), (" test = .5 ", {"test": 0.5})],
)
def test_fractions_are_read(text: str, expected: dict[str, float]) -> None:
    assert parse_fractions(text) == expected


@pytest.mark.parametrize("text", ["", "val", "val=x", "dev=0.1", "val=0", "val=1", "val=0.5,test=0.5", "val=.1,val=.1"])
def test_bad_fractions_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--split-by-source"):
        parse_fractions(text)
