from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord, Label
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.evaluation import evaluate
from boxpromptiml.formats import import_source
from boxpromptiml.runtime import Localizer

SIDE = 64  # that of the network
# a: all found; b: half found, nothing wrong (precision 1, recall 1/2); c: nothing found.
F1 = (1 + 2 / 3 + 0) / 3
IOU = (1 + 1 / 2 + 0) / 3
AUC = (1 + 0.75 + 0.5) / 3


@contextmanager
def one_image(root: Path, image: np.ndarray, mask: np.ndarray, label: Label | None) -> Iterator[Dataset]:
    """A dataset of one image, whose record has the size of its mask."""
    Image.fromarray(image).save(root / "x.jpg")
    Image.fromarray(mask).save(root / "x.png")
    height, width = mask.shape
    with Dataset.create(root) as dataset:
        dataset.put(ImageRecord("x.jpg", width, height, label=label, mask="x.png"))
        yield dataset


def test_figures_worked_out_by_hand(red: Localizer, folders: Path) -> None:
    result = evaluate(red, folders)
    figures = result.figures
    assert (figures.n_tampered, figures.n_authentic, figures.n_without_mask) == (3, 2, 0)
    assert figures.pixel[:3] == pytest.approx((F1, IOU, AUC), abs=1e-6)
    # The authentic images score 0 in F1, IoU and AUC.
    assert figures.pixel_all_images[:3] == pytest.approx((F1 * 3 / 5, IOU * 3 / 5, AUC * 3 / 5), abs=1e-6)
    assert figures.false_positive_area == pytest.approx((0 + 0.5) / 2)
    # Scores: a, b and au2 are red somewhere; c and au1 are not: of 6 pairs 2 are won and 3 are ties.
    assert figures.image_auc == pytest.approx((2 + 3 / 2) / 6)


@pytest.mark.parametrize(
    ("mode", "f1"),
    [
        ("origin", F1),
        ("reverse", (0 + 2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2) + 2 * 0.5 / 1.5) / 3),
        ("double", (1 + 2 / 3 + 2 / 3) / 3),
    ],
)
def test_modes(red: Localizer, folders: Path, mode: str, f1: float) -> None:
    assert evaluate(red, folders, mode=mode).figures.pixel.f1 == pytest.approx(f1, abs=1e-6)


def test_micro_is_one_count(red: Localizer, folders: Path) -> None:
    pixel = evaluate(red, folders, "micro").figures.pixel
    tp, fn = (32 + 16) * 64, (16 + 32) * 64
    assert pixel[:2] == pytest.approx((2 * tp / (2 * tp + fn), tp / (tp + fn)))


def test_batches_and_threads_do_not_change_figures(red: Localizer, folders: Path) -> None:
    one = evaluate(red, folders, batch_size=1, threads=1)
    many = evaluate(red, folders, batch_size=4, threads=3)
    assert one.images == many.images
    assert one.ci95 == many.ci95


def test_images_of_any_size_are_compared_on_the_models_grid(
    red: Localizer, tmp_path: Path, draw: Callable[..., np.ndarray]
) -> None:
    for part in ("Tp", "Gt"):
        (tmp_path / part).mkdir()
    Image.fromarray(draw(50, side=100)).save(tmp_path / "Tp" / "x.png")
    mask = np.zeros((100, 100), np.uint8)
    mask[:, :50] = 255
    Image.fromarray(mask).save(tmp_path / "Gt" / "x.png")
    assert evaluate(red, tmp_path).figures.pixel.f1 == pytest.approx(1, abs=0.02)


def test_a_dataset_is_evaluated_on_its_test_split(red: Localizer, folders: Path, tmp_path: Path) -> None:
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        names = {Path(record.image).name: record.image for record in dataset.records()}
        dataset.set_splits({names["a.png"]: "test", names["b.png"]: "train", names["au1.png"]: "test"})
    result = evaluate(red, tmp_path / "data")
    assert result.datasets[0].split == "test"
    assert [Path(image.image).name for image in result.images] == ["au1.png", "a.png"]
    assert evaluate(red, tmp_path / "data", split="all").figures.n_tampered == 3
    assert evaluate(red, tmp_path / "data", split="train").figures.pixel.f1 == pytest.approx(2 / 3, abs=1e-6)
    with pytest.raises(DatasetError, match="no image is in the split val; it has train, test"):
        evaluate(red, tmp_path / "data", split="val")


def test_several_datasets_are_reported_one_by_one_and_together(red: Localizer, folders: Path, tmp_path: Path) -> None:
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        result = evaluate(red, [dataset, folders])
    assert [part.name for part in result.datasets] == [str(tmp_path / "data"), str(folders)]
    assert [part.figures.n_tampered for part in result.datasets] == [3, 3]
    assert all("f1" in part.ci95 and "image.auc" in part.ci95 for part in result.datasets)
    assert result.figures.n_tampered == 6
    assert result.figures.pixel.f1 == pytest.approx(F1, abs=1e-6)


@pytest.mark.parametrize(("on_mismatch", "left_out", "mended"), [("skip", 1, 0), ("resize", 0, 1)])
def test_images_that_do_not_fit_leave_a_trace(
    red: Localizer, folders: Path, on_mismatch: Any, left_out: int, mended: int
) -> None:
    """Figures over fewer images, or with mended masks, are other figures: they say so."""
    mask = folders / "Gt" / "c.png"
    Image.open(mask).resize((32, 32)).save(mask)
    result = evaluate(red, folders, on_mismatch=on_mismatch)
    report = result.to_json()
    assert result.figures.n_tampered == 3 - left_out
    for part in (report, report["datasets"][0]):
        assert (part["n_left_out"], part["n_mended"]) == (left_out, mended)


def test_an_image_is_tampered_however_small_its_region(
    red: Localizer, tmp_path: Path, draw: Callable[..., np.ndarray]
) -> None:
    """Where no label is given the mask tells, not what is left of it on the network's grid."""
    Image.fromarray(draw(0, side=200)).save(tmp_path / "x.png")
    mask = np.zeros((200, 200), np.uint8)
    mask[1, 1] = 255  # between two pixels of the network's grid
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with Dataset.create(tmp_path) as dataset:
        dataset.put(ImageRecord("x.png", 200, 200, label=None, mask="mask.png"))
        (image,) = evaluate(red, dataset).images
    assert image.region_share == 1 / 200**2
    assert image.tampered


def test_tampered_images_without_masks_count_for_the_image_figures(
    red: Localizer, folders: Path, tmp_path: Path
) -> None:
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        records = {Path(record.image).name: record for record in dataset.records()}
        dataset.put([replace(records["c.png"], mask=None), replace(records["au2.png"], label=None)])
        result = evaluate(red, dataset)
    assert (result.figures.n_tampered, result.figures.n_without_mask, result.n_skipped) == (3, 1, 1)
    assert result.figures.pixel.f1 == pytest.approx((1 + 2 / 3) / 2, abs=1e-6)
    assert result.figures.image_auc == pytest.approx((2 + 1 / 2) / 3)


def test_the_report_is_json_without_nan(red: Localizer, folders: Path) -> None:
    for part in ("Au",):
        for path in (folders / part).iterdir():
            path.unlink()
        (folders / part).rmdir()
    report = json.loads(json.dumps(evaluate(red, folders).to_json(), allow_nan=False))
    assert {"preset", "n_tampered", "n_authentic", "pixel", "image", "authentic", "ci95", "model"} <= report.keys()
    assert {"environment", "seconds", "mode", "datasets"} <= report.keys()
    assert report["preset"] == "imdlbenco"
    assert report["pixel"]["f1"] == pytest.approx(F1, abs=1e-6)
    assert report["image"]["auc"] is None
    assert report["authentic"] == {"false_positive_area": None}
    low, high = report["ci95"]["f1"]
    assert 0 <= low <= report["pixel"]["f1"] <= high <= 1
    assert report["model"]["id"] == red.model_id
    assert report["environment"]["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("wrong path", "no such file or folder"),
        ("empty folder", "no images in it"),
        ("no truth", "none of its 1 images has a label or a true mask"),
        ("no masks", "none of its 1 tampered images has a true mask"),
        ("empty dataset", "no images in it"),
        ("mask of another size", "1 file does not fit"),
    ],
)
def test_what_cannot_be_scored_is_one_clear_line(
    red: Localizer, tmp_path: Path, draw: Callable[..., np.ndarray], case: str, message: str
) -> None:
    source = tmp_path / "x"
    match case:
        case "empty folder":
            source.mkdir()
        case "no truth":
            source.mkdir()
            Image.fromarray(draw(0)).save(source / "photo.png")
        case "no masks" | "empty dataset":
            photos = tmp_path / "photos"
            photos.mkdir()
            Image.fromarray(draw(0)).save(photos / "photo.png")
            with Dataset.create(source) as dataset:
                if case == "no masks":
                    import_source(photos, dataset, label="tampered")
        case "mask of another size":
            for part, pixels in {"Tp": draw(3), "Gt": draw(3)[:30, :, 0]}.items():
                (source / part).mkdir(parents=True)
                Image.fromarray(pixels).save(source / part / "photo.png")
    with pytest.raises(DatasetError, match=message) as caught:
        evaluate(red, source)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_that_breaks_later_is_named(red: Localizer, folders: Path, tmp_path: Path) -> None:
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        (folders / "Tp" / "b.png").write_bytes(b"not an image")
        with pytest.raises(ImageError, match=r"b\.png"):
            evaluate(red, dataset)


@pytest.mark.parametrize("label", ["tampered", None])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.eye(SIDE, dtype=np.uint8), r"x\.png: the mask holds 0 and 1: only what is above 127 counts as tampered; "),
        (np.eye(SIDE, dtype=np.uint8) * 90, r"x\.png: the mask holds nothing above 90: only what is above 127"),
        (np.eye(SIDE, dtype=np.uint16), r"x\.png: the mask holds 0 and 1: only what is above 127"),
    ],
)
def test_a_mask_that_marks_nothing_by_its_values_is_no_truth(
    red: Localizer, tmp_path: Path, draw: Callable[..., np.ndarray], label: Label | None, mask: np.ndarray, message: str
) -> None:
    """Masks of class numbers: everything that is found would count as wrong, and F1 be 0."""
    with one_image(tmp_path, draw(32), mask, label) as dataset, pytest.raises(DatasetError, match=message) as caught:
        evaluate(red, dataset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", ["imdlbenco", "scaf"])
def test_an_empty_mask_is_the_truth_about_an_authentic_image_alone(
    red: Localizer, tmp_path: Path, draw: Callable[..., np.ndarray], preset: str
) -> None:
    empty = np.zeros((SIDE, SIDE), np.uint8)
    with one_image(tmp_path, draw(32), empty, "authentic") as dataset:
        assert evaluate(red, dataset, preset).figures.n_authentic == 1
    with one_image(tmp_path, draw(32), empty, None) as dataset:
        assert evaluate(red, dataset, preset).figures.n_authentic == 1
    with (
        one_image(tmp_path, draw(32), empty, "tampered") as dataset,
        pytest.raises(
            DatasetError, match=r"x\.png: the mask marks nothing, but its image is tampered; draw it, or label"
        ),
    ):
        evaluate(red, dataset, preset)


@pytest.mark.parametrize("transform", [None, lambda image, name: image])
def test_an_image_of_another_size_than_its_record_is_not_scored(
    red: Localizer, tmp_path: Path, draw: Callable[..., np.ndarray], transform: Any
) -> None:
    """A photograph that was turned, its mask not: both fit the network's grid, and nothing fits anything."""
    turned = draw(32)[:40].swapaxes(0, 1)  # 40 x 64, and its record and mask 64 x 40
    mask = np.full((40, SIDE), 255, np.uint8)
    with (
        one_image(tmp_path, turned, mask, "tampered") as dataset,
        pytest.raises(ImageError, match=r"x\.jpg: is 40 x 64 pixels, its record says 64 x 40; import it again"),
    ):
        evaluate(red, dataset, transform=transform)


@pytest.mark.parametrize(("option", "value"), [("preset", "f1"), ("mode", "sideways")])
def test_unknown_protocols_are_refused(red: Localizer, folders: Path, option: str, value: str) -> None:
    with pytest.raises(ValueError, match=value):
        evaluate(red, folders, **{option: value})


@pytest.mark.shared
def test_casia_is_read_as_it_is(red: Localizer, shared_data: Path) -> None:
    figures = evaluate(red, shared_data / "casia1" / "test").figures
    assert (figures.n_tampered, figures.n_authentic, figures.n_without_mask) == (184, 170, 0)


def test_a_transform_sees_the_upright_image_and_its_name(
    red: Localizer, folders: Path, draw: Callable[..., np.ndarray]
) -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def transform(image: np.ndarray, name: str) -> np.ndarray:
        seen[Path(name).name] = image.shape
        return draw(64, side=128)  # red where the truth is, at another size

    result = evaluate(red, folders, transform=transform, label="transformed")
    assert seen == dict.fromkeys(["a.png", "b.png", "c.png", "au1.png", "au2.png"], (64, 64, 3))
    assert result.figures.pixel.f1 == pytest.approx(1, abs=0.02)


def test_tta_is_noted_in_the_report(red: Localizer, folders: Path) -> None:
    """A network that looks at single pixels says the same four times."""
    once, four_times = (evaluate(red, folders, tta=tta) for tta in (False, True))

    assert four_times.figures.pixel.f1 == pytest.approx(once.figures.pixel.f1)
    assert four_times.to_json()["model"]["tta"] is True
    assert "tta" not in once.to_json()["model"]
