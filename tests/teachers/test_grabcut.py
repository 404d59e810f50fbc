"""GrabCut with little context, a core and a tightness prior; copy-moves by their source."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("cv2")

from boxpromptiml.errors import TeacherError
from boxpromptiml.images import open_image, open_mask
from boxpromptiml.regions import Box, boxes_from_mask, loosened, mask_box
from boxpromptiml.teachers import load_teacher, union_of_masks
from boxpromptiml.teachers.duplicates import find_duplicate
from boxpromptiml.teachers.grabcut import GrabCutTeacher

Scene = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured blobs without a repeat."""
    import cv2

    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return (128 + smooth / smooth.std() * 45).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("loosen", [0.0, 0.05, 0.2])
def test_finds_the_object_in_a_loose_box(scene: Scene, loosen: float) -> None:
    image, truth = scene
    tight = mask_box(truth)
    assert tight is not None
    box = loosened(tight, loosen, 150, 90)
    (mask,) = load_teacher("grabcut").masks(image, [box])
    assert mask.probability.dtype == np.float32
    assert mask.probability.shape == truth.shape
    assert mask.probability.min() >= 0.0
    assert mask.probability.max() <= 1.0
    assert iou(mask.probability > 0.5, truth) > 0.95
    assert mask.quality is not None
    assert mask.quality > 0.9


def test_nothing_outside_the_box(scene: Scene) -> None:
    image, _ = scene
    box = Box(60, 30, 100, 60)
    (mask,) = load_teacher("grabcut").masks(image, [box])
    outside = mask.probability.copy()
    outside[box.slices] = 0.0
    assert outside.max() == 0.0


def test_same_answer_whatever_was_asked_before_and_by_whom(scene: Scene) -> None:
    image, _ = scene
    boxes = [Box(40, 15, 100, 75), Box(10, 10, 60, 60), Box(90, 40, 150, 90)]
    teacher = load_teacher("grabcut")
    first = teacher.masks(image, boxes)
    with ThreadPoolExecutor(3) as pool:
        others = list(pool.map(lambda box: load_teacher("grabcut").masks(image, [box])[0], reversed(boxes)))
    for a, b in zip(first, reversed(others), strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
        assert a.quality == b.quality


@pytest.mark.parametrize(
    "box",
    [
        Box(0, 0, 150, 90),  # the whole image: no surroundings
        Box(0, 0, 1, 1),
        Box(149, 89, 150, 90),
        Box(0, 40, 150, 42),
        Box(70, 0, 73, 90),
    ],
)
def test_any_box_gets_an_answer(scene: Scene, box: Box) -> None:
    image, _ = scene
    (mask,) = load_teacher("grabcut").masks(image, [box])
    assert np.isfinite(mask.probability).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 200)])
def test_any_image_gets_an_answer(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), dtype=np.uint8)
    (mask,) = load_teacher("grabcut").masks(image, [Box(0, 0, size[1], size[0])])
    assert mask.probability.shape == size


def test_does_not_collapse_where_inside_and_outside_look_alike() -> None:
    """Plain GrabCut returns nothing here: the colours of the box are those of its surroundings."""
    image = texture(200, 300)
    box = Box(100, 60, 200, 140)
    (mask,) = load_teacher("grabcut", duplicates=False).masks(image, [box])
    assert (mask.probability > 0.5).sum() > 0.3 * box.area


def test_large_photograph_is_worked_on_at_a_bounded_size() -> None:
    y, x = np.mgrid[:1500, :2000]
    disc = np.hypot(y - 700, x - 900) < 400
    image = np.where(disc[..., None], [200, 60, 60], [40, 90, 160]).astype(np.uint8)
    image += np.random.default_rng(0).integers(0, 20, image.shape, dtype=np.uint8)
    tight = mask_box(disc)
    assert tight is not None
    (mask,) = load_teacher("grabcut").masks(image, [loosened(tight, 0.05, 2000, 1500)])
    assert mask.probability.shape == (1500, 2000)
    assert iou(mask.probability > 0.5, disc) > 0.97


def copy_move(offset: tuple[int, int] = (-90, -40)) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A disc of a texture, copied within it."""
    image = texture(220, 320, seed=3)
    y, x = np.mgrid[:220, :320]
    region = np.hypot(y - 140, x - 210) < 45
    source = np.roll(image, (-offset[1], -offset[0]), (0, 1))
    image = np.where(region[..., None], source, image)
    return image.astype(np.uint8), region


def test_copy_move_is_found_by_its_source() -> None:
    image, region = copy_move()
    noisy = (image + np.random.default_rng(1).normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)
    tight = mask_box(region)
    assert tight is not None
    box = loosened(tight, 0.05, 320, 220)
    twin = find_duplicate(noisy, box)
    assert twin is not None
    assert twin.offset == (-90, -40)
    assert iou(twin.mask, region) > 0.9
    (mask,) = load_teacher("grabcut").masks(noisy, [box])
    assert iou(mask.probability > 0.5, region) > 0.9
    assert mask.quality == pytest.approx(twin.score)


@pytest.mark.parametrize("box", [Box(100, 60, 200, 140), Box(0, 0, 320, 220), Box(3, 3, 12, 12)])
def test_no_duplicate_where_nothing_was_copied(box: Box) -> None:
    assert find_duplicate(texture(220, 320, seed=5), box) is None


def test_stripes_are_no_copy_of_themselves() -> None:
    stripes = np.repeat((np.arange(320) // 8 % 2 * 200)[None], 220, axis=0)
    assert find_duplicate(np.repeat(stripes[..., None], 3, axis=2).astype(np.uint8), Box(60, 60, 260, 180)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": -1}, "context = -1 is out of range"),
        ({"cores": ()}, "cores"),
        ({"cores": 0.3}, "cores = 0.3 is of the wrong type"),
        ({"iterations": "many"}, "iterations = many is of the wrong type"),
        ({"iteration": 3}, "did you mean iterations"),
        ({"weights": "x"}, "has no weights"),
    ],
)
def test_bad_settings_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TeacherError, match=message) as caught:
        load_teacher("grabcut", **options)
    assert "\n" not in str(caught.value)


def test_settings_are_json_values() -> None:
    import json

    settings = GrabCutTeacher(cores=[0.3]).settings
    assert json.loads(json.dumps(settings)) == settings
    assert settings["cores"] == [0.3]


@pytest.mark.shared
@pytest.mark.slow
def test_casia_quality(shared_data: Path) -> None:
    """Every tenth CASIA v1 training image, boxes loosened by 5 %; all 460 give .86 / .78 (docs/teachers.md)."""
    folder = shared_data / "casia1" / "train"
    if not folder.is_dir():
        pytest.skip(f"no CASIA v1 at {folder}")
    teacher = load_teacher("grabcut")
    f1s, ious = [], []
    for path in sorted((folder / "Tp").iterdir())[::10]:
        image, truth = open_image(path), open_mask(folder / "Gt" / f"{path.stem}.png") > 127
        height, width = truth.shape
        boxes = [loosened(box, 0.05, width, height) for box in boxes_from_mask(truth)]
        found = union_of_masks(teacher.masks(image, boxes), height, width) > 0.5
        ious.append(iou(found, truth))
        f1s.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert np.mean(f1s) >= 0.81
    assert np.mean(ious) >= 0.71
