"""`web.opening`: a folder becomes a dataset; what is new in it is found, what is no photograph is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset, PseudoMask
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import import_source
from boxpromptiml.images import save_png
from boxpromptiml.regions import Box
from boxpromptiml.web.opening import Found, open_folder


def image(path: Path, width: int = 40, height: int = 30) -> Path:
    save_png(path, np.full((height, width, 3), 90, np.uint8))
    return path


def mask(path: Path, width: int = 40, height: int = 30) -> Path:
    pixels = np.zeros((height, width), np.uint8)
    pixels[5:15, 5:20] = 255
    save_png(path, pixels)
    return path


def opened(folder: Path, **options: str) -> tuple[dict[str, str | None], Found]:
    """The labels of the images by name, and what was found."""
    dataset, found = open_folder(folder, **options)  # type: ignore[arg-type]
    with dataset:
        return {record.image: record.label for record in dataset.records()}, found


def test_a_folder_of_images_becomes_a_dataset(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.PNG", "sub/deep/c.png", ".hidden/d.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    labels, found = opened(tmp_path)
    assert labels == {"a.png": None, "sub/b.PNG": None, "sub/deep/c.png": None}
    assert found == Found(added=3)


def test_masks_of_folders_below_are_no_photographs(tmp_path: Path) -> None:
    """The parent of several data sets: each of their masks would be an image to draw boxes on."""
    for name in ("columbia", "coverage"):
        image(tmp_path / name / "Tp" / "a.png")
        mask(tmp_path / name / "Gt" / "a.png")
    with pytest.raises(DatasetError, match=r"\(columbia, coverage\), where masks are no photographs; give one of them"):
        open_folder(tmp_path)
    assert not (tmp_path / "dataset.db").exists()
    assert opened(tmp_path / "columbia")[0] == {"Tp/a.png": "tampered"}
    opened(tmp_path / "coverage")
    image(tmp_path / "own.png")
    assert opened(tmp_path)[0] == {"own.png": None}, "datasets of their own are left alone"
    image(tmp_path / "nist" / "Tp" / "a.png")
    mask(tmp_path / "nist" / "Gt" / "a.png")
    assert opened(tmp_path)[0] == {"own.png": None}, "what came later is for an import"


def test_new_images_are_added_and_known_ones_stay_as_they_are(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    opened(tmp_path)
    with Dataset.open(tmp_path) as dataset:
        before = dataset.annotate("a.png", boxes=[Box(1, 2, 9, 8)], label=None, expected_version=1)
    image(tmp_path / "b.png")
    labels, found = opened(tmp_path, split="val")
    assert labels == {"a.png": "tampered", "b.png": None}
    assert found == Found(added=1)
    with Dataset.open(tmp_path) as dataset:
        assert dataset.get("a.png") == before
        assert dataset.get("b.png").split == "val"
    assert opened(tmp_path)[1] == Found()


def test_an_image_that_is_gone_stays_on_record(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "b.png")
    opened(tmp_path)
    (tmp_path / "b.png").unlink()
    assert set(opened(tmp_path)[0]) == {"a.png", "b.png"}


def test_tp_and_gt_folders_become_a_dataset(tmp_path: Path) -> None:
    for name in ("Tp/a.png", "Tp/none.png", "Tp/odd.png", "Au/c.png"):
        image(tmp_path / name)
    mask(tmp_path / "Gt/a.png")
    mask(tmp_path / "Gt/odd.png", width=77)
    mask(tmp_path / "Gt/orphan.png")
    labels, found = opened(tmp_path)
    # An image without a mask, or with one that does not fit, is what boxes are for.
    assert labels == {
        "Tp/a.png": "tampered",
        "Tp/none.png": "tampered",
        "Tp/odd.png": "tampered",
        "Au/c.png": "authentic",
    }
    with Dataset.open(tmp_path) as dataset:
        masks = {record.image: record.mask for record in dataset.records() if record.mask}
    assert masks == {"Tp/a.png": "Gt/a.png"}
    (mismatch,) = found.without_mask
    assert mismatch.path == tmp_path / "Tp/odd.png"
    assert (found.added, found.left_out) == (4, ())
    image(tmp_path / "Tp/late.png")
    mask(tmp_path / "Gt/late.png")
    assert opened(tmp_path)[1] == Found(added=1)


def test_masks_are_no_images(tmp_path: Path) -> None:
    """Neither those that were made for the dataset, nor those that its records name, nor another dataset's."""
    image(tmp_path / "a.png")
    opened(tmp_path)
    for name in ("masks/m.png", "pseudo/grabcut/p.png", "truth/t.png", "truth/own.png"):
        mask(tmp_path / name)
    with Dataset.open(tmp_path) as dataset:
        dataset.set_pseudo("a.png", PseudoMask("truth/own.png", "grabcut"))
    image(tmp_path / "inner/i.png")
    opened(tmp_path / "inner")
    assert set(opened(tmp_path)[0]) == {"a.png", "truth/t.png"}


def test_a_dataset_of_images_that_lie_elsewhere_is_opened_as_it_is(tmp_path: Path) -> None:
    image(tmp_path / "photos" / "a.png")
    import_source(tmp_path / "photos", tmp_path / "set")
    image(tmp_path / "set" / "overlays" / "o.png")
    assert set(opened(tmp_path / "set")[0]) == {"../photos/a.png"}


def test_what_cannot_be_read_is_named_and_tried_again(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    whole = image(tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(b"")
    labels, found = opened(tmp_path)
    assert set(labels) == {"a.png"}
    assert [mismatch.path.name for mismatch in found.left_out] == ["b.png"]
    (tmp_path / "b.png").write_bytes(whole)
    assert opened(tmp_path)[1] == Found(added=1)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: image(folder), "not a folder"),
        (lambda folder: folder.mkdir(), "no images in it"),
        (lambda folder: (folder.mkdir(), (folder / "a.png").write_text("x")), "no image in it can be read"),
    ],
)
def test_a_folder_without_images_does_not_become_a_dataset(tmp_path: Path, prepare: object, message: str) -> None:
    folder = tmp_path / "it.png"
    prepare(folder)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message) as raised:
        open_folder(folder)
    assert str(folder) in str(raised.value)
    assert not folder.is_dir() or not (folder / "dataset.db").exists()


def test_reading_only_looks_for_nothing_and_makes_nothing(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="--read-only"):
        open_folder(tmp_path, read_only=True)
    assert not (tmp_path / "dataset.db").exists()
    opened(tmp_path)
    image(tmp_path / "b.png")
    dataset, found = open_folder(tmp_path, read_only=True)
    with dataset:
        assert (dataset.count(), found) == (1, Found())
