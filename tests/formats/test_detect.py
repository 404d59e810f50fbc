from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import is_manifest, read_source


def test_the_format_is_chosen_by_what_is_there(source: Path, paint: Callable[..., Path]) -> None:
    paint("a.png")
    assert read_source(source).format == "folder of images"
    paint("Tp/a.png")
    assert read_source(source).format == "Tp folders"
    paint("Gt/a.png")
    paint("Au/b.png")
    Dataset.create(source).close()  # the dataset may live in the folder of its images
    assert read_source(source).format == "Tp+Gt+Au folders"
    (source / "list.JSON").write_text('[["a.png", "Negative"]]')
    assert read_source(source / "list.JSON").format == "IMDLBenCo list"
    assert is_manifest(source / "m.jsonl")
    assert not is_manifest(source / "list.JSON")


LABELS = "0 0.5 0.5 0.2 0.2"
COCO = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "bbox": [1, 1, 5, 5]}]}


@pytest.mark.parametrize(
    ("files", "format"),
    [
        ({"a.txt": LABELS, "classes.txt": "splice"}, "YOLO labels"),  # labelImg
        ({"train/_annotations.coco.json": json.dumps(COCO), "train/a.png": ""}, "COCO file"),  # Roboflow
        ({"annotations/a_licence.json": "{}", "annotations/z.json": json.dumps(COCO)}, "COCO file"),
        ({"a.xml": "<annotation><filename>a.png</filename></annotation>", "Annotations/": ""}, "Pascal VOC files"),
        ({"notes.json": "[1, 2]", "a.txt": "a photo of 3 cats and 2 dogs"}, "folder of images"),
    ],
)
def test_annotations_in_a_folder_are_found(
    source: Path, paint: Callable[..., Path], files: dict[str, str], format: str
) -> None:
    paint("a.png")
    for name, text in files.items():
        if name.endswith("/"):
            (source / name).mkdir()
        elif name.endswith(".png"):
            paint(name)
        else:
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(text)
    found = read_source(source)
    assert found.format == format
    assert found.mismatches == ()
    if format != "folder of images":
        assert any(candidate.annotation is not None for candidate in found.candidates)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("boxes.json", json.dumps(COCO), r"holds boxes\.json, annotations of the format coco; give .*boxes\.json"),
        ("cvat.xml", "<annotations/>", r"holds cvat\.xml, annotations of the format cvat"),
        ("a.txt", LABELS, r"holds a\.txt, which looks like labels of YOLO; give --format yolo"),
        ("x/Gt/a.png", "", r"holds folders with Tp/ and Gt/ or Au/ \(x\), .* import them one by one, with --split"),
    ],
)
def test_a_folder_of_more_than_photographs_is_no_folder_of_images(
    source: Path, paint: Callable[..., Path], name: str, text: str, message: str
) -> None:
    paint("a.png")
    if text:
        (source / name).write_text(text)
    else:
        paint("x/Tp/a.png")
        paint(name)
    with pytest.raises(DatasetError, match=message):
        read_source(source)
    assert read_source(source, "images").format == "folder of images"  # who wants them all may say so


def test_a_folder_without_the_annotations_that_are_asked_for(source: Path, paint: Callable[..., Path]) -> None:
    paint("a.png")
    with pytest.raises(DatasetError, match=r"has no COCO file in annotations/; give the file itself"):
        read_source(source, "coco")


def test_one_file_beside_a_folder_of_annotations(source: Path, paint: Callable[..., Path]) -> None:
    paint("voc/v.png")
    (source / "voc/Annotations").mkdir()
    (source / "voc/v.xml").write_text("<annotation><filename>v.png</filename></annotation>")
    assert [each.image.name for each in read_source(source / "voc/v.xml").candidates] == ["v.png"]


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _text(folder: Path) -> Path:
    (_empty(folder) / "a.txt").touch()
    return folder / "a.txt"


def _dataset(folder: Path) -> Path:
    Dataset.create(folder).close()
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "no such file or folder"),
        (_empty, r"no images in it; give a folder with Tp/ .* Gt/ .* IMDLBenCo list .* manifest"),
        (_text, r"a\.txt: not a format that is read; give a folder with Tp/"),
        (_dataset, "is a dataset already"),
    ],
)
def test_what_is_accepted_is_said_when_nothing_is_recognised(
    source: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_source(make(source))
