"""Copied parts, from the photo to the answer, with the packaged model: every way to an answer gives the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml import Localizer
from boxpromptiml.bulk.containers import InputImage
from boxpromptiml.bulk.operator import Operator
from boxpromptiml.copymove import Copy
from boxpromptiml.copymove.search import FINE_SIDE, find_copies
from boxpromptiml.errors import ModelError
from boxpromptiml.evaluation.run import evaluate
from boxpromptiml.preprocessing import resize_nearest
from boxpromptiml.regions import Box, box_iou, mask_box
from boxpromptiml.runtime import Localization
from boxpromptiml.runtime.marking import SCORE
from boxpromptiml.runtime.result import LocalizedCopy
from boxpromptiml.web.answers import look_at

# Larger than what is searched: boxes and matrix come back in the photo's own pixels.
SIZE, HERE, THERE, RADIUS = (900, 1200), (300, 450), (850, 430), 150


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer.load("default", threads=1)


@pytest.fixture(scope="module")
def forged(
    foliage: Callable[..., NDArray[np.uint8]], copy_move: Callable[..., tuple[NDArray[np.uint8], ...]]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    image, source, pasted = copy_move(foliage(*SIZE), HERE, THERE, RADIUS)
    return image, source.astype(bool), pasted.astype(bool)


@pytest.fixture(scope="module")
def photo(forged: tuple[NDArray[np.uint8], ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forged") / "photo.png"
    Image.fromarray(forged[0]).save(path)
    return path


def test_both_parts_are_told_in_the_photos_own_pixels(
    localizer: Localizer, photo: Path, forged: tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
) -> None:
    found = localizer.localize(photo)
    (copy,) = found.copies
    boxes = sorted(copy.boxes)
    for box, mask in zip(boxes, forged[1:], strict=True):  # the source is on the left
        truth = mask_box(mask)
        assert truth is not None
        assert box_iou(box, truth) > 0.85
    first, second = (np.array([(b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2]) for b in copy.boxes)
    np.testing.assert_allclose(np.array(copy.matrix) @ [*first, 1], second, atol=6)
    assert found.verdict == "tampered"
    assert found.score >= SCORE
    (said,) = found.to_json()["copies"]
    assert [Box(*box) for box in said["boxes"]] == list(copy.boxes)
    assert said["pasted"] == copy.pasted


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (180, 1), (90, 1), (40, 0.8)])
def test_the_matrix_is_exact_to_a_fraction_of_the_photos_pixels(
    localizer: Localizer,
    foliage: Callable[..., NDArray[np.uint8]],
    copy_move: Callable[..., tuple[NDArray[np.uint8], ...]],
    degrees: float,
    scale: float,
) -> None:
    image, *_ = copy_move(foliage(*SIZE), HERE, THERE, RADIUS, degrees=degrees, scale=scale)
    (copy,) = localizer.localize(image).copies
    found = np.array(copy.matrix)
    if copy.boxes[0].x0 > copy.boxes[1].x0:  # it may as well be told from the right to the left
        found = cv2.invertAffineTransform(found)
    np.testing.assert_allclose(found @ [*HERE, 1], THERE, atol=0.3)


def test_what_was_pasted_is_in_the_mask(
    localizer: Localizer, photo: Path, forged: tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
) -> None:
    _, source, pasted = forged
    found = localizer.localize(photo)
    marked = [float(found.mask[part].mean()) for part in (source, pasted)]
    (copy,) = found.copies
    sides = [int(copy.boxes[0].x0 > SIZE[1] // 2), int(copy.boxes[1].x0 > SIZE[1] // 2)]  # 0 source, 1 pasted
    for index, side in enumerate(sides):
        assert (marked[side] > 0.9) == (copy.pasted in (None, index))


def test_without_copies_it_is_the_student_alone(localizer: Localizer, photo: Path) -> None:
    alone = Localizer.load("default", threads=1, copies=False)
    found = alone.localize(photo)
    assert found.copies == []
    assert "copies" not in found.to_json()
    assert found.model != localizer.model_id


def test_an_authentic_photo_is_answered_as_the_student_does(
    localizer: Localizer, foliage: Callable[..., NDArray[np.uint8]]
) -> None:
    image = foliage(seed=5)
    with_copies, alone = localizer.localize(image), Localizer.load("default", threads=1, copies=False).localize(image)
    np.testing.assert_array_equal(with_copies.map, alone.map)
    assert with_copies.score == alone.score


@pytest.fixture(scope="module")
def small(
    foliage: Callable[..., NDArray[np.uint8]],
    copy_move: Callable[..., tuple[NDArray[np.uint8], ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[Box]]:
    """A photo with a small copy, and the boxes of its parts from left to right."""
    image, *parts = copy_move(foliage(900, 1200, seed=2), (300, 450), (850, 430), 32)
    path = tmp_path_factory.mktemp("small") / "photo.png"
    Image.fromarray(image).save(path)
    boxes = [mask_box(part.astype(bool)) for part in parts]
    return path, [box for box in boxes if box is not None]


def test_looking_closer_finds_smaller_copies(localizer: Localizer, small: tuple[Path, list[Box]]) -> None:
    photo, boxes = small
    assert localizer.localize(photo).copies == []
    found = localizer.localize(photo, detail=True)
    (copy,) = found.copies
    for box, truth in zip(sorted(copy.boxes), boxes, strict=True):
        assert box_iou(box, truth) > 0.8
    assert found.score >= SCORE


def test_looking_closer_keeps_what_is_found_without(localizer: Localizer, photo: Path) -> None:
    plain, closer = (localizer.localize(photo, detail=detail).copies for detail in (False, True))
    assert [copy.boxes for copy in plain] == [copy.boxes for copy in closer]


def test_a_photo_that_was_searched_at_its_own_size_is_not_searched_again(
    localizer: Localizer, foliage: Callable[..., NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[tuple[object, ...]] = []
    search = find_copies

    def counted(pixels: NDArray[np.uint8], *how: Any) -> tuple[Copy, ...]:
        sides.append(how[1:])
        return search(pixels, *how)

    monkeypatch.setattr("boxpromptiml.copymove.search.find_copies", counted)
    localizer.feed(foliage(384, 512), detail=True)
    assert sides == [()]
    localizer.feed(foliage(400, 520), detail=True)
    assert sides == [(), (), (FINE_SIDE,)]


def _in_bulk(localizer: Localizer, photo: Path, *, detail: bool) -> Localization:
    found: list[Localization] = []
    operator = Operator(localizer, detail=detail)
    list(operator.run([InputImage(str(photo), photo.name)], lambda image, item, answer: found.append(answer)))  # type: ignore[arg-type, func-returns-value]
    return found[0]


def _on_the_page(localizer: Localizer, photo: Path, *, detail: bool) -> Localization:
    data = photo.read_bytes()
    answer, found = look_at(localizer, data, str(photo), threshold=None, max_pixels=10**8, detail=detail)
    again = answer.at(localizer, None)
    assert again.to_json()["copies"] == found.to_json()["copies"]
    return again


def _as_an_array(localizer: Localizer, photo: Path, *, detail: bool) -> Localization:
    return localizer.localize(np.asarray(Image.open(photo)), detail=detail)


@pytest.mark.parametrize("detail", [False, True])
@pytest.mark.parametrize("ask", [_in_bulk, _on_the_page, _as_an_array])
def test_every_way_gives_the_same(
    ask: Callable[..., Localization],
    detail: bool,
    localizer: Localizer,
    photo: Path,
    small: tuple[Path, list[Box]],
) -> None:
    asked = small[0] if detail else photo
    expected, found = localizer.localize(asked, detail=detail), ask(localizer, asked, detail=detail)
    assert len(expected.copies) == 1
    names: dict[str, Any] = {"seconds": 0, "image": "", "sha256": ""}  # an array has neither name nor digest
    assert found.to_json() | names == expected.to_json() | names
    np.testing.assert_array_equal(found.map, expected.map)


@pytest.mark.parametrize("passes", [{"tta": True}, {"detail": True}])
def test_further_looks_keep_the_copies_and_what_they_say_of_the_rest(
    passes: dict[str, bool],
    localizer: Localizer,
    photo: Path,
    forged: tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]],
) -> None:
    found = localizer.localize(photo, **passes)  # type: ignore[arg-type]
    alone = Localizer.load("default", threads=1, copies=False).localize(photo, **passes)  # type: ignore[arg-type]
    (copy,) = found.copies
    assert found.score >= SCORE
    _, source, pasted = forged
    far = ~(resize_nearest(source | pasted, *found.map.shape) | cells_of(copy, found.map.shape))
    odds = [map_[far] / (1 - map_[far]) for map_ in (found.map, alone.map)]
    np.testing.assert_allclose(odds[0], odds[1] / np.exp(3), rtol=1e-2)


def cells_of(copy: LocalizedCopy, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Cells of a map that the boxes of a copy touch."""
    cells = np.zeros(SIZE, bool)
    for box in copy.boxes:
        cells[max(0, box.y0 - 4) : box.y1 + 4, max(0, box.x0 - 4) : box.x1 + 4] = True
    return resize_nearest(cells, *shape)


def test_an_evaluation_scores_with_them(
    localizer: Localizer,
    photo: Path,
    forged: tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]],
    foliage: Callable[..., NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    for folder in ("Tp", "Gt", "Au"):
        (tmp_path / folder).mkdir()
    Image.fromarray(forged[0]).save(tmp_path / "Tp" / "photo.png")
    Image.fromarray(forged[2]).save(tmp_path / "Gt" / "photo.png")
    Image.fromarray(foliage(seed=5)).save(tmp_path / "Au" / "other.png")
    with_copies, alone = (
        evaluate(found, tmp_path).figures for found in (localizer, Localizer.load("default", threads=1, copies=False))
    )
    assert with_copies.pixel.f1 > max(0.6, alone.pixel.f1)
    assert with_copies.image.auc == 1


def test_a_model_that_sees_shrunk_images_cannot_look_for_them(red_model: Path) -> None:
    with pytest.raises(ModelError, match=r"at their own size \(fit: native\)"):
        Localizer.load(red_model, copies=True)
