"""Tiles at a photo's own size, blended without seams."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.preprocessing import Fed, PreprocessingSpec
from boxpromptiml.regions import Box, box_iou
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.tiling import Side, detail_map, plan_tiles
from boxpromptiml.scaling import AdaptiveThreshold, Scaling

SPEC = PreprocessingSpec(height=64, width=96)
NATIVE = PreprocessingSpec(fit="native", height=64, width=96, max_side=256)
Map = NDArray[np.float32]


@given(st.integers(1, 3000), st.integers(32, 300))
def test_tiles_cover_a_side_and_overlap(size: int, tile: int) -> None:
    side = Side.cut(size, tile)

    assert side.starts[0] == 0
    assert side.starts[-1] + side.used >= size
    assert all(start % 8 == 0 for start in side.starts)
    steps = np.diff(side.starts)
    assert (steps > 0).all()
    assert (steps <= 0.75 * side.used + 8).all()  # rounded to whole blocks


@given(st.integers(1, 3000), st.integers(32, 300), st.sampled_from([1, 2, 4]))
def test_weights_sum_to_one_everywhere(size: int, tile: int, cell: int) -> None:
    side = Side.cut(size, tile)
    total = np.zeros((side.starts[-1] + side.used) // cell)
    for start, weights in zip(side.starts, side.weights(cell), strict=True):
        total[start // cell :][: len(weights)] += weights

    np.testing.assert_allclose(total, 1)


@pytest.mark.parametrize(
    ("spec", "size", "grid"),
    [
        (SPEC, (96, 64), None),  # seen as it is
        (SPEC, (60, 40), None),  # enlarged
        (SPEC, (97, 64), (64, 97)),
        (SPEC, (200, 130), (65, 100)),  # cells of 2 x 2 pixels
        (SPEC, (400, 300), (75, 100)),  # cells of 4 x 4
        (SPEC, (401, 301), (76, 101)),
        (SPEC, (20, 400), (400, 20)),  # narrower than the network's input: not coarser on either side
        (NATIVE, (256, 200), None),
        (NATIVE, (300, 200), (200, 300)),
        (NATIVE, (1024, 768), (192, 256)),
    ],
)
def test_when_and_how_finely_a_photo_is_cut(
    spec: PreprocessingSpec, size: tuple[int, int], grid: tuple[int, int] | None
) -> None:
    tiling = plan_tiles(*size, spec)
    assert (tiling and tiling.grid) == grid


@pytest.mark.parametrize("limit", [1, 7, 100, 500])
def test_the_number_of_tiles_is_limited(limit: int) -> None:
    free, limited = plan_tiles(3000, 2000, SPEC), plan_tiles(3000, 2000, SPEC, limit)

    assert free is not None
    assert limited is not None
    assert (free.across.size, free.down.size) == (3000, 2000)
    assert free.tiles > 500
    assert limit / 3 <= limited.tiles <= limit
    assert limited.across.size / limited.down.size == pytest.approx(1.5, abs=0.05)


def test_a_usual_photo_is_cut_at_its_own_size() -> None:
    tiling = plan_tiles(8160, 6128, PreprocessingSpec())
    assert tiling is not None
    assert (tiling.across.size, tiling.tiles) == (8160, 1813)


def opinionated(fed: Sequence[Fed]) -> list[Map]:
    """A network that is the surer the further to the right and the bottom of a tile: the worst case for seams."""
    maps = []
    for item in fed:
        y, x = np.mgrid[0 : item.rows, 0 : item.columns]
        maps.append(((x / item.columns + y / item.rows) / 2).astype(np.float32))
    return maps


def constant(fed: Sequence[Fed]) -> list[Map]:
    return [np.full((item.rows, item.columns), 0.3, np.float32) for item in fed]


def brightness(fed: Sequence[Fed]) -> list[Map]:
    """A network that looks at single pixels."""
    return [item.pixels[0, : item.rows, : item.columns].astype(np.float32) / 255 for item in fed]


def blended(
    picture: Image.Image, run: Callable[[Sequence[Fed]], list[Map]], spec: PreprocessingSpec = SPEC, most: int = 4096
) -> Map:
    tiling = plan_tiles(*picture.size, spec, most)
    assert tiling is not None
    values = detail_map(picture, np.zeros(spec.grid(*picture.size), np.float32), tiling, run)
    assert values.shape == tiling.grid
    assert values.dtype == np.float32
    return values


SIZES = [(400, 300), (401, 303), (97, 64), (1000, 70), (30, 500), (555, 444)]


@pytest.mark.parametrize("size", SIZES)
def test_what_all_tiles_agree_on_stays(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(blended(Image.new("RGB", size), constant), 0.3, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [4096, 12])
def test_a_smooth_photo_gives_a_smooth_map(size: tuple[int, int], most: int) -> None:
    """And each cell its own place: the map is the photo at a part of its size."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.rint(255 * (x / width + y / height) / 2).astype(np.uint8)
    picture = Image.fromarray(np.repeat(ramp[..., None], 3, axis=2))

    values = blended(picture, brightness, most=most)

    expected = np.asarray(picture.resize(values.shape[::-1], Image.Resampling.BOX))[..., 0] / 255
    np.testing.assert_allclose(values, expected, atol=0.015)


def test_tiles_that_disagree_leave_no_seam() -> None:
    """Cut off in the middle of what they share, they would jump by 0.4 at once."""
    values = blended(Image.new("RGB", (1800, 1200)), opinionated, PreprocessingSpec())

    steps = max(np.abs(np.diff(values, axis=0)).max(), np.abs(np.diff(values, axis=1)).max())
    assert steps < 0.05
    assert np.ptp(values) > 0.9  # there was something to blend


def test_the_whole_counts_where_it_is_surer() -> None:
    picture = Image.new("RGB", (400, 300))
    tiling = plan_tiles(*picture.size, SPEC)
    assert tiling is not None
    overall = np.zeros((64, 96), np.float32)
    overall[16:48, 24:72] = 0.9

    values = detail_map(picture, overall, tiling, constant)

    assert values[37, 50] == pytest.approx(0.9)
    assert values[2, 2] == pytest.approx(0.3)


PATCH = Box(1500, 1200, 1524, 1224)  # a cell of the network's grid is 42 x 31 pixels


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "photo.png"
    picture = Image.new("RGB", (4000, 3000), (90, 90, 90))
    picture.paste((255, 0, 0), PATCH)
    picture.save(path, compress_level=1)
    return path


def test_finds_what_is_smaller_than_a_cell(make_red_model: Callable[..., Path], photo: Path, tmp_path: Path) -> None:
    localizer = Localizer.load(make_red_model(tmp_path / "model", 96, 96), threads=1)
    without, found = (localizer.localize(photo, detail=detail) for detail in (False, True))

    assert without.regions == []
    (region,) = found.regions
    assert box_iou(region.box, PATCH) > 0.7
    assert (found.width, found.height, found.mask.shape) == (4000, 3000, (3000, 4000))
    assert found.map.shape == (750, 1000)
    assert (found.detail, found.tta) == (True, False)
    assert found.to_json()["detail"] is True
    assert "detail" not in without.to_json()


def test_path_bytes_and_array_are_cut_alike(red_model: Path, tmp_path: Path) -> None:
    localizer = Localizer.load(red_model, threads=1)
    upright = np.asarray(Image.open(_turned(tmp_path)).transpose(Image.Transpose.ROTATE_270))

    maps = [
        localizer.localize(source, detail=True).map
        for source in (_turned(tmp_path), _turned(tmp_path).read_bytes(), upright)
    ]

    assert maps[0].shape == (160, 120)
    for values in maps[1:]:
        np.testing.assert_array_equal(values, maps[0])


def _turned(folder: Path) -> Path:
    path = folder / "turned.jpg"
    if not path.exists():
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.new("RGB", (320, 240), (90, 90, 90))
        picture.paste((255, 0, 0), (16, 32, 64, 48))
        picture.save(path, quality=95, exif=exif)
    return path


def test_a_small_image_is_looked_at_once(red_model: Path) -> None:
    localizer = Localizer.load(red_model, threads=1)
    image = np.full((64, 60, 3), 90, np.uint8)
    found = localizer.localize(image, detail=True)
    np.testing.assert_array_equal(found.map, localizer.localize(image).map)


def test_a_photo_has_one_threshold_whatever_its_tiles_say(red_model: Path) -> None:
    """Tiles and whole are blended as the network gives them; the blend is adapted, as the whole is, and calibrated."""
    plain = Localizer.load(red_model, threads=1)
    adaptive = AdaptiveThreshold(background=0.3, peak=0.5, usual_background=-2, usual_peak=0)
    scaling = Scaling(slope=0.8, bias=0.3)
    rule = plain.config.decision.model_copy(update={"adaptive": adaptive, "map_scaling": scaling})
    config = plain.config.model_copy(update={"decision": rule})
    following = Localizer(plain.session, config, plain.folder, plain.choice)
    image = np.full((160, 200, 3), 90, np.uint8)
    image[40:46, 30:40] = (255, 0, 0)  # smaller than a cell of the whole's map
    own, found = (localizer.localize(image, detail=True).map for localizer in (plain, following))
    assert own.shape == (80, 100)
    (whole,) = plain.maps([plain.feed(image)])
    assert rule.shift(whole) != rule.shift(own)
    np.testing.assert_array_equal(found, scaling.apply(own, rule.shift(whole)))
    np.testing.assert_array_equal(following.localize(image).map, scaling.apply(whole, rule.shift(whole)))


def test_a_threshold_that_follows_the_photo_makes_another_model(red_model: Path) -> None:
    plain = Localizer.load(red_model, threads=1)
    adaptive = AdaptiveThreshold(background=0.3, peak=0.5, usual_background=-2, usual_peak=0)
    ids = {plain.model_id}
    for chosen in (adaptive, adaptive.model_copy(update={"peak": 0.4})):
        rule = plain.config.decision.model_copy(update={"adaptive": chosen})
        config = plain.config.model_copy(update={"decision": rule})
        ids.add(Localizer(plain.session, config, plain.folder, plain.choice).model_id)
    assert len(ids) == 3


_PROGRAM = """
import sys
import numpy as np
from PIL import Image
from boxpromptiml.machine import peak_memory
from boxpromptiml.runtime import Localizer
localizer = Localizer.load(sys.argv[1], threads=1)
before = peak_memory()
found = localizer.localize(sys.argv[2], detail=True)
assert found.map.shape == (1532, 2040), found.map.shape
assert len(found.regions) == 1
print((peak_memory() - before) / 1e6)
"""


@pytest.mark.slow
def test_memory_of_fifty_megapixels(make_red_model: Callable[..., Path], tmp_path: Path) -> None:
    """The photo takes 200 MB by itself (4 bytes a pixel), the map 12; a float map at full size would take 200 more."""
    model = make_red_model(tmp_path / "model", 224, 224)
    picture = Image.new("RGB", (8160, 6128), (90, 90, 90))
    picture.paste((255, 0, 0), (2000, 1000, 2060, 1060))
    picture.save(tmp_path / "large.jpg", quality=90)
    del picture
    command = [sys.executable, "-c", _PROGRAM, str(model), str(tmp_path / "large.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 450
