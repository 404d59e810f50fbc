"""Parts of an image that are there twice are found, and what repeats by nature is not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boxpromptiml.copymove import Copy
from boxpromptiml.copymove.agreement import Agreement
from boxpromptiml.copymove.matching import Keypoints
from boxpromptiml.copymove.search import FINE_SIDE, MAX_SIDE, find_copies, is_copy, is_mirrored, is_shifted
from boxpromptiml.perturbations import jpeg

Pixels = NDArray[np.uint8]


# Fixtures of tests/conftest.py: `foliage` makes photos, `copy_move` copies a disc of one to another place.
Foliage = Callable[..., Pixels]
Forge = Callable[..., tuple[Pixels, NDArray[np.bool_], NDArray[np.bool_]]]
HERE, THERE, RADIUS = (90, 120), (231, 108), 38


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def agreement(copy: Copy, source: NDArray[np.bool_], pasted: NDArray[np.bool_]) -> float:
    """IoU of the worse part, whichever of the two came first."""
    first, second = copy.parts
    return max(
        min(iou(first, source), iou(second, pasted)),
        min(iou(first, pasted), iou(second, source)),
    )


@pytest.mark.parametrize(
    ("degrees", "scale"),
    [(0, 1.0), (40, 1.0), (180, 1.0), (0, 1.3), (-25, 0.8)],
    ids=["shifted", "turned", "upside down", "larger", "turned and smaller"],
)
def test_a_pasted_part_and_its_source_are_found(
    degrees: float, scale: float, foliage: Foliage, copy_move: Forge
) -> None:
    forged, source, pasted = copy_move(foliage(), HERE, THERE, RADIUS, degrees, scale)
    (copy,) = find_copies(forged)
    assert agreement(copy, source, pasted) > 0.8
    assert copy.similarity > 0.97
    assert copy.matches >= 10


@pytest.mark.parametrize("axis", [0, 1], ids=["upside down", "left to right"])
@pytest.mark.parametrize("quality", [95, 80])
def test_a_mirrored_copy_is_found(axis: int, quality: int, foliage: Foliage) -> None:
    forged, source, pasted = foliage(), np.zeros((240, 320), bool), np.zeros((240, 320), bool)
    source[70:150, 40:120] = pasted[90:170, 200:280] = True
    forged[90:170, 200:280] = np.flip(forged[70:150, 40:120], axis)

    (copy,) = find_copies(jpeg(forged, quality))

    assert agreement(copy, source, pasted) > 0.8
    expected = np.eye(2)
    expected[1 - axis, 1 - axis] = -1
    np.testing.assert_allclose(copy.matrix[:, :2], expected, atol=0.01)


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "leaning"])
def test_what_is_symmetric_is_no_copy(turned: bool, foliage: Foliage) -> None:
    """A face is the same on both sides, but not down to its grain."""
    half = foliage(240, 160).astype(np.float32)
    face = np.concatenate([half, half[:, ::-1]], axis=1)
    face += np.random.default_rng(3).normal(0, 9, face.shape)
    if turned:
        matrix = cv2.getRotationMatrix2D((160, 120), 12, 1)
        face = cv2.warpAffine(face, matrix, (320, 240), borderMode=cv2.BORDER_REFLECT)
    assert find_copies(np.clip(face, 0, 255).astype(np.uint8)) == ()


def test_the_matrix_leads_from_the_first_part_to_the_second(foliage: Foliage, copy_move: Forge) -> None:
    (copy,) = find_copies(copy_move(foliage(), HERE, THERE, RADIUS)[0])
    y, x = np.argwhere(copy.parts[0]).mean(axis=0)
    there = np.argwhere(copy.parts[1]).mean(axis=0)[::-1]
    np.testing.assert_allclose(copy.matrix @ [x, y, 1], there, atol=1)
    np.testing.assert_allclose(np.abs(copy.matrix[:, 2]), np.abs(np.subtract(THERE, HERE)), atol=0.5)


@pytest.mark.parametrize("ground", [255, 128])
@pytest.mark.parametrize(("x", "y"), [(140, 0), (200, 0), (0, 120), (280, 200), (330, 0)])
def test_plain_ground_belongs_to_no_copy(x: int, y: int, ground: int, foliage: Foliage) -> None:
    """Paper agrees with paper wherever it is moved to: a scan, a product shot or a screenshot is mostly that."""
    image = np.full((400, 512, 3), ground, np.uint8)
    pasted = np.zeros((400, 512), bool)
    for left, top in ((30, 50), (30 + x, 50 + y)):
        image[top : top + 90, left : left + 120] = foliage(90, 120, seed=1)
        pasted[top : top + 90, left : left + 120] = True

    (copy,) = find_copies(jpeg(image, 90))

    assert iou(copy.parts[0] | copy.parts[1], pasted) > 0.7  # a margin of half a window is nobody's


@pytest.mark.parametrize("part", [(slice(None), 100), (slice(0, 110), 140)], ids=["side to side", "corner to corner"])
def test_a_copy_from_one_border_to_the_other_is_found(part: tuple[slice, int], foliage: Foliage) -> None:
    """It is all that could agree, as it would be of a wall of tiles."""
    rows, width = part
    forged = foliage(240, 320)
    forged[::-1][rows, -width:] = forged[rows, :width]
    assert len(find_copies(jpeg(forged, 90))) == 1


@pytest.mark.parametrize(("degrees", "scale"), [(1, 1.0), (0, 1.02), (0, 1.0)])
def test_a_copy_that_was_hardly_turned_or_scaled_is_no_mere_shift(
    degrees: float, scale: float, foliage: Foliage, copy_move: Forge
) -> None:
    forged, source, pasted = copy_move(foliage(300, 400), (100, 140), (290, 150), 60, degrees, scale)
    (copy,) = find_copies(jpeg(forged, 90))
    assert agreement(copy, source, pasted) > 0.8


def test_what_was_pasted_twice_is_found(foliage: Foliage) -> None:
    forged, pasted = foliage(240, 400), np.zeros((240, 400), bool)
    for x, y in ((150, 90), (290, 20)):
        forged[y : y + 60, x : x + 60] = forged[120:180, 30:90]
        pasted[y : y + 60, x : x + 60] = True
    marked = np.any([part for copy in find_copies(jpeg(forged, 90)) for part in copy.parts], axis=0)
    assert marked[pasted].mean() > 0.9


def test_two_different_copies_are_both_found(foliage: Foliage, copy_move: Forge) -> None:
    once = copy_move(foliage(300, 400), (80, 80), (300, 90), 34)[0]
    twice = copy_move(once, (90, 220), (300, 230), 34, degrees=30)[0]
    assert len(find_copies(twice)) == 2


def test_of_many_copies_three_are_told_the_clearest_first(foliage: Foliage, copy_move: Forge) -> None:
    forged = foliage(480, 500)
    radii = 30, 44, 34, 38
    for row, radius in enumerate(radii):
        y = 60 + 120 * row
        forged = copy_move(forged, (100, y), (380, y + 7 * row), radius, degrees=15 * row)[0]

    copies = find_copies(forged)

    assert [copy.matches for copy in copies] == sorted((copy.matches for copy in copies), reverse=True)
    assert [round((copy.parts[0].sum() / np.pi) ** 0.5) for copy in copies] == pytest.approx([44, 38, 34], abs=4)


@pytest.mark.parametrize("quality", [95, 70, 50])
def test_a_copy_survives_compression(quality: int, foliage: Foliage, copy_move: Forge) -> None:
    forged, source, pasted = copy_move(foliage(), HERE, THERE, RADIUS)
    encoded = cv2.imencode(".jpg", forged, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    (copy,) = find_copies(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8))
    assert agreement(copy, source, pasted) > 0.6


def two_parts(side: int = 40, **facts: float) -> Agreement:
    """Two squares that are alike in every respect, but for what is said otherwise."""
    here, there = np.zeros((90, 90), bool), np.zeros((90, 90), bool)
    here[5 : 5 + side, 5 : 5 + side] = there[48 : 48 + side, 48 : 48 + side] = True
    told = {"similarity": 0.99, "difference": 10.0, "share": 0.9, "extent": 0.2, "grain": 0.9} | facts
    return Agreement(here, there, matches=int(told.pop("matches", 9)), **told)


@pytest.mark.parametrize("tells", [is_copy, is_mirrored, is_shifted])
def test_what_is_alike_in_every_respect_is_a_copy(tells: Callable[[Agreement], bool]) -> None:
    assert tells(two_parts())
    assert not tells(two_parts(grain=0.3)), "edges alone"
    assert not tells(two_parts(similarity=0.9))


def test_of_matched_keypoints_compression_may_have_changed_some() -> None:
    assert is_copy(two_parts(similarity=0.95))
    assert not is_copy(two_parts(difference=60)), "another window of the same house"
    assert is_copy(two_parts(difference=60), growth=2.5)
    assert not is_copy(two_parts(share=0.4, similarity=0.97)), "as much agrees elsewhere"
    assert not is_copy(two_parts(share=0.4, matches=5))
    assert is_copy(two_parts(share=0.4)), "dark places agree, too"
    assert not is_copy(two_parts(share=0.2))
    assert not is_copy(two_parts(matches=3))
    assert is_copy(two_parts(side=10))


def test_of_a_mirrored_part_more_is_asked() -> None:
    assert not is_mirrored(two_parts(similarity=0.975))
    assert not is_mirrored(two_parts(difference=28))
    assert not is_mirrored(two_parts(matches=3))


def test_without_keypoints_a_part_is_more_alike_larger_and_in_one_piece() -> None:
    assert is_shifted(two_parts(matches=0))
    assert not is_shifted(two_parts(similarity=0.975))
    assert not is_shifted(two_parts(share=0.55))
    assert not is_shifted(two_parts(side=25)), "too small to be sure"


def bullets() -> Pixels:
    page = np.full((300, 400, 3), 255, np.uint8)
    page[50:60, 200:210] = page[150:160, 300:310] = 0
    return page


def flow_chart() -> Pixels:
    page = np.full((300, 400, 3), 255, np.uint8)
    for x, y, word in ((40, 50, "start"), (220, 170, "end")):
        cv2.rectangle(page, (x, y), (x + 100, y + 50), (0, 0, 0), 2)
        cv2.putText(page, word, (x + 15, y + 30), 0, 0.7, (0, 0, 0))
    return page


def letterboxed() -> Pixels:
    page = np.zeros((300, 400, 3), np.uint8)
    coarse = np.random.default_rng(5).uniform(20, 230, (5, 8, 3)).astype(np.float32)
    page[60:240] = cv2.resize(coarse, (400, 180), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    return page


@pytest.mark.parametrize("make", [bullets, flow_chart, letterboxed])
def test_an_edge_that_is_like_another_one_is_no_copy(make: Callable[[], Pixels]) -> None:
    assert find_copies(jpeg(make(), 95)) == ()


def test_of_a_chessboard_no_more_keypoints_are_kept_than_of_a_photo() -> None:
    rows, columns = np.ogrid[:240, :320]
    board = np.where((rows // 3 + columns // 3) % 2, 255, 0).astype(np.uint8)
    assert len(Keypoints.of(board).points) <= 4000


def test_the_picture_says_which_part_was_pasted_in_large_photos_too(foliage: Foliage, copy_move: Forge) -> None:
    photo = foliage(900, 1200).astype(np.float32)
    photo[:, 600:] *= 0.5
    forged, _, pasted = copy_move(photo.astype(np.uint8), (300, 450), (850, 430), 150)
    (copy,) = find_copies(forged)
    small = cv2.resize(pasted.astype(np.uint8), copy.parts[0].shape[::-1]) > 0
    second_was_pasted = (copy.parts[1] & small).sum() > (copy.parts[0] & small).sum()
    assert (copy.direction if second_was_pasted else -copy.direction) > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_of_sand_is_found_without_any_keypoint(seed: int) -> None:
    sand = 128 + 8 * np.random.default_rng(seed).normal(size=(240, 320))
    pasted = np.zeros((240, 320), bool)
    sand[100:160, 200:270] = sand[40:100, 60:130]
    pasted[100:160, 200:270] = True
    grey = np.clip(np.rint(sand), 0, 255).astype(np.uint8)

    (copy,) = find_copies(jpeg(np.dstack([grey] * 3), 95))

    assert copy.matches == 0
    np.testing.assert_allclose(np.abs(copy.matrix[:, 2]), [140, 60], atol=0.5)
    assert max(iou(part, pasted) for part in copy.parts) > 0.8


def test_one_copy_is_one_find_whichever_movements_lead_to_it(foliage: Foliage) -> None:
    """What is the same upside down is led right by a shift, by half a turn and by a mirror."""
    forged = foliage(300, 420)
    medal = foliage(90, 90, seed=4)
    medal = np.rint((medal.astype(np.float64) + medal[::-1] + medal[:, ::-1] + medal[::-1, ::-1]) / 4)
    for top, left in ((40, 40), (150, 260)):
        forged[top : top + 90, left : left + 90] = medal
    (copy,) = find_copies(jpeg(forged, 95))
    assert sum(part[85, 85] or part[195, 305] for part in copy.parts) == 2


def test_a_copy_that_keypoints_tell_is_not_found_again_by_its_echo(foliage: Foliage, copy_move: Forge) -> None:
    (copy,) = find_copies(copy_move(foliage(), HERE, THERE, RADIUS)[0])
    assert copy.matches > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_faint_copy_is_found_after_compression(seed: int, foliage: Foliage, copy_move: Forge) -> None:
    """Little contrast, so that compression spoils the correlation; and little is left all the same."""
    faint = np.rint(110 + (foliage(seed=seed).astype(np.float64) - 110) * 0.3).astype(np.uint8)
    forged, source, pasted = copy_move(faint, HERE, THERE, 45)
    encoded = cv2.imencode(".jpg", forged, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    (copy,) = find_copies(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8))
    assert copy.similarity < 0.97
    assert agreement(copy, source, pasted) > 0.6


def test_large_images_are_searched_smaller(foliage: Foliage, copy_move: Forge) -> None:
    forged, source, pasted = copy_move(foliage(900, 1200), (300, 450), (850, 430), 150)
    (copy,) = find_copies(forged)
    assert copy.parts[0].shape == (MAX_SIDE * 3 // 4, MAX_SIDE)
    size = copy.parts[0].shape[::-1]
    small = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in (source, pasted)]
    assert agreement(copy, *small) > 0.8


def test_a_small_part_of_a_large_image_is_found_where_it_is_searched_larger(foliage: Foliage, copy_move: Forge) -> None:
    forged, source, pasted = copy_move(foliage(750, 1000, seed=2), (300, 450), (750, 430), 40)
    assert find_copies(forged) == ()
    (copy,) = find_copies(forged, max_side=FINE_SIDE)
    assert copy.parts[0].shape == (750, 1000)
    assert agreement(copy, source, pasted) > 0.7


@pytest.mark.parametrize("seed", range(4))
def test_an_untouched_image_has_no_copies(seed: int, foliage: Foliage) -> None:
    assert find_copies(foliage(seed=seed)) == ()


@pytest.mark.parametrize("cell", [17, 40])
def test_what_repeats_by_nature_is_no_copy(cell: int, foliage: Foliage) -> None:
    """Tiles look like every other tile, not like one; and they agree with their own neighbours."""
    tile = foliage(cell, cell)
    random = np.random.default_rng(1)
    wall = np.tile(tile, (240 // cell, 320 // cell, 1)).astype(np.float32)
    wall += random.normal(size=wall.shape) * 3
    assert find_copies(np.clip(wall, 0, 255).astype(np.uint8)) == ()


def test_the_same_image_gives_the_same_copies(foliage: Foliage, copy_move: Forge) -> None:
    forged = copy_move(foliage(), HERE, THERE, RADIUS, degrees=20, scale=1.1)[0]
    first, second = find_copies(forged), find_copies(forged)
    assert [copy.matches for copy in first] == [copy.matches for copy in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.parts, other.parts)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 70), width=st.integers(1, 70), level=st.integers(0, 255), noise=st.sampled_from([0, 1, 60])
)
def test_any_small_image_is_searched_without_a_complaint(height: int, width: int, level: int, noise: int) -> None:
    random = np.random.default_rng(level)
    pixels = np.clip(level + noise * random.normal(size=(height, width, 3)), 0, 255).astype(np.uint8)
    for copy in find_copies(pixels):
        assert all(part.shape == (height, width) for part in copy.parts)
