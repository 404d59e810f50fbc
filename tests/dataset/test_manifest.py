from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.dataset.manifest import read_manifest, record_from_json, record_to_json, write_manifest
from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box

RECORD = ImageRecord(
    image="Tp/a.jpg",
    width=384,
    height=256,
    label="tampered",
    boxes=(Box(1, 2, 30, 40),),
    mask="Gt/a.png",
    pseudo=PseudoMask("pseudo/a.png", "grabcut", {"rounds": 5}, (None,), (("empty",),), ("box",)),
    split="train",
    group="ani0015",
    kind="splice",
    seconds=6.8,
    review="accepted",
)


def test_the_line_of_a_record() -> None:
    assert record_to_json(RECORD) == {
        "image": "Tp/a.jpg",
        "width": 384,
        "height": 256,
        "label": "tampered",
        "regions": [{"box": [1, 2, 30, 40]}],
        "mask": "Gt/a.png",
        "pseudo_mask": "pseudo/a.png",
        "pseudo": {
            "teacher": "grabcut",
            "settings": {"rounds": 5},
            "qualities": (None,),
            "flags": (("empty",),),
            "fallbacks": ("box",),
        },
        "split": "train",
        "group": "ani0015",
        "kind": "splice",
        "seconds": 6.8,
        "review": "accepted",
    }
    bare = {"image": "a.jpg", "width": 3, "height": 2, "label": None}
    assert record_to_json(ImageRecord("a.jpg", 3, 2)) == bare
    assert record_to_json(ImageRecord("a.jpg", 3, 2, skipped=True)) == {**bare, "skipped": True}


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
numbers = st.floats(0, 1e6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> Box:
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


@st.composite
def records(draw: st.DrawFn) -> ImageRecord:
    width, height = draw(st.integers(1, 10_000)), draw(st.integers(1, 10_000))
    label = draw(st.sampled_from(["tampered", "authentic", None]))
    pseudo = st.builds(
        PseudoMask,
        path=names,
        teacher=names,
        settings=st.dictionaries(names, json_values, max_size=3),
        qualities=st.lists(st.none() | numbers, max_size=3).map(tuple),
        flags=st.lists(st.lists(names, max_size=2).map(tuple), max_size=3).map(tuple),
        fallbacks=st.lists(st.none() | names, max_size=3).map(tuple),
    )
    return ImageRecord(
        image=draw(names),
        width=width,
        height=height,
        label=label,
        boxes=() if label == "authentic" else tuple(draw(st.lists(boxes(width, height), max_size=4))),
        mask=draw(st.none() | names),
        pseudo=draw(st.none() | pseudo),
        split=draw(st.sampled_from(["train", "val", "test", None])),
        group=draw(st.none() | names),
        kind=draw(st.none() | names),
        seconds=draw(st.none() | numbers),
        review=draw(st.sampled_from(["accepted", "rejected", None])),
        skipped=draw(st.booleans()),
    )


@settings(deadline=None)
@given(records())
def test_any_record_survives_the_line(record: ImageRecord) -> None:
    assert record_from_json(json.dumps(record_to_json(record))) == record


@settings(deadline=None, max_examples=40)
@given(st.lists(records(), unique_by=lambda record: record.image, max_size=5))
def test_any_dataset_survives_the_manifest(tmp_path_factory: pytest.TempPathFactory, many: list[ImageRecord]) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    with Dataset.create(folder / "data") as dataset:
        dataset.put(many)
        with (folder / "m.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
            assert write_manifest(dataset, stream) == len(many)
        stored = list(dataset.records())
    assert [replace(record, version=1) for record in read_manifest(folder / "m.jsonl")] == stored


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "a", "width": 9, "height": 9', "not a JSON object"),
        ("[1, 2]", "object"),
        ('{"width": 9, "height": 9}', "field 'image' is missing"),
        ('{"image": 7, "width": 9, "height": 9}', "field 'image': input should be a valid string, not 7"),
        ('{"image": "a", "width": "9", "height": 9}', "field 'width': input should be a valid integer"),
        ('{"image": "a", "width": 9, "height": 9, "zzz": null}', "unknown field 'zzz'; there are image, "),
        ('{"image": "a", "width": 9, "height": 9, "lable": null}', "unknown field 'lable'; did you mean 'label'?"),
        ('{"image": "a", "width": 9, "height": 9, "label": "fake"}', "field 'label': input should be 'tampered' or"),
        (
            '{"image": "a", "width": 9, "height": 9, "regions": [{"box": [1, 2, 3]}]}',
            r"field 'regions.0.box.3' is missing",
        ),
        (
            '{"image": "a", "width": 9, "height": 9, "regions": [{"boxes": [1, 2, 3, 4]}]}',
            r"unknown field 'regions.0.boxes'; did you mean 'box'\?",
        ),
        (
            '{"image": "a", "width": 9, "height": 9, "regions": [{"box": [0, 0, 2.5, 3]}]}',
            r"'regions.0.box.2': input should be a valid integer",
        ),
        ('{"image": "a", "width": 9, "height": 9, "regions": [{"box": [0, 0, 10, 3]}]}', "a: box 1 .* not inside"),
        ('{"image": "a", "width": 9, "height": 9, "seconds": NaN}', "not a JSON object|finite"),
        ('{"image": "a", "width": 9, "height": 9, "pseudo_mask": "p.png"}', "field 'pseudo' is missing"),
        ('{"image": "a", "width": 9, "height": 9, "pseudo": {"teacher": "box"}}', "field 'pseudo_mask' is missing"),
        (
            '{"image": "a", "width": 9, "height": 9, "pseudo_mask": "p", "pseudo": {"techer": "box"}}',
            "did you mean 'teacher'",
        ),
        ('{"image": "a", "width": 9, "height": 9, "skipped": 1}', "'skipped': input should be a valid boolean, not 1"),
        (
            '{"image": "a", "width": 9, "height": 9, "skipped": true, "label": "authentic"}',
            "field 'skipped': an image that has regions or is authentic was not skipped",
        ),
        ('{"image": "a"}', "no such file"),
        (b'{"image": "\xff", "width": 9, "height": 9}', "not a JSON object"),
    ],
)
def test_a_malformed_line_is_named_with_its_field(tmp_path: Path, line: str | bytes, message: str) -> None:
    manifest = tmp_path / "m.jsonl"
    good = b'{"image": "good.jpg", "width": 9, "height": 9}\n\n'
    manifest.write_bytes(good + (line if isinstance(line, bytes) else line.encode()) + b"\n" + good)
    with pytest.raises(DatasetError, match=rf"m\.jsonl:3: .*({message})") as caught:
        list(read_manifest(manifest))
    assert "\n" not in str(caught.value)


def test_all_malformed_lines_are_reported_and_the_others_are_read(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    good = '{"image": "good.jpg", "width": 9, "height": 9}\n'
    manifest.write_text("\ufeff" + good + "nonsense\n" + good + '{"image": "b", "width": 0, "height": 1}\n')
    problems: list[DatasetError] = []
    assert [record.image for record in read_manifest(manifest, on_error=problems.append)] == ["good.jpg"]
    assert [str(problem).split(":")[1] for problem in problems] == ["2", "3", "4"]
    assert "stands in line 1 as well" in str(problems[1])


def test_a_size_that_is_missing_is_read_from_the_image(
    tmp_path: Path, save: Callable[..., Path], photo: Callable[..., np.ndarray]
) -> None:
    save(tmp_path / "in" / "a.png", photo(40, 30))
    (tmp_path / "in" / "m.jsonl").write_text('{"image": "a.png", "regions": [{"box": [0, 0, 40, 30]}]}')
    (record,) = read_manifest(tmp_path / "in" / "m.jsonl")
    assert (record.width, record.height, record.boxes) == (40, 30, (Box(0, 0, 40, 30),))


def test_paths_can_be_written_relative_to_another_folder(dataset: Dataset, tmp_path: Path) -> None:
    dataset.put(RECORD)
    stream = io.StringIO()
    write_manifest(dataset, stream, base=tmp_path / "elsewhere")
    line = json.loads(stream.getvalue())
    assert (line["image"], line["mask"], line["pseudo_mask"]) == (
        "../data/Tp/a.jpg",
        "../data/Gt/a.png",
        "../data/pseudo/a.png",
    )


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_manifest(tmp_path / "m.jsonl"))
