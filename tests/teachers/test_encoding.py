"""Encode once, decode many times: the same masks as in one go, on any grid, with and without points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

cv2 = pytest.importorskip("cv2")

from boxpromptiml.errors import TeacherError  # noqa: E402
from boxpromptiml.regions import Box  # noqa: E402
from boxpromptiml.teachers import Point, Teacher, load_teacher, takes_points  # noqa: E402

Scene = tuple[NDArray[np.uint8], NDArray[np.bool_]]
BOXES = [Box(40, 15, 100, 75), Box(10, 10, 60, 60), Box(0, 0, 150, 90)]
POINTS = [Point(70, 45, True, 0), Point(45, 20, False, 0), Point(12, 12, False, 1), Point(140, 80, False, 2)]
TEACHERS = ["box", "grabcut", "sam:sam", "sam:sam_hq", "sam:sam2", "sam:edgetam"]


@pytest.fixture(params=TEACHERS)
def teacher(request: pytest.FixtureRequest) -> Teacher:
    """Every teacher in turn, the Segment Anything families as tiny random models."""
    name, _, family = request.param.partition(":")
    if not family:
        return load_teacher(name)
    folder = request.getfixturevalue("sam_folder")(family)
    return load_teacher("sam", weights=str(folder), device="cpu")


def same(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
        assert a.quality == b.quality


def test_in_two_steps_as_in_one(teacher: Teacher, scene: Scene) -> None:
    """Bit for bit, whatever the encoding was asked before."""
    image, _ = scene
    encoding = teacher.encode(image)
    assert encoding.size == (90, 150)
    points = POINTS if teacher.points else []
    together, clicked = teacher.masks(image, BOXES), teacher.masks(image, BOXES, points)
    teacher.decode(encoding, BOXES[:1], side=40, draft=True)
    same(teacher.decode(encoding, BOXES), together)
    same(teacher.decode(encoding, BOXES, points), clicked)
    same(teacher.decode(encoding, BOXES), together)
    assert teacher.decode(encoding, []) == []


def test_points_are_of_their_box_alone(teacher: Teacher, scene: Scene) -> None:
    """A click at one box leaves the masks of the others as they are."""
    image, _ = scene
    encoding = teacher.encode(image)
    plain = teacher.decode(encoding, BOXES)
    if not teacher.points:
        with pytest.raises(TeacherError, match="takes boxes only, no points"):
            teacher.decode(encoding, BOXES, POINTS)
        return
    clicked = teacher.decode(encoding, BOXES, [Point(15, 15, False, 1), Point(20, 50, True, 1)])
    for index, (before, after) in enumerate(zip(plain, clicked, strict=True)):
        unchanged = np.allclose(before.probability, after.probability, atol=1e-5)
        assert unchanged == (index != 1)


def test_size_of_an_encoding(teacher: Teacher, scene: Scene) -> None:
    image, _ = scene
    encoding = teacher.encode(image)
    if teacher.name == "box":
        assert encoding.nbytes == 0
    else:
        assert encoding.nbytes >= (image.nbytes if teacher.name == "grabcut" else 32 * 8 * 8 * 4)


@pytest.mark.parametrize("side", [1024, 150, 64, 20])
def test_on_a_smaller_grid(teacher: Teacher, scene: Scene, side: int) -> None:
    """The same masks, up to resizing."""
    image, _ = scene
    encoding = teacher.encode(image)
    height, width = (90, 150) if side >= 150 else (round(90 * side / 150), side)
    for small, mask in zip(teacher.decode(encoding, BOXES, side=side), teacher.decode(encoding, BOXES), strict=True):
        assert small.probability.shape == (height, width)
        assert small.probability.dtype == np.float32
        assert small.quality == mask.quality
        resized = cv2.resize(mask.probability, (width, height), interpolation=cv2.INTER_AREA)
        assert np.abs(small.probability - resized).mean() < 0.03


def test_images_of_another_kind_are_refused(teacher: Teacher) -> None:
    with pytest.raises(TeacherError, match="uint8 image"):
        teacher.encode(np.zeros((20, 30), dtype=np.uint8))


@pytest.mark.parametrize("name", ["box", "grabcut", "sam"])
def test_what_is_told_of_points_without_loading_holds(name: str, sam_folder: Callable[[str], Path]) -> None:
    weights = str(sam_folder("sam")) if name == "sam" else None
    assert load_teacher(name, weights=weights).points == takes_points(name)


def test_sam_points_as_the_processor_feeds_them(family_folder: Path, scene: Scene) -> None:
    """Same masks as processor -> full model call -> post-processing with boxes and points."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForMaskGeneration, AutoProcessor

    image, _ = scene
    points = [Point(70, 45, True, 0), Point(45, 20, False, 0)]
    (mask,) = load_teacher("sam", weights=str(family_folder), device="cpu").masks(image, BOXES[:1], points)
    model = AutoModelForMaskGeneration.from_pretrained(family_folder).eval()
    processor = AutoProcessor.from_pretrained(family_folder)
    inputs = processor(
        images=image,
        input_boxes=[[[float(v) for v in BOXES[0]]]],
        input_points=[[[[float(p.x), float(p.y)] for p in points]]],
        input_labels=[[[int(p.positive) for p in points]]],
        return_tensors="pt",
    )
    prompts = {name: inputs[f"input_{name}"] for name in ("boxes", "points", "labels")}
    with torch.inference_mode():
        output = model(
            pixel_values=inputs["pixel_values"],
            input_boxes=prompts["boxes"].float(),
            input_points=prompts["points"].float(),
            input_labels=prompts["labels"],
            multimask_output=True,
        )
    sizes = [inputs["original_sizes"], *([inputs["reshaped_input_sizes"]] if "reshaped_input_sizes" in inputs else [])]
    reference = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0].sigmoid().numpy()
    assert min(np.abs(mask.probability - candidate).max() for candidate in reference[0]) < 1e-4


def test_grabcut_honours_points(scene: Scene) -> None:
    """A second object in the box: a click takes it out, another one takes it in again."""
    image, disc = scene
    image = image.copy()
    other = np.zeros_like(disc)
    other[20:70, 105:135] = True
    image[other] = image[45, 70]
    box = Box(38, 12, 142, 78)
    teacher = load_teacher("grabcut", duplicates=False)
    without = teacher.masks(image, [box], [Point(120, 45, False), Point(70, 45, True)])[0].probability > 0.5
    assert not without[40:50, 117:123].any()
    assert without[40:50, 66:74].all()
    within = teacher.masks(image, [box], [Point(120, 45, True)])[0].probability > 0.5
    assert within[40:50, 117:123].all()


def test_a_negative_point_beats_the_core(scene: Scene) -> None:
    image, _ = scene
    box = Box(40, 15, 100, 75)
    teacher = load_teacher("grabcut")
    assert teacher.masks(image, [box])[0].probability[45, 70] > 0.9
    assert teacher.masks(image, [box], [Point(70, 45, False)])[0].probability[45, 70] < 0.1


def test_grabcut_refuses_what_it_cannot_honour(scene: Scene) -> None:
    image, _ = scene
    with pytest.raises(TeacherError, match=r"the positive point \(5, 5\) is outside its box .* enlarge the box"):
        load_teacher("grabcut").masks(image, BOXES[:1], [Point(5, 5, True)])
    # Outside of a box everything is background already.
    same(
        load_teacher("grabcut").masks(image, BOXES[:1], [Point(5, 5, False)]),
        load_teacher("grabcut").masks(image, BOXES[:1]),
    )


def test_a_copy_move_that_contradicts_a_click_is_not_taken() -> None:
    rng = np.random.default_rng(3)
    image = (128 + cv2.GaussianBlur(rng.normal(0, 1, (220, 320, 3)), (0, 0), 2.0) * 300).clip(0, 255).astype(np.uint8)
    image[100:180, 170:250] = image[60:140, 80:160]
    box = Box(168, 98, 252, 182)
    teacher = load_teacher("grabcut")
    found = teacher.masks(image, [box])[0]
    assert (found.probability[100:180, 170:250] > 0.5).mean() > 0.85
    same(teacher.masks(image, [box], [Point(210, 140, True)]), [found])
    denied = teacher.masks(image, [box], [Point(175, 105, False)])[0]
    assert denied.probability[105, 175] < 0.5


def test_a_draft_is_near_the_exact_mask(scene: Scene) -> None:
    image, _ = scene
    large = cv2.resize(image, (1500, 900), interpolation=cv2.INTER_CUBIC)
    teacher = load_teacher("grabcut")
    assert teacher.drafts
    encoding = teacher.encode(large)
    box = Box(430, 180, 970, 720)
    exact, draft = (teacher.decode(encoding, [box], draft=rough)[0].probability > 0.5 for rough in (False, True))
    assert (exact & draft).sum() / (exact | draft).sum() > 0.95
