"""Files as other tools write them, and what is wrong with malformed ones."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.formats import ReadOptions, RejectedError, import_source, read_source
from boxpromptiml.formats.label_studio_rle import encode
from boxpromptiml.images import open_mask
from boxpromptiml.regions import Box

Paint = Callable[..., Path]


def write(path: Path, content: Any) -> Path:
    """JSON, or text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path, dataset: Dataset, **options: Any) -> dict[str, ImageRecord]:
    """What an import brings, by file name."""
    known = {name: options.pop(name) for name in ("on_mismatch", "overwrite", "format", "label") if name in options}
    import_source(path, dataset, group_by="none", options=ReadOptions(**options), **known)
    return {Path(record.image).name: record for record in dataset.records()}


def mask_of(dataset: Dataset, record: ImageRecord) -> np.ndarray[Any, Any]:
    assert record.mask is not None
    assert record.mask.startswith("masks/")
    return open_mask(dataset.path(record.mask)) > 127


def filled(*boxes: Box, height: int = 30, width: int = 40) -> np.ndarray[Any, Any]:
    mask = np.zeros((height, width), bool)
    for box in boxes:
        mask[box.slices] = True
    return mask


# --- COCO -----------------------------------------------------------------------------------------------------------


def coco(annotations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """As CVAT and COCO's own tools write it."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "year": ""},
        "categories": [
            {"id": 1, "name": "splice", "supercategory": ""},
            {"id": 2, "name": "logo", "supercategory": ""},
        ],
        "images": [
            {
                "id": 7,
                "width": 40,
                "height": 30,
                "file_name": "a.png",
                "license": 0,
                "coco_url": "",
                "date_captured": 0,
            },
            {"id": 8, "width": 40, "height": 30, "file_name": "sub/b.png"},
        ],
        "annotations": [{"image_id": 7, "category_id": 1, "iscrowd": 0, "area": 1.0, **a} for a in annotations],
        **more,
    }


@pytest.fixture
def two(source: Path, paint: Paint) -> Path:
    """``images/a.png`` and ``images/sub/b.png``, 40 x 30."""
    paint("images/a.png", (1, 2, 3))
    paint("images/sub/b.png", (1, 2, 3))
    return source


@pytest.mark.parametrize("place", ["all.json", "annotations/instances_default.json"])
def test_coco_boxes_and_polygons(two: Path, dataset: Dataset, place: str) -> None:
    polygon = [5, 5, 15, 5, 15, 10, 5, 10]
    content = coco(
        [{"id": 1, "bbox": [4.6, 5, 10.4, 5.2], "segmentation": [polygon], "attributes": {"occluded": False}}]
    )
    found = read(write(two / place, content), dataset)
    # Sides move outward to whole pixels; the pixels are those whose centre is inside.
    assert found["a.png"].boxes == (Box(4, 5, 15, 11),)
    assert (mask_of(dataset, found["a.png"]) == filled(Box(5, 5, 15, 10))).all()
    assert (found["a.png"].label, found["b.png"].label) == ("tampered", None)


def test_coco_run_lengths(two: Path, dataset: Dataset) -> None:
    plain = {"size": [30, 40], "counts": [0, 60, 1140]}  # the first two columns
    packed = {"size": [30, 40], "counts": "\\0no"}
    from boxpromptiml import rle

    packed = dict(rle.encode(filled(Box(10, 10, 20, 20))))
    content = coco(
        [
            {"id": 1, "bbox": [0, 0, 2, 30], "segmentation": plain},
            {"id": 2, "bbox": [9, 9, 12, 12], "segmentation": packed},
            {"id": 3, "image_id": 8, "segmentation": packed},
        ]
    )
    found = read(write(two / "all.json", content), dataset)
    assert found["a.png"].boxes == (Box(0, 0, 2, 30), Box(9, 9, 21, 21))
    assert (mask_of(dataset, found["a.png"]) == filled(Box(0, 0, 2, 30), Box(10, 10, 20, 20))).all()
    # Without a bbox the box is that of the pixels.
    assert found["b.png"].boxes == (Box(10, 10, 20, 20),)


@pytest.mark.parametrize(
    ("bbox", "segmentation", "other"),
    [
        ([4, 5, 10, 5], [], None),
        # The box itself, as some tools write it: no truth about pixels. 4.1 + 9.2 is not 13.3 to a computer.
        ([4, 5, 10, 5], [[4, 5, 14, 5, 14, 10, 4, 10]], None),
        ([4.1, 5.1, 9.2, 4.7], [[4.1, 5.1, 13.3, 5.1, 13.3, 9.8, 4.1, 9.8, 4.1, 5.1]], None),
        # A region without pixels: half a mask.
        ([4, 5, 10, 5], [[5, 5, 15, 5, 15, 10, 5, 10]], {"id": 2, "bbox": [20, 20, 5, 5]}),
    ],
)
def test_coco_without_pixels_for_every_region_has_no_mask(
    two: Path, dataset: Dataset, bbox: Any, segmentation: Any, other: Any
) -> None:
    content = coco([{"id": 1, "bbox": bbox, "segmentation": segmentation}, *([other] if other else [])])
    found = read(write(two / "all.json", content), dataset)
    assert found["a.png"].mask is None
    assert found["a.png"].boxes[0] == Box(4, 5, 14, 10)


@pytest.mark.parametrize("ring", [[], [9, 9], [1, 1, 39, 29]])
def test_a_coco_ring_of_less_than_three_points_is_an_empty_one(two: Path, dataset: Dataset, ring: list[int]) -> None:
    beside_another = {"id": 1, "segmentation": [[5, 5, 15, 5, 15, 10, 5, 10], ring]}
    with_a_box = {"id": 2, "image_id": 8, "bbox": [1, 1, 4, 4], "segmentation": [ring]}
    file = write(two / "all.json", coco([beside_another, with_a_box]))
    report = import_source(file, dataset, group_by="none")
    found = read(file, dataset)
    assert found["a.png"].boxes == (Box(5, 5, 15, 10),)
    assert (mask_of(dataset, found["a.png"]) == filled(Box(5, 5, 15, 10))).all()
    assert (found["b.png"].boxes, found["b.png"].mask) == ((Box(1, 1, 5, 5),), None)
    assert report.incomplete == (found["b.png"].image,)


def test_categories_that_are_no_manipulation(two: Path, dataset: Dataset) -> None:
    content = coco([{"id": 1, "bbox": [1, 1, 5, 5]}, {"id": 2, "bbox": [9, 9, 5, 5], "category_id": 2}])
    file = write(two / "all.json", content)
    assert read(file, dataset, tampered=("splice",))["a.png"].boxes == (Box(1, 1, 6, 6),)
    assert read(file, dataset, overwrite=True)["a.png"].boxes == (Box(1, 1, 6, 6), Box(9, 9, 14, 14))
    with pytest.raises(BoxPromptError, match=r"no category 'spliced' \(--tampered\); there are: logo, splice"):
        read(file, dataset, tampered=("spliced",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, "3", 4]}, 'annotations[0].bbox[2] (id 4711): input should be a valid number, got "3"'),
        ({"bbox": [1, 2, 3]}, "annotations[0].bbox[3] (id 4711): field required"),
        ({"bbox": None}, "annotations[0] (id 4711): has neither a bbox nor a segmentation"),
        ({"image_id": 99, "bbox": [1, 1, 2, 2]}, "annotations[0] (id 4711): image_id 99 is not among the images"),
        (
            {"category_id": 5, "bbox": [1, 1, 2, 2]},
            "annotations[0] (id 4711): category_id 5 is not among the categories",
        ),
        ({"segmentation": [[1, 2, 3]]}, "annotations[0] (id 4711).segmentation: expected polygons"),
        ({"segmentation": {"size": [3], "counts": []}}, "annotations[0] (id 4711).segmentation.size: expected [height"),
        (
            {"segmentation": {"size": [30, 40], "counts": [0.5]}},
            "annotations[0] (id 4711).segmentation.counts: expected",
        ),
    ],
)
def test_a_malformed_coco_entry_is_named(two: Path, dataset: Dataset, change: dict[str, Any], message: str) -> None:
    file = write(two / "all.json", coco([{"id": 4711, **change}]))
    with pytest.raises(RejectedError, match="1 entry is malformed, nothing was imported") as caught:
        read(file, dataset)
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: {message}")
    assert dataset.count() == 0


def test_many_problems_are_named_up_to_a_limit(two: Path, dataset: Dataset) -> None:
    file = write(two / "all.json", coco([{"id": i, "bbox": "?"} for i in range(250)]))
    with pytest.raises(RejectedError, match="250 entries are malformed") as caught:
        read(file, dataset)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "... and 150 more"


def test_images_listed_twice(two: Path, dataset: Dataset) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "sub/b.png"}]
    with pytest.raises(RejectedError) as caught:
        read(write(two / "all.json", coco([], images=images)), dataset)
    assert "images[1]: has the id 1 of images[0]" in caught.value.problems[0]
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "./a.png"}]
    with pytest.raises(RejectedError) as caught:
        read(write(two / "all.json", coco([], images=images)), dataset)
    assert "is annotated twice: images[0] (id 1) and images[1] (id 2); keep one" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("entry", "reason", "boxes"),
    [
        (
            {"bbox": [30, 20, 12.5, 5]},
            "box [30, 20, 42.5, 25] is not inside the image of 40 x 30",
            (Box(30, 20, 40, 25),),
        ),
        ({"bbox": [50, 50, 5, 5]}, "is not inside the image", None),
        ({"bbox": [5, 5, 0, 5]}, "box [5, 5, 5, 10] is empty", None),
        ({"segmentation": {"size": [40, 30], "counts": [1200]}, "bbox": [1, 1, 2, 2]}, "has the size [40, 30]", None),
        ({"segmentation": {"size": [30, 40], "counts": [7]}, "bbox": [1, 1, 2, 2]}, "run lengths add up to 7", None),
        ({"segmentation": {"size": [30, 40], "counts": "~~~"}, "bbox": [1, 1, 2, 2]}, "does not belong in", None),
        # Sums that are right in 64 bits only, and a number that has more.
        ({"segmentation": {"size": [30, 40], "counts": [2**61] * 8 + [1200]}}, "run lengths add up to 1844674", None),
        ({"segmentation": {"size": [30, 40], "counts": "o" * 20 + "0"}}, "a number of more than 60 bits", None),
        # Shapes without an area.
        ({"segmentation": {"size": [30, 40], "counts": [1200]}}, "marks nothing; draw it, or remove it", None),
        ({"segmentation": [[1, 1, 5, 5]]}, "marks nothing", None),
        ({"segmentation": [[], [1, 1]]}, "marks nothing", None),
    ],
)
def test_what_does_not_fit_the_image_is_a_mismatch(
    two: Path, dataset: Dataset, entry: dict[str, Any], reason: str, boxes: Any
) -> None:
    file = write(two / "all.json", coco([{"id": 3, **entry}]))
    with pytest.raises(RejectedError) as caught:
        read(file, dataset)
    (line,) = caught.value.problems
    assert reason in line
    assert "annotations[0] (id 3)" in line
    assert set(read(file, dataset, on_mismatch="skip")) == {"b.png"}
    found = read(file, dataset, on_mismatch="resize").get("a.png")
    assert (found and found.boxes) == boxes


def test_boxes_drawn_at_another_size_are_scaled_on_request(two: Path, dataset: Dataset) -> None:
    polygon = [2, 2, 10, 2, 10, 10, 2, 10]
    images = [{"id": 7, "width": 20, "height": 15, "file_name": "a.png"}]
    file = write(two / "all.json", coco([{"id": 1, "bbox": [1, 2, 10, 11], "segmentation": [polygon]}], images=images))
    with pytest.raises(RejectedError) as caught:
        read(file, dataset)
    assert "was annotated at 20 x 15 pixels, but is 40 x 30" in caught.value.problems[0]
    found = read(file, dataset, on_mismatch="resize")["a.png"]
    assert found.boxes == (Box(2, 4, 22, 26),)
    assert (mask_of(dataset, found) == filled(Box(4, 4, 20, 20))).all()


def test_a_size_beyond_all_images_is_not_drawn(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("a.png", size=(30, 30))
    images = [{"id": 7, "width": 2**31 - 1, "height": 2**31 - 1, "file_name": "a.png"}]
    content = coco([{"id": 1, "bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 9, 1, 9, 9]]}], images=images)
    with pytest.raises(BoxPromptError, match="no image fits"):
        read(write(source / "all.json", content), dataset, on_mismatch="resize")


# --- YOLO -----------------------------------------------------------------------------------------------------------


def test_yolo_as_ultralytics_has_it(source: Path, dataset: Dataset, paint: Paint) -> None:
    for name in ("train/a", "train/b", "val/c", "val/d"):
        paint(f"images/{name}.png", (1, 2, 3))
    write(source / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: splice\n  1: 'a: b'\n")
    write(source / "labels/train/a.txt", "0 0.5 0.5 0.25 0.2\n\n1 0.1 0.1 0.2 0.2 0.9\n")
    write(source / "labels/train/b.txt", "")
    write(source / "labels/val/c.txt", "0 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8\n")
    for place in (source, source / "data.yaml"):
        found = read(place, dataset)
        assert {name: (record.label, record.split) for name, record in found.items()} == {
            "a.png": ("tampered", "train"),
            "b.png": ("authentic", "train"),
            "c.png": ("tampered", "val"),
            "d.png": (None, "val"),
        }
        assert found["a.png"].boxes == (Box(15, 12, 25, 18), Box(0, 0, 8, 6))
        assert found["c.png"].boxes == (Box(10, 6, 30, 24),)
        assert (mask_of(dataset, found["c.png"]) == filled(Box(10, 6, 30, 24))).all()
    only = read(source, dataset, tampered=("a: b",), overwrite=True)
    assert only["a.png"].boxes == (Box(0, 0, 8, 6),)


def test_yolo_as_roboflow_and_label_studio_have_it(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("valid/images/a.png", (1, 2, 3))
    paint("train/images/b.png", (1, 2, 3))
    write(source / "data.yaml", "names: [splice]\n")
    write(source / "valid/labels/a.txt", "0 0.5 0.5 1 1")
    write(source / "train/labels/b.txt", "0 0.500000 0.500000 0.333333 0.333333")
    found = read(source, dataset)
    assert (found["a.png"].boxes, found["a.png"].split) == ((Box(0, 0, 40, 30),), "val")
    assert found["b.png"].boxes == (Box(13, 10, 27, 20),)


def test_yolo_images_where_the_yaml_file_has_them(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("set/first/images/a.png", (1, 2, 3))
    paint("set/second/b.png", (1, 2, 3))
    paint("away/c.png", (1, 2, 3))
    write(source / "set/first/labels/a.txt", "0 0.5 0.5 1 1")
    write(source / "set/second/b.txt", "0 0.5 0.5 1 1")
    config = source / "set/data.yaml"
    write(config, "path: .\ntrain: [first/images]\nval: second\ntest: not-made\nnames: [splice]\n")
    found = read(source / "set", dataset)
    assert {name: (record.boxes, record.split) for name, record in found.items()} == {
        "a.png": ((Box(0, 0, 40, 30),), "train"),
        "b.png": ((Box(0, 0, 40, 30),), "val"),
    }
    write(config, "train: first/images\nval: ../away\nnames: [splice]\n")
    with pytest.raises(RejectedError) as caught:
        read(source / "set", dataset)
    assert caught.value.problems == (
        f"{config}: has its images of val in {source / 'away'}, which is not below {source / 'set'}; "
        "import the folder that has its images/ and labels/",
    )
    write(config, "train: list.txt\nnames: [splice]\n")
    write(source / "set/list.txt", "first/images/a.png")
    shutil.rmtree(source / "set/first")
    shutil.rmtree(source / "set/second")
    with pytest.raises(BoxPromptError, match=r"has its images of train in .*list\.txt, a list, which is not read"):
        read(source / "set", dataset)


def test_yolo_splits_that_only_the_yaml_file_says(source: Path, dataset: Dataset, paint: Paint) -> None:
    for name in ("part1/a", "part2/b", "part3/c"):
        paint(f"images/{name}.png", (1, 2, 3))
    config = "train: [images/part1, images/part3]\nval: [images/part2, images/part3]\nnames: [splice]\n"
    write(source / "data.yaml", config)
    found = read(source, dataset)
    # What is in several is in none: people who have no other set name the same folder twice.
    assert {name: record.split for name, record in found.items()} == {"a.png": "train", "b.png": "val", "c.png": None}


def test_yolo_images_behind_a_link(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("kept/a.png", (1, 2, 3))
    write(source / "set/labels/train/a.txt", "0 0.5 0.5 1 1")
    (source / "set/images").mkdir()
    (source / "set/images/train").symlink_to(source / "kept")
    found = read(source / "set", dataset)
    assert (found["a.png"].boxes, found["a.png"].split) == ((Box(0, 0, 40, 30),), "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 x 0.1 0.1", 'field 3 is "x", not a number'),
        ("0 0.5 nan 0.1 0.1", 'field 3 is "nan", not a number'),
        ("0 0.5 0.5 0.1", "has 4 fields, expected 5"),
        ("3 0.5 0.5 0.1 0.1", "field 1 (class) is 3, expected 0 to 0"),
        ("-1 0.5 0.5 0.1 0.1", "field 1 (class) is -1"),
        ("0 120 50 30 30", "field 2 is 120, expected a share of the image from 0 to 1"),
    ],
)
def test_a_malformed_yolo_line_is_named(source: Path, dataset: Dataset, paint: Paint, line: str, message: str) -> None:
    paint("images/a.png")
    write(source / "classes.txt", "splice\n")
    file = write(source / "labels/a.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(RejectedError) as caught:
        read(source, dataset)
    assert caught.value.problems[0].startswith(f"{file}:2: {message}")


def test_yolo_labels_without_an_image(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("images/a.png")
    file = write(source / "labels/gone.txt", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(RejectedError) as caught:
        read(source, dataset)
    assert caught.value.problems == (
        f"{file}: has labels, but no image of that name was found; say with --images which folder has them",
    )


@pytest.mark.parametrize(
    "text", ["names: 3", "names: {a: b}", "- x", "names: [a", "names: !!python/object:os.system x"]
)
def test_malformed_yaml(source: Path, dataset: Dataset, paint: Paint, text: str) -> None:
    paint("images/a.png")
    write(source / "data.yaml", text)
    with pytest.raises(BoxPromptError, match=r"data\.yaml: (not YAML|field names)"):
        read(source, dataset)


# --- Pascal VOC -----------------------------------------------------------------------------------------------------

VOC = """<annotation{attributes}>
  <folder>photos</folder><filename>{name}</filename><path>C:\\Users\\x\\photos\\{name}</path>
  <source><database>Unknown</database></source>
  <size><width>40</width><height>30</height><depth>3</depth></size><segmented>0</segmented>
  {objects}
</annotation>"""
OBJECT = """<object><name>splice</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
  <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def segmentation(path: Path, index: np.ndarray[Any, Any]) -> None:
    """A picture with VOC's palette: 7 is one of the classes, 255 void."""
    picture = Image.fromarray(index)
    palette = np.zeros((256, 3), np.uint8)
    palette[7], palette[255] = (128, 0, 0), (224, 224, 192)
    picture.putpalette(palette.ravel().tolist())
    path.parent.mkdir()
    picture.save(path)


@pytest.mark.parametrize(("zero_based", "box"), [(False, Box(0, 4, 10, 20)), (True, Box(1, 5, 10, 20))])
def test_voc_counts_from_one(source: Path, dataset: Dataset, paint: Paint, zero_based: bool, box: Box) -> None:
    for name in "abc":
        paint(f"JPEGImages/{name}.png", (1, 2, 3))
    objects = OBJECT.format(1, 5, 10, 20)
    write(source / "Annotations/a.xml", VOC.format(attributes="", name="a.png", objects=objects))
    write(source / "Annotations/b.xml", VOC.format(attributes=' verified="yes"', name="b.png", objects=""))
    write(source / "ImageSets/Main/val.txt", "a\n")
    found = read(source, dataset, zero_based=zero_based)
    assert (found["a.png"].boxes, found["a.png"].split) == ((box,), "val")
    assert {name: record.label for name, record in found.items()} == {
        "a.png": "tampered",
        "b.png": "authentic",
        "c.png": None,
    }


def test_voc_beside_the_images_as_labelimg_has_it(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("a.png", (1, 2, 3))
    paint("b.png", (1, 2, 3))
    file = write(source / "a.xml", VOC.format(attributes="", name="a.png", objects=OBJECT.format(3.5, 4, 40, 30)))
    assert set(read(file, dataset)) == {"a.png"}
    found = read(source, dataset)
    assert found["a.png"].boxes == (Box(2, 3, 40, 30),)
    assert found["b.png"].label is None


def test_voc_segmentation(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("JPEGImages/a.png", (1, 2, 3))
    write(source / "Annotations/a.xml", VOC.format(attributes="", name="a.png", objects=OBJECT.format(3, 4, 20, 15)))
    index = np.zeros((30, 40), np.uint8)
    index[5:10, 5:10] = 7
    index[5, 3:5] = 255
    segmentation(source / "SegmentationClass/a.png", index)
    found = read(source, dataset)["a.png"]
    assert found.boxes == (Box(2, 3, 20, 15),)
    assert (mask_of(dataset, found) == filled(Box(5, 5, 10, 10))).all()


@pytest.mark.parametrize(
    ("attributes", "value", "label"),
    [
        (' verified="yes"', 0, "authentic"),
        ("", 0, None),
        ("", 255, None),  # VOC's void
        (' verified="yes"', 7, "tampered"),
        ("", 7, "tampered"),
    ],
)
def test_a_voc_segmentation_that_marks_nothing_says_nothing(
    source: Path, dataset: Dataset, paint: Paint, attributes: str, value: int, label: str | None
) -> None:
    paint("JPEGImages/a.png", (1, 2, 3))
    write(source / "Annotations/a.xml", VOC.format(attributes=attributes, name="a.png", objects=""))
    segmentation(source / "SegmentationClass/a.png", filled(Box(5, 5, 10, 10)).astype(np.uint8) * value)
    found = read(source, dataset)["a.png"]
    assert (found.label, found.mask is not None) == (label, label == "tampered")


def test_a_voc_segmentation_beside_objects_must_mark_something(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("JPEGImages/a.png", (1, 2, 3))
    write(source / "Annotations/a.xml", VOC.format(attributes="", name="a.png", objects=OBJECT.format(3, 4, 20, 15)))
    segmentation(source / "SegmentationClass/a.png", np.zeros((30, 40), np.uint8))
    with pytest.raises(RejectedError) as caught:
        read(source, dataset)
    assert "SegmentationClass/a.png: marks nothing; draw it, or remove it" in caught.value.problems[0]
    assert read(source, dataset, boxes_only=True)["a.png"].boxes == (Box(2, 3, 20, 15),)


def test_a_voc_segmentation_that_cannot_be_read_is_named(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("JPEGImages/a.png", (1, 2, 3))
    write(source / "Annotations/a.xml", VOC.format(attributes="", name="a.png", objects=""))
    write(source / "SegmentationClass/a.png", "no image")
    with pytest.raises(RejectedError) as caught:
        read(source, dataset)
    assert "SegmentationClass/a.png: is not an image" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            VOC.format(attributes="", name="a.png", objects=OBJECT.format(1, "x", 3, 4)),
            'object 1: field bndbox/ymin is "x"',
        ),
        (
            VOC.format(attributes="", name="a.png", objects="<object><name>s</name></object>"),
            "object 1: field bndbox/xmin is missing",
        ),
        ("<annotation><filename>", "not XML"),
        ("<other/>", "has the root <other>, expected <annotation>"),
        ('<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>', "declares a document type"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
            "declares a document type",
        ),
    ],
)
def test_malformed_xml_is_named(source: Path, dataset: Dataset, paint: Paint, text: str, message: str) -> None:
    paint("JPEGImages/a.png")
    file = write(source / "Annotations/a.xml", text)
    with pytest.raises(RejectedError) as caught:
        read(source, dataset)
    assert caught.value.problems[0].startswith(f"{file}: {message}")


# --- LabelMe --------------------------------------------------------------------------------------------------------


def labelme(*shapes: dict[str, Any], name: str = "a.png", **more: Any) -> dict[str, Any]:
    """As LabelMe 5 writes it."""
    known = {"group_id": None, "description": "", "flags": {}, "label": "splice", "mask": None}
    shapes = tuple({**known, **shape} for shape in shapes)
    size = {"imageHeight": 30, "imageWidth": 40}
    return {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None, **size, **more}


def png(mask: np.ndarray[Any, Any]) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_labelme_shapes(source: Path, dataset: Dataset, paint: Paint) -> None:
    for name in ("a", "b", "sub/c", "d"):
        paint(f"{name}.png", (1, 2, 3))
    rectangle = {"shape_type": "rectangle", "points": [[20.4, 15.0], [4.0, 3.5]]}  # drawn from the lower right
    polygon = {"shape_type": "polygon", "points": [[25, 5], [35, 5], [35, 12], [25, 12]]}
    # A bool PNG, as LabelMe makes it; both corners belong to it.
    mask = {"shape_type": "mask", "points": [[1, 2], [4, 6]], "mask": png(np.ones((5, 4), bool))}
    write(source / "a.json", labelme(rectangle))
    write(source / "b.json", labelme(polygon, mask, name="b.png"))
    write(source / "sub/c.json", labelme(name="c.png", flags={"authentic": True, "skipped": False}))
    write(source / "d.json", labelme(name="d.png", flags={"skipped": True}))
    write(source / "notes.json", {"mine": 1})
    found = read(source, dataset)
    assert found["a.png"].boxes == (Box(4, 3, 21, 15),)
    assert found["b.png"].boxes == (Box(25, 5, 35, 12), Box(1, 2, 5, 7))
    assert (mask_of(dataset, found["b.png"]) == filled(*found["b.png"].boxes)).all()
    assert (found["c.png"].label, found["d.png"].skipped) == ("authentic", True)
    assert read(source / "a.json", dataset)["a.png"].version == found["a.png"].version


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"shape_type": "line", "points": [[1, 1], [2, 2]]}, "shapes[0]: shape_type 'line' has no box"),
        ({"shape_type": "rectangle", "points": [[1, 1]]}, "shapes[0]: a rectangle has 2 points, got 1"),
        ({"shape_type": "mask", "points": [[1, 1], [3, 3]], "mask": "?"}, "shapes[0]: mask is not a PNG in base64"),
        (
            {"shape_type": "mask", "points": [[1, 1], [3, 3]], "mask": png(np.ones((5, 4), bool))},
            "shapes[0]: mask is 4 x 5 pixels, its points say 3 x 3",
        ),
        ({"shape_type": "rectangle", "points": [[1, "b"], [2, 2]]}, "shapes[0].points[0][1]: input should be"),
        ({"shape_type": "rectangle", "points": [[1, 1], [2, 2]], "label": 3}, "shapes[0].label: input should be"),
    ],
)
def test_a_malformed_shape_is_named(
    source: Path, dataset: Dataset, paint: Paint, shape: dict[str, Any], message: str
) -> None:
    paint("a.png")
    write(source / "a.json", labelme(shape))
    with pytest.raises(RejectedError) as caught:
        read(source, dataset)
    assert message in caught.value.problems[0]
    assert "a.json" in caught.value.problems[0]


# --- Label Studio ---------------------------------------------------------------------------------------------------


def task(*results: dict[str, Any], image: str = "a.png", **annotation: Any) -> dict[str, Any]:
    """As Label Studio exports it (JSON)."""
    size = {"original_width": 40, "original_height": 30, "image_rotation": 0, "from_name": "x", "to_name": "image"}
    made = {"id": 5, "completed_by": 1, "result": [{**size, **result} for result in results], "was_cancelled": False}
    made |= {"ground_truth": False, "lead_time": 6.5, **annotation}
    return {"id": 12, "annotations": [made], "predictions": [], "data": {"image": image}, "meta": {}, "project": 1}


def rectangle(x: float, y: float, width: float, height: float, rotation: float = 0) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": ["splice"]}
    return {"type": "rectanglelabels", "value": value}


@pytest.mark.parametrize(
    "address",
    [
        "a.png",
        "/data/local-files/?d=images/a.png",
        "/data/upload/3/0a1b2c3d-a.png",
        "http://localhost:8080/data/upload/3/0a1b2c3d-a.png",
        "s3://bucket/photos/a.png?token=x",
    ],
)
def test_label_studio_finds_images(two: Path, dataset: Dataset, address: str) -> None:
    found = read(write(two / "tasks.json", [task(rectangle(25, 10, 50, 20), image=address)]), dataset)
    assert found["a.png"].boxes == (Box(10, 3, 30, 9),)
    assert (found["a.png"].label, found["a.png"].seconds) == ("tampered", 6.5)


def test_label_studio_brushes_polygons_and_turned_boxes(two: Path, dataset: Dataset) -> None:
    brush = {
        "type": "brushlabels",
        "value": {"format": "rle", "rle": encode(filled(Box(5, 5, 10, 10))), "brushlabels": ["s"]},
    }
    polygon = {
        "type": "polygonlabels",
        "value": {"points": [[50, 50], [75, 50], [75, 100], [50, 100]], "polygonlabels": ["s"]},
    }
    file = write(two / "tasks.json", [task(brush, polygon), task(rectangle(50, 50, 25, 20, 90), image="b.png")])
    found = read(file, dataset, images=two)
    assert found["a.png"].boxes == (Box(5, 5, 10, 10), Box(20, 15, 30, 30))
    assert (mask_of(dataset, found["a.png"]) == filled(*found["a.png"].boxes)).all()
    # 10 x 6 pixels turned by a quarter about the corner (20, 15): enclosed.
    assert found["b.png"].boxes == (Box(14, 15, 20, 25),)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (task({"type": "choices", "value": {"choices": ["Authentic"]}}), ("authentic", False)),
        (task({"type": "choices", "value": {"choices": ["skip"]}}), (None, True)),
        (task(was_cancelled=True), (None, True)),
        ({"id": 1, "data": {"image": "a.png"}}, (None, False)),
    ],
)
def test_label_studio_verdicts(two: Path, dataset: Dataset, made: Any, expected: Any) -> None:
    found = read(write(two / "tasks.json", [made]), dataset)["a.png"]
    assert (found.label, found.skipped) == expected


def test_of_several_annotations_the_ground_truth_counts(two: Path, dataset: Dataset) -> None:
    made = task(rectangle(0, 0, 50, 50))
    made["annotations"].append({**made["annotations"][0], "result": [], "was_cancelled": True})
    assert read(write(two / "a.json", [made]), dataset)["a.png"].boxes == (Box(0, 0, 20, 15),)
    other = {**made["annotations"][0], "ground_truth": True, "result": [{**rectangle(50, 50, 50, 50)}]}
    made["annotations"].insert(0, other)
    assert read(write(two / "a.json", [made]), dataset, overwrite=True)["a.png"].boxes == (Box(20, 15, 40, 30),)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (task(rectangle(0, 0, "x", 1)), '[0] (id 12).result[0].value: width: input should be a valid number, got "x"'),
        ({"id": 12, "data": {}}, "[0] (id 12).data: names no image"),
        ({"id": 12, "data": 3}, "[0].data (id 12): input should be a valid dictionary"),
        (task({**rectangle(0, 0, 1, 1), "image_rotation": 90}), "[0] (id 12).result[0]: image_rotation is 90"),
        (task({"type": "ellipselabels", "value": {"ellipselabels": ["s"]}}), "type 'ellipselabels' is not read"),
        (
            task({"type": "brushlabels", "value": {"rle": [1, 2], "brushlabels": ["s"]}}),
            "[0] (id 12).result[0]: rle has 2 bytes",
        ),
    ],
)
def test_a_malformed_task_is_named(two: Path, dataset: Dataset, made: Any, message: str) -> None:
    with pytest.raises(RejectedError) as caught:
        read(write(two / "tasks.json", [made]), dataset)
    assert message in caught.value.problems[0]


# --- CVAT -----------------------------------------------------------------------------------------------------------

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task/></meta>
  <image id="0" name="a.png" subset="Train" width="40" height="30">{}</image>
  <image id="1" name="sub/b.png" width="40" height="30"><tag label="authentic" source="manual"/></image>
</annotations>"""


def test_cvat(two: Path, dataset: Dataset) -> None:
    shapes = """
      <box label="splice" source="manual" occluded="0" xtl="3.50" ytl="4.00" xbr="10.00" ybr="9.20" z_order="0"/>
      <polygon label="splice" points="20.00,5.00;30.00,5.00;30.00,10.00;20.00,10.00" z_order="0"/>
      <mask label="splice" rle="1, 2, 3" left="5" top="5" width="3" height="2"/>
      <box label="splice" xtl="20" ytl="14" xbr="30" ybr="20" rotation="90.0"/>"""
    found = read(write(two / "annotations.xml", CVAT.format(shapes)), dataset)
    # The mask lies in the first box and brings none of its own; the last box has no pixels, so there is no mask.
    assert found["a.png"].boxes == (Box(3, 4, 10, 10), Box(20, 5, 30, 10), Box(22, 12, 28, 22))
    assert (found["a.png"].split, found["a.png"].mask, found["b.png"].label) == ("train", None, "authentic")
    shapes = '<mask label="s" rle="0, 4, 2" left="5" top="6" width="3" height="2"/>'
    found = read(write(two / "annotations.xml", CVAT.format(shapes)), dataset, overwrite=True)
    assert found["a.png"].boxes == (Box(5, 6, 8, 8),)
    assert (mask_of(dataset, found["a.png"]) == filled(Box(5, 6, 8, 7), Box(5, 7, 6, 8))).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<box label="s" xtl="a" ytl="1" xbr="2" ybr="3"/>', 'image 1 (a.png): box 1: field xtl is "a"'),
        ('<polygon label="s" points="1,2;3"/>', 'image 1 (a.png): polygon 1: field points is "1,2;3"'),
        ('<mask label="s" rle="4" left="0" top="0" width="3" height="2"/>', "mask 1: field rle adds up to 4 pixels"),
        ('<ellipse label="s"/>', "image 1 (a.png): ellipse 1 is not read"),
    ],
)
def test_a_malformed_cvat_shape_is_named(two: Path, dataset: Dataset, shape: str, message: str) -> None:
    with pytest.raises(RejectedError) as caught:
        read(write(two / "annotations.xml", CVAT.format(shape)), dataset)
    assert message in caught.value.problems[0]


def test_tracks_of_videos_are_refused(two: Path, dataset: Dataset) -> None:
    file = write(two / "a.xml", "<annotations><track/></annotations>")
    with pytest.raises(BoxPromptError, match="holds tracks of a video"):
        read(file, dataset)


# --- what all have in common ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "images/../../secret.png", "..\\secret.png", ""])
def test_an_annotation_file_leads_nowhere_else(two: Path, dataset: Dataset, paint: Paint, name: str) -> None:
    Image.new("1", (40, 30)).save(two.parent / "secret.png")
    name = name.replace("/etc/passwd", str(two.parent / "secret.png"))
    images = [{"id": 7, "file_name": name}, {"id": 8, "file_name": "a.png"}]
    file = write(two / "all.json", coco([], images=images))
    with pytest.raises(RejectedError) as caught:
        read(file, dataset)
    assert "leads out of the annotations' folder" in caught.value.problems[0] or not name
    assert set(read(file, dataset, on_mismatch="skip")) == {"a.png"}
    # The user's own word opens a folder.
    if name:
        assert set(read(file, dataset, images=two.parent)) == {"a.png", "secret.png"}


def test_images_are_found_by_name_below_the_given_folder(two: Path, dataset: Dataset, paint: Paint) -> None:
    paint("photos/x/c.png")
    paint("photos/y/c.png")
    images = [{"id": 7, "file_name": "C:\\work\\y\\c.png"}]
    file = write(two / "all.json", coco([], images=images))
    (record,) = read(file, dataset, images=two / "photos").values()
    assert record.image.endswith("photos/y/c.png")
    file = write(two / "all.json", coco([], images=[{"id": 7, "file_name": "c.png"}]))
    with pytest.raises(RejectedError) as caught:
        read(file, dataset, images=two / "photos")
    assert "rename one, or give a smaller folder with --images" in caught.value.problems[0]


def test_blanks_at_the_ends_may_be_the_names_own(two: Path, dataset: Dataset, paint: Paint) -> None:
    paint("photos/x/ c.png")
    for name, found in ((" c.png", " c.png"), ("\n a.png \n", "a.png")):
        file = write(two / "all.json", coco([], images=[{"id": 7, "file_name": name}]))
        assert found in read(file, dataset, images=two / "photos")


def test_boxes_only_leaves_pixels_out(two: Path, dataset: Dataset) -> None:
    content = coco([{"id": 1, "bbox": [4, 5, 10, 5], "segmentation": [[5, 5, 15, 5, 15, 10, 5, 10]]}])
    found = read(write(two / "all.json", content), dataset, boxes_only=True)
    assert (found["a.png"].boxes, found["a.png"].mask) == ((Box(4, 5, 14, 10),), None)
    assert not (dataset.root / "masks").exists()


def test_what_people_drew_is_kept(two: Path, dataset: Dataset) -> None:
    file = write(two / "all.json", coco([{"id": 1, "bbox": [4, 5, 10, 5], "segmentation": [[5, 5, 15, 5, 15, 10]]}]))
    read(file, dataset)
    name = next(record.image for record in dataset.records() if record.image.endswith("a.png"))
    drawn = dataset.set_boxes(name, [Box(1, 1, 9, 9)], seconds=4.0)
    mask = dataset.path(drawn.mask or "").read_bytes()
    write(file, coco([{"id": 1, "bbox": [6, 6, 3, 3], "segmentation": [[6, 6, 9, 6, 9, 9]]}]))
    report = import_source(file, dataset, group_by="none")
    assert report.kept == (name,)
    assert dataset.get(name) == drawn
    assert dataset.path(drawn.mask or "").read_bytes() == mask
    assert import_source(file, dataset, group_by="none", overwrite=True).kept == ()
    again = dataset.get(name)
    assert again.boxes == (Box(6, 6, 9, 9),)
    assert again.mask != drawn.mask


@pytest.mark.parametrize("own", [{}, {"label": "authentic"}])
def test_a_box_that_was_removed_elsewhere_comes_back_on_request(
    two: Path, dataset: Dataset, own: dict[str, str]
) -> None:
    first = coco([{"id": 1, "bbox": [4, 5, 10, 5], "segmentation": [[5, 5, 15, 5, 15, 10]]}])
    drawn = read(write(two / "all.json", first), dataset)["a.png"]
    assert drawn.mask is not None
    images = [{"id": 7, "file_name": "a.png", "boxpromptiml": own}]
    corrected = write(two / "all.json", coco([], images=images))
    assert import_source(corrected, dataset, group_by="none").kept == (drawn.image,)
    assert dataset.get(drawn.image) == drawn
    assert import_source(corrected, dataset, group_by="none", overwrite=True).changed == 1
    record = dataset.get(drawn.image)
    assert (record.boxes, record.label, record.mask) == ((), own.get("label"), None)


def test_a_mask_that_no_format_drew_stays_where_boxes_change(two: Path, dataset: Dataset, paint: Paint) -> None:
    first = read(write(two / "all.json", coco([{"id": 1, "bbox": [4, 5, 10, 5]}])), dataset)["a.png"]
    dataset.put(replace(first, mask="../source/truth.png"))
    write(two / "all.json", coco([{"id": 1, "bbox": [6, 6, 3, 3]}]))
    again = read(two / "all.json", dataset, overwrite=True)["a.png"]
    assert (again.boxes, again.mask) == ((Box(6, 6, 9, 9),), "../source/truth.png")


def test_what_says_nothing_of_an_image_contradicts_nobody(two: Path, dataset: Dataset, paint: Paint) -> None:
    """A region of a category that does not count, a YOLO image without a file, a task that nobody did, a folder."""
    drawn = read(write(two / "all.json", coco([{"id": 1, "bbox": [4, 5, 10, 5]}])), dataset)["a.png"]
    write(two / "all.json", coco([{"id": 1, "bbox": [1, 1, 5, 5], "category_id": 2}]))
    options = ReadOptions(tampered=("splice",))
    sources = [two / "all.json", write(two / "tasks.json", [{"data": {"image": "a.png"}, "annotations": []}])]
    for overwrite in (False, True):
        assert import_source(sources[0], dataset, options=options, overwrite=overwrite).kept == ()
    assert import_source(sources[1], dataset).kept == ()
    write(two / "labels" / "sub" / "b.txt", "")
    assert import_source(two, dataset, format="yolo", overwrite=True).format == "YOLO labels"
    assert import_source(two / "images", dataset, format="images").kept == ()
    stored = dataset.get(drawn.image)
    assert (stored.boxes, stored.label) == (drawn.boxes, "tampered")


def test_an_image_of_another_size_loses_its_mask(two: Path, dataset: Dataset, paint: Paint) -> None:
    content = coco([{"id": 1, "bbox": [4, 5, 10, 5], "segmentation": [[5, 5, 15, 5, 15, 10]]}])
    assert read(write(two / "all.json", content), dataset)["a.png"].mask is not None
    paint("images/a.png", (1, 2, 3), (20, 15))
    record = read(two / "images", dataset)["a.png"]
    assert (record.width, record.boxes, record.mask) == (20, (), None)


def test_importing_again_changes_nothing(two: Path, dataset: Dataset) -> None:
    file = write(two / "all.json", coco([{"id": 1, "bbox": [4, 5, 10, 5], "segmentation": [[5, 5, 15, 5, 15, 10]]}]))
    import_source(file, dataset)
    report = import_source(file, dataset)
    assert (report.added, report.changed, report.unchanged) == (0, 0, 2)


def test_authentic_with_regions_is_a_contradiction(two: Path, dataset: Dataset) -> None:
    file = write(
        two / "a.json", [task(rectangle(1, 1, 50, 50), {"type": "choices", "value": {"choices": ["authentic"]}})]
    )
    with pytest.raises(RejectedError) as caught:
        read(file, dataset)
    assert "is said to be authentic, but has 1 tampered regions" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("options", "format", "message"),
    [
        (ReadOptions(boxes_only=True), "images", "are for formats with boxes, this is read as images"),
        (ReadOptions(zero_based=True), "coco", "--zero-based is for Pascal VOC, this is read as coco"),
        (ReadOptions(images=Path("nowhere")), "coco", "nowhere: no such folder"),
        (ReadOptions(), "nonsense", "format 'nonsense' is not one of"),
    ],
)
def test_options_that_would_do_nothing_are_refused(two: Path, options: ReadOptions, format: str, message: str) -> None:
    path = two if format == "images" else write(two / "all.json", coco([]))
    with pytest.raises(BoxPromptError, match=message):
        read_source(path, format, options)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "\ufeffnope", '{"a": 1}', "\xff"])
def test_what_is_no_annotation_file_is_said(source: Path, content: str) -> None:
    source.mkdir()
    (source / "a.json").write_bytes(content.encode("latin-1" if content == "\xff" else "utf-8"))
    with pytest.raises(BoxPromptError, match=r"a\.json: (not JSON|is nested|is not UTF-8|not a format)"):
        read_source(source / "a.json")
