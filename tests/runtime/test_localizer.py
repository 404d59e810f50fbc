"""A real ONNX network that finds what is red."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml import Localization, Localizer, rle
from boxpromptiml.errors import ImageError, ModelError
from boxpromptiml.images import decode_image
from boxpromptiml.preprocessing import PreprocessingSpec, resize_map
from boxpromptiml.regions import Box, box_iou
from boxpromptiml.runtime import image_score
from boxpromptiml.runtime.preparing import prepare
from boxpromptiml.scaling import Scaling


@pytest.fixture(scope="module")
def localizer(red_model: Path) -> Localizer:
    return Localizer.load(red_model, threads=1)


def grey_with_red(*boxes: Box, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), 90, np.uint8)
    for box in boxes:
        image[box.slices] = (255, 0, 0)
    return image


PATCH = Box(50, 60, 150, 180)


def test_finds_the_red_patch(localizer: Localizer, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(grey_with_red(PATCH)).save(path)

    result = localizer.localize(path)

    assert isinstance(result, Localization)
    assert (result.image, result.width, result.height) == (str(path), 320, 240)
    assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.verdict == "tampered"
    assert result.score == pytest.approx(0.99995, abs=1e-4)
    assert result.threshold == 0.5
    assert result.map.shape == (64, 64)
    assert result.map.dtype == np.float32
    assert result.mask.shape == (240, 320)
    assert result.mask.dtype == bool
    (region,) = result.regions
    assert box_iou(region.box, PATCH) > 0.9
    assert region.area == result.mask.sum()
    assert 0.9 < region.score <= 1
    np.testing.assert_array_equal(rle.decode(region.rle), result.mask)
    assert result.model == localizer.model_id
    assert result.seconds > 0


def test_a_grey_image_is_authentic(localizer: Localizer) -> None:
    result = localizer.localize(grey_with_red())

    assert result.verdict == "authentic"
    assert result.score < 0.001
    assert result.regions == []
    assert not result.mask.any()


def test_path_bytes_and_array_give_the_same(localizer: Localizer, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    image = grey_with_red(PATCH)
    Image.fromarray(image).save(path)

    results = [localizer.localize(source) for source in (path, str(path), path.read_bytes(), image)]

    for result in results:
        np.testing.assert_array_equal(result.map, results[0].map)
    assert [result.image for result in results] == [str(path), str(path), None, None]
    assert results[2].sha256 == results[0].sha256
    assert results[3].sha256 is None


def test_regions_are_sorted_by_area_and_cover_the_mask(localizer: Localizer) -> None:
    result = localizer.localize(grey_with_red(Box(200, 10, 260, 60), PATCH, Box(250, 200, 310, 230)))

    assert len(result.regions) == 3
    areas = [region.area for region in result.regions]
    assert areas == sorted(areas, reverse=True)
    together = np.sum([rle.decode(region.rle) for region in result.regions], axis=0)
    np.testing.assert_array_equal(together, result.mask)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.9, 1.0])
def test_the_threshold_can_be_given(localizer: Localizer, threshold: float) -> None:
    result = localizer.localize(grey_with_red(PATCH), threshold=threshold)

    assert result.threshold == threshold
    assert result.verdict == ("tampered" if result.score > threshold else "authentic")
    np.testing.assert_array_equal(result.mask, resize_map(result.map, 240, 320) > threshold)


def test_a_threshold_of_numpy_leaves_the_answer_json(localizer: Localizer) -> None:
    result = localizer.localize(grey_with_red(PATCH), threshold=np.float32(0.25))  # type: ignore[arg-type]

    assert json.loads(json.dumps(result.to_json()))["threshold"] == 0.25


def test_exif_turns_the_mask_too(localizer: Localizer, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey_with_red(PATCH)).save(tmp_path / "turned.jpg", exif=exif, quality=95)

    result = localizer.localize(tmp_path / "turned.jpg")

    assert (result.width, result.height) == (240, 320)
    assert box_iou(result.regions[0].box, Box(240 - 180, 50, 240 - 60, 150)) > 0.9


def test_json_says_everything_but_map_and_mask(localizer: Localizer, tmp_path: Path) -> None:
    Image.fromarray(grey_with_red(PATCH)).save(tmp_path / "a.png")
    result = localizer.localize(tmp_path / "a.png")

    line = json.loads(json.dumps(result.to_json()))

    assert list(line) == [
        *("image", "sha256", "width", "height", "score", "verdict", "threshold", "regions", "model", "seconds"),
    ]
    assert list(line["regions"][0]) == ["box", "area", "score", "rle"]
    np.testing.assert_array_equal(rle.decode(line["regions"][0]["rle"]), result.mask)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(localizer: Localizer, image: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match=r"must be RGB, uint8 \(h, w, 3\), got"):
        localizer.localize(image)


@pytest.mark.parametrize(
    ("image", "kind"), [(["a.jpg"], "list"), (None, "NoneType"), (5, "int"), (io.StringIO("text"), "str")]
)
def test_what_is_no_image_is_said_in_one_line(localizer: Localizer, image: Any, kind: str) -> None:
    with pytest.raises(ImageError, match=rf"must be a path, bytes, .* or an RGB array, got {kind}$"):
        localizer.localize(image)


@pytest.mark.parametrize("detail", [False, True])
def test_pictures_of_pillow_and_streams_are_as_good_as_files(
    localizer: Localizer, tmp_path: Path, detail: bool
) -> None:
    """Turned by EXIF, with a palette and transparency, 16 bits: as if the file had been named."""
    exif = Image.Exif()
    exif[0x0112] = 6
    red = Image.fromarray(grey_with_red(PATCH))
    red.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    red.quantize(8).save(tmp_path / "palette.png", transparency=0)
    Image.fromarray(np.full((50, 60), 40_000, np.uint16)).save(tmp_path / "deep.png")
    for path in sorted(tmp_path.iterdir()):
        expected = localizer.localize(path, detail=detail)
        with Image.open(path) as picture:
            before = dict(picture.info)
            np.testing.assert_array_equal(localizer.localize(picture, detail=detail).map, expected.map)
            assert picture.info == before
        with path.open("rb") as stream:
            np.testing.assert_array_equal(localizer.localize(stream, detail=detail).map, expected.map)
        assert localizer.localize(bytearray(path.read_bytes()), detail=detail).sha256 == expected.sha256
        found = localizer.localize(io.BytesIO(path.read_bytes()), detail=detail)
        assert (found.sha256, found.width, found.image) == (expected.sha256, expected.width, None)


def test_pictures_that_cannot_be_decoded_cost_one_error(localizer: Localizer, tmp_path: Path) -> None:
    Image.fromarray(grey_with_red(PATCH)).save(tmp_path / "half.png")
    data = (tmp_path / "half.png").read_bytes()
    with (
        Image.open(io.BytesIO(data[: len(data) // 2])) as picture,
        pytest.raises(ImageError, match="<picture>: cannot be decoded"),
    ):
        localizer.localize(picture)
    with pytest.raises(ImageError, match="<picture>: has floating-point pixels"):
        localizer.localize(Image.new("F", (9, 9)))


def test_a_photo_is_read_by_its_content_whatever_its_suffix(localizer: Localizer, tmp_path: Path) -> None:
    """Evidence is not to be renamed, and downloads are often called wrongly."""
    pixels = grey_with_red(PATCH)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", "PNG")

    assert localizer.localize(tmp_path / "photo.jpg").score == localizer.localize(pixels).score


def test_bad_files_and_limits(localizer: Localizer, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    Image.fromarray(grey_with_red()).save(tmp_path / "a.png")

    with pytest.raises(ImageError, match="no such file"):
        localizer.localize(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="damaged or truncated JPEG"):
        localizer.localize(tmp_path / "broken.jpg")
    with pytest.raises(ImageError, match="over the limit"):
        localizer.localize(tmp_path / "a.png", max_pixels=1000)
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]"):
        localizer.localize(grey_with_red(), threshold=1.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (63, 65), (30, 20), (64, 64)])
def test_any_shape_of_image(localizer: Localizer, shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    image[..., 0] = 255

    result = localizer.localize(image)

    assert result.mask.all()
    assert [region.box for region in result.regions] == [Box(0, 0, shape[1], shape[0])]


def test_batches(localizer: Localizer) -> None:
    images = [grey_with_red(), grey_with_red(PATCH), grey_with_red(Box(0, 0, 320, 240))]
    batch = localizer.config.preprocessing.batch(images)

    maps = localizer.probabilities(batch)

    assert maps.shape == (3, 64, 64)
    assert maps.dtype == np.float32
    for values, single in zip(maps, batch, strict=True):
        np.testing.assert_allclose(values, localizer.probabilities(single[None])[0], atol=1e-6)
    assert localizer.probabilities(batch[:0]).shape == (0, 64, 64)


@pytest.mark.parametrize("batch", [np.zeros((1, 3, 32, 64), np.uint8), np.zeros((3, 64, 64), np.uint8)])
def test_wrong_batches_are_refused(localizer: Localizer, batch: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"takes uint8 \(n, 3, H, W\), H x W 64 x 64"):
        localizer.probabilities(batch)


def test_many_threads_share_a_localizer(localizer: Localizer) -> None:
    images = [grey_with_red(Box(10 * i, 10, 10 * i + 40, 60)) for i in range(16)]
    expected = [localizer.localize(image).map for image in images]

    with ThreadPoolExecutor(8) as pool:
        for result, values in zip(pool.map(localizer.localize, images), expected, strict=True):
            np.testing.assert_array_equal(result.map, values)


def test_torch_is_never_imported(red_model: Path, tmp_path: Path) -> None:
    Image.fromarray(grey_with_red(PATCH)).save(tmp_path / "a.png")
    program = """
import sys
import boxpromptiml
assert "onnxruntime" not in sys.modules
result = boxpromptiml.Localizer.load(sys.argv[1]).localize(sys.argv[2])
assert result.verdict == "tampered"
heavy = {"torch", "torchvision", "timm", "cv2", "lightning", "scipy", "onnx"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, red_model, tmp_path / "a.png"], check=True)


def test_a_network_that_ignores_direction_gives_the_same_with_tta(localizer: Localizer) -> None:
    once, four_times = (localizer.localize(grey_with_red(PATCH), tta=tta) for tta in (False, True))

    np.testing.assert_allclose(four_times.map, once.map, atol=1e-6)
    assert four_times.score == pytest.approx(once.score, abs=1e-6)
    assert four_times.to_json()["tta"] is True
    assert "tta" not in once.to_json()


@pytest.mark.parametrize("fit", ["stretch", "native"])
@pytest.mark.parametrize("looks", [1, 2, 4])
def test_several_looks_are_averaged(looks: int, fit: Literal["stretch", "native"], red_model: Path) -> None:
    """A network that sees the upper left quarter of its input: turned by half it sees the lower right one as well,
    mirrored all four, and no padding ever gets into the map."""
    seen: list[NDArray[np.uint8]] = []

    class UpperLeft:
        digest = "0" * 64

        def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            seen.extend(batch)
            values = batch[:, :1].astype(np.float32) / 255
            values[:, :, 32:] = 0
            values[:, :, :, 48:] = 0
            return values

        def device_memory(self) -> float | None:
            return None

    spec = PreprocessingSpec(fit=fit, height=64, width=96)
    loaded = Localizer.load(red_model, threads=1)
    config = loaded.config.model_copy(update={"preprocessing": spec})
    config = config.deciding(red_model, looks=2 if looks == 2 else None)
    localizer = Localizer(UpperLeft(), config, loaded.folder, loaded.choice)
    size = (64, 96) if fit == "stretch" else (50, 70)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

    result = localizer.localize(image, tta=looks == 4)

    padded = spec.feed(image).pixels
    expected = np.zeros((64, 96))
    upper, lower, left, right = slice(0, 32), slice(32, 64), slice(0, 48), slice(48, 96)
    for quarter in [(upper, left), (lower, right), (upper, right), (lower, left)][:looks]:
        expected[quarter] = padded[0][quarter] / 255 / looks
    assert result.map.shape == size
    np.testing.assert_allclose(result.map, expected[: size[0], : size[1]], atol=1e-6)
    assert result.score == pytest.approx(image_score(result.map, config.decision))
    turns = [padded, padded[:, ::-1, ::-1], padded[:, :, ::-1], padded[:, ::-1]]
    for fed, turned in zip(seen, turns[:looks], strict=True):
        np.testing.assert_array_equal(fed, turned)


def test_a_model_that_looks_twice_is_another_and_can_be_told_to_look_once(red_model: Path, tmp_path: Path) -> None:
    once = Localizer.load(red_model, threads=1)
    config = once.config.deciding(red_model, looks=2)
    folder = tmp_path / "twice"
    shutil.copytree(red_model, folder)
    config.save(folder)
    twice = Localizer.load(folder, threads=1)
    assert twice.config.decision.looks == 2
    assert twice.model_id != once.model_id
    assert Localizer.load(folder, threads=1, looks=1).model_id == once.model_id
    with pytest.raises(ModelError, match="looks is 1 or 2, not 3"):
        Localizer.load(folder, looks=3)


def test_the_map_is_calibrated_after_averaging(red_model: Path) -> None:
    """Of a quarter that only one of two looks sees, the mean is calibrated, not the two values."""

    class UpperHalf:
        digest = "0" * 64

        def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            values = np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)
            values[:, :, : batch.shape[2] // 2] = 0.9
            return values

        def device_memory(self) -> float | None:
            return None

    loaded = Localizer.load(red_model, threads=1)
    scaling = Scaling(slope=3.0, bias=1.0)
    config = loaded.config.deciding(red_model, looks=2)
    config = config.model_copy(update={"decision": config.decision.model_copy(update={"map_scaling": scaling})})
    found = Localizer(UpperHalf(), config, loaded.folder, loaded.choice).localize(grey_with_red(PATCH))
    np.testing.assert_allclose(found.map, float(scaling.forward(0.45)), atol=1e-6)


def test_path_and_bytes_are_decoded_by_the_spec(localizer: Localizer, tmp_path: Path) -> None:
    """Prepared for bulk runs, the page and the service, or looked at alone: a spec means one input."""
    spec = localizer.config.preprocessing.model_copy(update={"draft_margin": 2.0})
    drafting = Localizer(
        localizer.session,
        localizer.config.model_copy(update={"preprocessing": spec}),
        localizer.folder,
        localizer.choice,
    )
    noise = np.random.default_rng(0).integers(0, 256, (603, 805, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=95)
    data = (tmp_path / "a.jpg").read_bytes()

    prepared = prepare(drafting, data, "a.jpg", preview=True)
    maps = [drafting.localize(source).map for source in (tmp_path / "a.jpg", data)]

    assert (prepared.width, prepared.height) == (805, 603)
    assert prepared.preview is not None
    assert prepared.preview.shape == (603, 805, 3)
    for values in maps:
        np.testing.assert_array_equal(values, drafting.maps([prepared.fed])[0])
    whole = localizer.config.preprocessing.feed(decode_image(data)).pixels
    assert (prepared.fed.pixels != whole).any()  # at a quarter, not all of it
    assert np.abs(prepared.fed.pixels.astype(int) - whole).mean() < 2


def test_models_of_before_drafts_load_and_say_the_same(red_model: Path, tmp_path: Path) -> None:
    """Neither their config.json nor their ONNX file has the field."""
    import onnx

    folder = Path(shutil.copytree(red_model, tmp_path / "old"))
    config = json.loads((folder / "config.json").read_text())
    del config["preprocessing"]["draft_margin"]
    (folder / "config.json").write_text(json.dumps(config))
    model = onnx.load(folder / "model.onnx")
    for entry in model.metadata_props:
        if entry.key == "boxpromptiml.preprocessing":
            spec = json.loads(entry.value)
            del spec["draft_margin"]
            entry.value = json.dumps(spec)
    onnx.save(model, folder / "model.onnx")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")

    old, new = (Localizer.load(path, threads=1).localize(tmp_path / "a.jpg") for path in (folder, red_model))

    np.testing.assert_array_equal(old.map, new.map)
    config["preprocessing"]["draft_margin"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"its preprocessing differs from config.json's in draft_margin"):
        Localizer.load(folder)
