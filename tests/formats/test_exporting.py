"""The folder of an export, its options, and what other programs make of it."""

from __future__ import annotations

import json
import signal
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import (
    EXPORT_FORMATS,
    ExportOptions,
    ReadOptions,
    RejectedError,
    export_boxes,
    import_source,
)
from boxpromptiml.formats.label_studio_rle import decode
from boxpromptiml.regions import Box

BOXES = (Box(4, 4, 18, 13), Box(29, 19, 40, 24))


@pytest.fixture
def mask() -> np.ndarray[Any, Any]:
    """What is tampered in a.jpg."""
    made = np.zeros((30, 40), bool)
    made[5:12, 6:20] = True
    made[20:23, 30:39] = True
    return made


@pytest.fixture
def filled(tmp_path: Path, dataset: Dataset, mask: np.ndarray[Any, Any]) -> Dataset:
    """a.jpg with boxes and masks, b.jpg authentic, c.jpg not annotated, d.jpg tampered and rejected."""
    for name in "abcd":
        path = tmp_path / "photos" / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (9, 9, 9)).save(path)
    for folder in ("masks", "pseudo"):
        (dataset.root / folder).mkdir()
        for name in "ad":
            Image.fromarray(np.where(mask, 255 if folder == "masks" else 129, 127).astype(np.uint8)).save(
                dataset.root / folder / f"{name}.png"
            )
    boxed = {"label": "tampered", "boxes": BOXES}
    dataset.put(
        [
            ImageRecord(
                "../photos/a.jpg",
                40,
                30,
                mask="masks/a.png",
                pseudo=PseudoMask("pseudo/a.png", "grabcut"),
                review="accepted",
                split="train",
                **boxed,
            ),
            ImageRecord("../photos/b.jpg", 40, 30, label="authentic", split="train"),
            ImageRecord("../photos/c.jpg", 40, 30, split="test"),
            ImageRecord(
                "../photos/d.jpg", 40, 30, pseudo=PseudoMask("pseudo/d.png", "grabcut"), review="rejected", **boxed
            ),
        ]
    )
    return dataset


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("coco", {"annotations.json"}),
        (
            "yolo",
            {"data.yaml", "images/train/a.jpg", "images/train/b.jpg", "images/test/c.jpg", "images/unassigned/d.jpg"}
            | {"labels/train/a.txt", "labels/train/b.txt", "labels/unassigned/d.txt"},
        ),
        (
            "voc",
            {f"JPEGImages/{name}.jpg" for name in "abcd"}
            | {f"Annotations/{name}.xml" for name in "abcd"}
            | {"ImageSets/Main/train.txt", "ImageSets/Main/test.txt"},
        ),
        ("labelme", {f"{name}.json" for name in "abcd"}),
        ("label-studio", {"tasks.json", "label_config.xml"}),
        ("folders", {"Tp/a.jpg", "Gt/a.png", "Tp/d.jpg", "Gt/d.png", "Au/b.jpg"}),
        ("imdlbenco", {"list.json", "masks/a.png", "masks/d.png"}),
    ],
)
def test_what_is_in_the_folder(filled: Dataset, tmp_path: Path, format: str, expected: set[str]) -> None:
    masks: Any = "pseudo" if format in ("folders", "imdlbenco") else "none"
    report = export_boxes(filled, tmp_path / "out", format, ExportOptions(masks=masks))
    assert files(tmp_path / "out") == expected | {".boxpromptiml-export"}
    assert report.images == (3 if masks == "pseudo" else 4)
    assert report.left_out == ({"without a label": 1} if masks == "pseudo" else {})
    assert not list(tmp_path.glob(".out*"))


def test_splits_and_reviews(filled: Dataset, tmp_path: Path) -> None:
    def names(**options: Any) -> list[str]:
        export_boxes(filled, tmp_path / "out", "coco", ExportOptions(**options), overwrite=True)
        content = json.loads((tmp_path / "out/annotations.json").read_text())
        return [image["file_name"] for image in content["images"]]

    assert names() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert names(split="train") == ["a.jpg", "b.jpg"]
    assert names(review="accepted") == ["a.jpg", "b.jpg", "c.jpg"]


def test_what_nobody_has_accepted_is_counted(filled: Dataset, tmp_path: Path) -> None:
    accepted = ExportOptions(masks="pseudo", review="accepted")
    report = export_boxes(filled, tmp_path / "out", "folders", accepted)
    assert (report.images, report.masks) == (2, 1)
    assert report.left_out == {"tampered, mask not accepted": 1, "without a label": 1}
    filled.put(ImageRecord("../photos/a.jpg", 40, 30, label="tampered", boxes=BOXES, split="val"))
    with pytest.raises(DatasetError, match=r"data: no image to export: 1 tampered, mask not accepted$"):
        export_boxes(filled, tmp_path / "other", "coco", ExportOptions(split="val", review="accepted"))


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_a_mask_that_marks_nothing_is_none(filled: Dataset, tmp_path: Path, format: str) -> None:
    Image.new("L", (40, 30), 127).save(filled.root / "pseudo/a.png")
    report = export_boxes(filled, tmp_path / "out", format, ExportOptions(masks="pseudo"))
    assert report.masks == 1
    assert not {name for name in files(tmp_path / "out") if name.endswith("a.png")}
    if format in ("folders", "imdlbenco"):
        assert report.left_out["tampered without a mask of that kind"] == 1
        return
    options = ReadOptions(images=report.root) if report.root else None
    import_source(tmp_path / "out", tmp_path / "again", options=options)
    with Dataset.open(tmp_path / "again") as again:
        (record,) = (record for record in again.records() if record.image.endswith("a.jpg"))
    assert (record.label, record.boxes, record.mask) == ("tampered", BOXES, None)


@pytest.mark.parametrize("format", EXPORT_FORMATS)
@pytest.mark.parametrize("masks", ["true", "pseudo"])
def test_masks_of_authentic_images_are_not_written(filled: Dataset, tmp_path: Path, format: str, masks: Any) -> None:
    """They are empty; or a teacher's, made before a person saw that nothing is tampered."""
    before = export_boxes(filled, tmp_path / "before", format, ExportOptions(masks=masks))
    Image.new("L", (40, 30)).save(filled.root / "masks/empty.png")
    record = filled.get("../photos/b.jpg")
    filled.put(replace(record, mask="masks/empty.png", pseudo=PseudoMask("pseudo/a.png", "grabcut")))
    after = export_boxes(filled, tmp_path / "after", format, ExportOptions(masks=masks))
    assert after.masks == before.masks
    assert files(tmp_path / "after") == files(tmp_path / "before")


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("nonsense", {}, "format 'nonsense' is not one of coco, yolo"),
        ("folders", {}, "folders consists of masks: say which with --masks true or --masks pseudo"),
        ("coco", {"mask_format": "png"}, "--mask-format is for masks"),
        ("yolo", {"masks": "true", "mask_format": "rle"}, "yolo takes no masks as rle"),
        ("yolo", {"images": "reference"}, "yolo needs its images in its own folders: --images copy or link"),
        ("coco", {"split": "tset"}, "split 'tset' is not one of"),
        ("coco", {"category": " "}, "category ' ' is no name"),
        ("folders", {"masks": "true", "split": "test"}, "nothing to export as folders: 1 without a label"),
        ("coco", {"split": "val"}, "no image to export"),
    ],
)
def test_what_cannot_be_fulfilled_is_refused(
    filled: Dataset, tmp_path: Path, format: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        export_boxes(filled, tmp_path / "out", format, ExportOptions(**options))
    assert not list(tmp_path.glob("*out*"))


def _other_file(out: Path, dataset: Dataset) -> None:
    out.mkdir()
    (out / "mine.txt").touch()


def _other_format(out: Path, dataset: Dataset) -> None:
    export_boxes(dataset, out, "voc")


def _a_file(out: Path, dataset: Dataset) -> None:
    out.touch()


def _the_dataset(out: Path, dataset: Dataset) -> None:
    Dataset.create(out).close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_other_file, "holds something else than an export"),
        (_other_format, r"is an export of .*data as voc; give another folder"),
        (_a_file, "is a file; an export is a folder"),
        (_the_dataset, "holds something else than an export"),
    ],
)
def test_a_folder_of_another_content_is_refused(
    filled: Dataset, tmp_path: Path, make: Callable[[Path, Dataset], None], message: str
) -> None:
    out = tmp_path / "out"
    make(out, filled)
    before = files(out)
    for overwrite in (False, True):
        with pytest.raises(DatasetError, match=message):
            export_boxes(filled, out, "coco", overwrite=overwrite)
    assert files(out) == before


def test_an_earlier_export_is_replaced_only_on_request(filled: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export_boxes(filled, out, "labelme")
    (out / "a.json").write_text("edited")
    with pytest.raises(DatasetError, match="--overwrite replaces it, and with it what was edited"):
        export_boxes(filled, out, "labelme")
    assert (out / "a.json").read_text() == "edited"
    export_boxes(filled, out, "labelme", overwrite=True)
    assert json.loads((out / "a.json").read_text())["imagePath"] == "../photos/a.jpg"


@pytest.mark.parametrize(("name", "images"), [("photos/d.jpg", "copy"), ("data/masks/a.png", "reference")])
def test_a_failure_leaves_no_folder(filled: Dataset, tmp_path: Path, name: str, images: Any) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=Path(name).name):
        export_boxes(filled, tmp_path / "out", "coco", ExportOptions(images=images, masks="true"))
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.slow
def test_a_killed_export_leaves_no_half_folder(
    filled: Dataset, tmp_path: Path, run_signalled: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ("export-boxes", filled.root, "--format", "coco", "-o", tmp_path / "out")
    place = "boxpromptiml.formats.writers.coco:CocoWriter.add"
    assert run_signalled(signal.SIGKILL, place, 2, *words).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert export_boxes(filled, tmp_path / "out", "coco").images == 4
    assert not list(tmp_path.glob(".out*"))


def test_the_same_dataset_gives_the_same_bytes(filled: Dataset, tmp_path: Path) -> None:
    for format in EXPORT_FORMATS:
        options = ExportOptions(masks="pseudo")
        for out in ("one", "two"):
            export_boxes(filled, tmp_path / out / format, format, options)
        for name in files(tmp_path / "one" / format):
            one, two = ((tmp_path / out / format / name).read_bytes() for out in ("one", "two"))
            assert one.replace(b"/one/", b"/two/") == two


def test_parts_of_a_mask_are_not_in_memory_all_at_once(dataset: Dataset, tmp_path: Path) -> None:
    pixels = np.full((1000, 1000), 255, np.uint8)
    Image.fromarray(pixels).save(dataset.root / "mask.png")
    boxes = tuple(Box(x, 0, x + 10, 1000) for x in range(0, 1000, 10))
    dataset.put(ImageRecord("a.png", 1000, 1000, label="tampered", boxes=boxes, mask="mask.png"))
    tracemalloc.start()
    try:
        export_boxes(dataset, tmp_path / "out", "coco", ExportOptions(masks="true"))
        assert tracemalloc.get_traced_memory()[1] < 40e6  # a hundred parts are 100 MB
    finally:
        tracemalloc.stop()


# --- what other programs make of it -----------------------------------------------------------------------------------


def test_pycocotools_reads_coco(filled: Dataset, tmp_path: Path, mask: np.ndarray[Any, Any]) -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    export_boxes(filled, tmp_path / "out", "coco", ExportOptions(masks="true"))
    coco = coco_module.COCO(str(tmp_path / "out/annotations.json"))
    (image,) = (image for image in coco.loadImgs(coco.getImgIds()) if image["file_name"] == "a.jpg")
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    assert [annotation["bbox"] for annotation in annotations] == [[b.x0, b.y0, b.width, b.height] for b in BOXES]
    union = np.any([coco.annToMask(annotation) for annotation in annotations], axis=0)
    assert (union == mask).all()
    assert sum(annotation["area"] for annotation in annotations) == mask.sum()


def test_our_polygons_are_those_of_pycocotools() -> None:
    coco_masks = pytest.importorskip("pycocotools.mask")
    from boxpromptiml.formats.shapes import fill_polygon

    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(20, 45, 12)
        points = np.column_stack([50 + radii * np.cos(angles), 50 + radii * np.sin(angles)])
        theirs = coco_masks.decode(coco_masks.frPyObjects([points.ravel().tolist()], 100, 100))[..., 0] > 0
        ours = np.zeros((100, 100), bool)
        fill_polygon(ours, points)
        # They draw at five times the size and round: borders differ by a fraction of a pixel.
        assert (ours ^ theirs).sum() <= 0.03 * theirs.sum()


def test_our_run_lengths_are_those_of_pycocotools(mask: np.ndarray[Any, Any]) -> None:
    coco_masks = pytest.importorskip("pycocotools.mask")
    from boxpromptiml import rle

    rng = np.random.default_rng(0)
    for made in (mask, np.zeros((3, 5), bool), np.ones((3, 5), bool), rng.random((60, 70)) < 0.3):
        theirs = coco_masks.encode(np.asfortranarray(made.astype(np.uint8)))
        assert rle.encode(made) == {"size": theirs["size"], "counts": theirs["counts"].decode()}


def test_globox_reads_boxes(filled: Dataset, tmp_path: Path) -> None:
    globox = pytest.importorskip("globox")

    def boxes(annotations: Any) -> dict[str, list[list[float]]]:
        return {
            Path(annotation.image_id).stem: [list(box.ltrb) for box in annotation.boxes] for annotation in annotations
        }

    for format in ("coco", "yolo", "voc", "labelme"):
        export_boxes(filled, tmp_path / format, format)
    half_open = [[float(side) for side in box] for box in BOXES]
    coco = boxes(globox.AnnotationSet.from_coco(tmp_path / "coco/annotations.json"))
    assert coco == {"a": half_open, "b": [], "c": [], "d": half_open}
    labelme = boxes(globox.AnnotationSet.from_labelme(tmp_path / "labelme"))
    assert labelme["a"] == half_open
    voc = boxes(globox.AnnotationSet.from_pascal_voc(tmp_path / "voc/Annotations"))
    assert voc["a"] == [[x0 + 1, y0 + 1, x1, y1] for x0, y0, x1, y1 in half_open]
    yolo = globox.AnnotationSet.from_yolo_v5(
        tmp_path / "yolo/labels/train", image_folder=tmp_path / "yolo/images/train"
    )
    assert np.allclose(boxes(yolo)["a"], half_open, atol=1e-3)


def test_labelme_opens_the_images_where_they_are(filled: Dataset, tmp_path: Path) -> None:
    """LabelMe joins the folder of a JSON file and its imagePath."""
    (tmp_path / "photos/deep").mkdir()
    Image.new("1", (40, 30)).save(tmp_path / "photos/deep/e.jpg")
    filled.put(ImageRecord("../photos/deep/e.jpg", 40, 30, label="tampered", boxes=BOXES))
    report = export_boxes(filled, tmp_path / "out/labelme", "labelme")
    found = sorted((tmp_path / "out/labelme").rglob("*.json"))
    assert [file.stem for file in found] == ["a", "b", "c", "d", "e"]
    for file in found:
        image = file.parent / json.loads(file.read_text())["imagePath"]
        assert image.resolve() == next((tmp_path / "photos").rglob(f"{file.stem}.jpg"))
    import_source(tmp_path / "out/labelme", filled, options=ReadOptions(images=report.root))
    assert filled.count() == 5
    with pytest.raises(RejectedError) as caught:  # a file of others leads nowhere without the user's word
        import_source(tmp_path / "out/labelme", filled)
    assert "say with --images which folder has the images" in caught.value.problems[0]


def test_label_studio_tasks(filled: Dataset, tmp_path: Path, mask: np.ndarray[Any, Any]) -> None:
    export_boxes(filled, tmp_path / "out", "label-studio", ExportOptions(masks="true"))
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    first, brush = tasks[0], tasks[0]["annotations"][0]["result"][2]
    assert first["data"] == {"image": "/data/local-files/?d=a.jpg"}
    assert first["annotations"][0]["result"][0]["value"] == {
        "x": 10.0,
        "y": 4 / 30 * 100,
        "width": 35.0,
        "height": 30.0,
        "rotation": 0,
        "rectanglelabels": ["tampered"],
    }
    assert (decode(brush["value"]["rle"], 30, 40) == mask).all()
    assert [len(task["annotations"]) for task in tasks] == [1, 1, 0, 1]
    # Every result speaks of a tag that the labelling interface has.
    tags = {tag.get("name") for tag in ElementTree.parse(tmp_path / "out/label_config.xml").iter()}
    assert {result["from_name"] for task in tasks for a in task["annotations"] for result in a["result"]} <= tags


def test_pascal_voc_counts_from_one(filled: Dataset, tmp_path: Path, mask: np.ndarray[Any, Any]) -> None:
    export_boxes(filled, tmp_path / "out", "voc", ExportOptions(masks="true"))
    root = ElementTree.parse(tmp_path / "out/Annotations/a.xml").getroot()
    corners = [[side.text for side in box] for box in root.iter("bndbox")]
    assert corners == [["5", "5", "18", "13"], ["30", "20", "40", "24"]]
    with Image.open(tmp_path / "out/SegmentationClass/a.png") as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == mask).all()


def test_yolo_lines_have_the_digits_that_the_size_needs() -> None:
    from boxpromptiml.formats.yolo import label_line

    assert label_line(0, (0, 0, 1, 1), 2, 4) == "0 0.250000 0.125000 0.500000 0.250000"
    assert len(label_line(0, (0, 0, 1, 1), 2_000_000, 4).split()[1]) == len("0.") + 9
