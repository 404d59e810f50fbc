"""Masks that say something else than the label of their image, from every source that gives both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset
from boxpromptiml.dataset.validation import validate
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import RejectedError, import_manifest, import_source
from boxpromptiml.formats.masks import check_mask

Paint = Callable[..., Path]
NOTHING = "marks nothing, but the image is tampered; draw it, or label the image authentic"
ALPHA = "is drawn in its alpha channel, which is not read; save it as grey, 255 for tampered"


def _half(width: int = 40, height: int = 30) -> np.ndarray[Any, Any]:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return mask


def _save_alpha(path: Path, alpha: np.ndarray[Any, Any], mode: str = "RGBA", colour: str = "black") -> Path:
    """A picture of one colour, more or less opaque."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new(mode.removesuffix("A"), alpha.shape[::-1], colour)
    picture.putalpha(Image.fromarray(alpha))
    picture.save(path)
    return path


@pytest.fixture
def folders(source: Path, paint: Paint) -> Path:
    """Three tampered images, of which only one has a mask that marks something."""
    for name in ("good", "empty", "alpha"):
        paint(f"Tp/{name}.png", (1, 2, 3))
        paint(f"Gt/{name}.png")
    paint("Gt/empty.png", 0)
    _save_alpha(source / "Gt/alpha.png", _half())
    return source


def test_a_mask_that_marks_nothing_of_a_tampered_image_does_not_fit(folders: Path, dataset: Dataset) -> None:
    with pytest.raises(RejectedError, match="2 files do not fit, nothing was imported") as caught:
        import_source(folders, dataset)
    assert sorted(caught.value.problems) == [
        f"{folders / 'Tp/alpha.png'}: its mask {folders / 'Gt/alpha.png'} {ALPHA}",
        f"{folders / 'Tp/empty.png'}: its mask {folders / 'Gt/empty.png'} {NOTHING}",
    ]
    assert dataset.count() == 0


@pytest.mark.parametrize("policy", ["skip", "resize"])
def test_no_policy_mends_a_mask_that_marks_nothing(folders: Path, dataset: Dataset, policy: Any) -> None:
    report = import_source(folders, dataset, on_mismatch=policy)
    assert [record.image for record in dataset.records()] == ["../source/Tp/good.png"]
    assert (len(report.left_out), report.mended) == (2, ())
    assert not [problem for problem in validate(dataset) if problem.severity == "error"]


def test_a_mark_that_is_lost_by_mending_is_said(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("Tp/a.png", (1, 2, 3))
    thin = np.zeros((300, 400), np.uint8)
    thin[3, 3] = 255
    (source / "Gt").mkdir()
    Image.fromarray(thin).save(source / "Gt/a.png")
    with pytest.raises(DatasetError, match="what it marks is lost at that size, cannot be mended"):
        import_source(source, dataset, on_mismatch="resize")


def test_in_a_list_an_empty_mask_says_authentic_but_not_one_drawn_in_alpha(folders: Path, dataset: Dataset) -> None:
    file = folders / "list.json"
    file.write_text(json.dumps([["Tp/empty.png", "Gt/empty.png"], ["Tp/alpha.png", "Gt/alpha.png"]]))
    report = import_source(file, dataset, on_mismatch="skip")
    assert (report.labels, len(report.left_out)) == ({"authentic": 1}, 1)
    assert ALPHA in str(report.left_out[0])


@pytest.mark.parametrize("label", ["authentic", "tampered"])
def test_a_mask_that_contradicts_the_label_of_a_coco_image(
    source: Path, dataset: Dataset, paint: Paint, label: str
) -> None:
    paint("a.png", (1, 2, 3))
    paint("mask.png", 255 if label == "authentic" else 0)
    image = {"id": 1, "file_name": "a.png", "boxpromptiml": {"label": label, "mask": "mask.png"}}
    (source / "all.json").write_text(json.dumps({"images": [image], "annotations": []}))
    with pytest.raises(RejectedError, match="1 file does not fit"):
        import_source(source / "all.json", dataset)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("colour", ["black", "white"])  # what editors leave where nothing was painted
@pytest.mark.parametrize("opaque", [True, False])
def test_a_picture_of_one_colour_that_is_partly_opaque_is_drawn_in_alpha(
    tmp_path: Path, mode: str, colour: str, opaque: bool
) -> None:
    alpha = np.full((30, 40), 255, np.uint8) if opaque else _half()
    file = _save_alpha(tmp_path / "a.png", alpha, mode, colour)
    assert check_mask(file, 40, 30, None).problem == (None if opaque else ALPHA)


def test_alpha_beside_a_mask_in_the_colours_is_passed_over(tmp_path: Path) -> None:
    mask = Image.fromarray(_half())
    mask.putalpha(Image.fromarray(_half()[:, ::-1].copy()))
    mask.save(tmp_path / "a.png")
    assert check_mask(tmp_path / "a.png", 40, 30, "tampered").problem is None


# --- manifests --------------------------------------------------------------------------------------------------------


@pytest.fixture
def manifest(source: Path, paint: Paint) -> Callable[..., Path]:
    """``manifest({"label": ..., "mask": ...}, ...)`` writes a line an image, 40 x 30."""
    paint("a.png", (1, 2, 3))

    def write(*lines: dict[str, Any]) -> Path:
        known = {"width": 40, "height": 30}
        text = [json.dumps({"image": f"{number}.png", **known, **line}) for number, line in enumerate(lines)]
        (source / "m.jsonl").write_text("\n".join(text))
        return source / "m.jsonl"

    return write


@pytest.mark.parametrize(
    ("label", "value", "size", "problem"),
    [
        ("tampered", 1, (40, 30), "has no pixel above 127, its largest is 1 of 255"),
        (None, 1, (40, 30), "has no pixel above 127, its largest is 1 of 255"),
        ("tampered", 0, (40, 30), NOTHING),
        ("authentic", 1, (40, 30), "has no pixel above 127, its largest is 1 of 255"),
        ("tampered", (255, 0, 0), (40, 30), "is coloured, not grey"),
        ("tampered", 255, (80, 60), "is 80 x 60 pixels, the image 40 x 30"),
    ],
)
def test_a_manifest_is_as_strict_as_a_folder(
    dataset: Dataset, paint: Paint, manifest: Callable[..., Path], label: str, value: Any, size: Any, problem: str
) -> None:
    mask = paint("mask.png", value, size)
    file = manifest({"label": "authentic"}, {"label": label, "mask": "mask.png"})
    with pytest.raises(RejectedError, match="1 mask does not fit, nothing was imported; --on-mismatch skip ") as caught:
        import_manifest(file, dataset)
    assert ("resize mends" in str(caught.value)) == (problem != NOTHING), "no remedy is named that does not help"
    assert caught.value.problems == (f"{file}:2: field 'mask': {mask} {problem}",)
    assert dataset.count() == 0


@pytest.mark.parametrize("policy", ["error", "skip", "resize"])
def test_a_mask_that_marks_something_of_an_authentic_image_comes_back(
    dataset: Dataset, paint: Paint, manifest: Callable[..., Path], policy: Any
) -> None:
    """That is what a dataset keeps where somebody labels a tampered image authentic."""
    paint("mask.png")
    file = manifest({"label": "authentic", "mask": "mask.png"}, {"label": "tampered", "mask": "mask.png"})
    report = import_manifest(file, dataset, on_mismatch=policy)
    assert (report.added, report.left_out, report.unused) == (2, (), ("../source/0.png",))
    assert [record.mask for record in dataset.records()] == ["../source/mask.png"] * 2


def test_a_manifest_with_masks_that_do_not_fit_is_read_without_their_images(
    dataset: Dataset, source: Path, paint: Paint, manifest: Callable[..., Path]
) -> None:
    empty, small = paint("empty.png", 0), paint("small.png", 255, (20, 15))
    file = manifest(
        {"label": "tampered", "mask": "empty.png"}, {"label": "tampered", "mask": "small.png"}, {"label": "authentic"}
    )
    report = import_manifest(file, dataset, on_mismatch="skip")
    assert [str(mismatch) for mismatch in report.left_out] == [
        f"{source / '0.png'}: its mask {empty} {NOTHING}",
        f"{source / '1.png'}: its mask {small} is 20 x 15 pixels, the image 40 x 30",
    ]
    assert [record.image for record in dataset.records()] == ["../source/2.png"]

    report = import_manifest(file, dataset, on_mismatch="resize")
    assert [mismatch.path.name for mismatch in report.left_out] == ["0.png"]
    assert [mismatch.path.name for mismatch in report.mended] == ["1.png"]
    mended = dataset.get("../source/1.png").mask
    assert mended is not None
    assert mended.startswith("masks/1-")
    assert check_mask(dataset.path(mended), 40, 30, "tampered").problem is None


def test_a_manifest_of_which_no_image_fits(
    dataset: Dataset, source: Path, paint: Paint, manifest: Callable[..., Path]
) -> None:
    paint("empty.png", 0)
    file = manifest({"label": "tampered", "mask": "empty.png"})
    with pytest.raises(
        DatasetError, match=r"m\.jsonl: no image fits, the first is .*0\.png: its mask .* marks nothing"
    ):
        import_manifest(file, dataset, on_mismatch="skip")
    with pytest.raises(DatasetError, match="on_mismatch 'drop' is not one of error, skip, resize"):
        import_manifest(file, dataset, on_mismatch="drop")  # type: ignore[arg-type]


def test_masks_of_a_manifest_that_fit(dataset: Dataset, paint: Paint, manifest: Callable[..., Path]) -> None:
    paint("mask.png")
    paint("soft.png", 200)
    paint("empty.png", 0)
    file = manifest(
        {"label": "tampered", "mask": "mask.png"},
        {"label": "tampered", "mask": "soft.png"},
        {"label": "authentic", "mask": "empty.png"},
        {"label": None, "mask": "empty.png"},
        {"label": "tampered", "mask": "gone.png"},  # may come later
    )
    assert import_manifest(file, dataset).added == 5


def test_a_damaged_mask_of_a_manifest(dataset: Dataset, source: Path, manifest: Callable[..., Path]) -> None:
    file = manifest({"label": "tampered", "mask": "mask.png"})
    (source / "mask.png").write_text("no image")
    with pytest.raises(RejectedError) as caught:
        import_manifest(file, dataset)
    assert "m.jsonl:1: field 'mask': " in caught.value.problems[0]
    assert "is not an image" in caught.value.problems[0]


def test_masks_of_a_manifest_are_looked_for_where_its_paths_begin(
    dataset: Dataset, source: Path, paint: Paint, manifest: Callable[..., Path], tmp_path: Path
) -> None:
    paint("mask.png", 1)
    file = manifest({"label": "tampered", "mask": "mask.png"}).rename(tmp_path / "moved.jsonl")
    with pytest.raises(RejectedError):
        import_manifest(file, dataset, base=source)
