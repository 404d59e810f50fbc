"""Annotation files with anything in the wrong place give one of our errors, or are read; never a traceback."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.formats import import_source

COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30, "boxpromptiml": {"label": "tampered"}}],
    "categories": [{"id": 1, "name": "splice"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 2, 3, 4]]},
        {"image_id": 1, "bbox": [1, 2, 3, 4], "segmentation": {"size": [30, 40], "counts": [60, 60, 1080]}},
    ],
}
LABELME = {
    "imagePath": "a.png",
    "imageWidth": 40,
    "imageHeight": 30,
    "flags": {"authentic": False},
    "shapes": [
        {"label": "s", "shape_type": "rectangle", "points": [[1, 2], [3, 4]]},
        {"label": "s", "shape_type": "polygon", "points": [[1, 2], [3, 4], [5, 2]]},
        {"label": "s", "shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "aGVsbG8="},
    ],
}
SIZE = {"original_width": 40, "original_height": 30, "image_rotation": 0}
LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"image": "a.png"},
        "annotations": [
            {
                "lead_time": 3.5,
                "was_cancelled": False,
                "result": [
                    {
                        **SIZE,
                        "type": "rectanglelabels",
                        "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 5, "rectanglelabels": ["s"]},
                    },
                    {**SIZE, "type": "polygonlabels", "value": {"points": [[1, 2], [3, 4], [5, 2]]}},
                    {**SIZE, "type": "brushlabels", "value": {"format": "rle", "rle": [0, 0, 18, 192, 57, 27, 252]}},
                    {"type": "choices", "value": {"choices": ["tampered"]}},
                ],
            }
        ],
    }
]
ODD = st.sampled_from(
    [
        *(None, True, -1, 0, 7, 2**31, 10**400, 1e308, float("nan"), float("inf")),
        *("", "x", "\0", "../a.png", "\ud800", "a" * 300, "a.png", "[::1"),
        *([], {}, [[]], [None], {"id": []}, [1, 2, 3, 4, 5, 6, 7]),
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes of parsed JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return odd
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], odd)
    return copy


@pytest.mark.parametrize("content", [COCO, LABELME, LABEL_STUDIO], ids=["coco", "labelme", "label-studio"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_json_with_odd_values(
    tmp_path: Path, source: Path, paint: Callable[..., Path], content: Any, data: st.DataObject
) -> None:
    paint("a.png", (1, 2, 3))
    place = data.draw(st.sampled_from(places(content)))
    file = source / "all.json"
    file.write_text(json.dumps(changed(content, place, data.draw(ODD))), encoding="utf-8")
    # Nothing is stored: the folder cannot be made below a file.
    with contextlib.suppress(BoxPromptError):
        import_source(file, file / "data", on_mismatch="resize")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["0", "0.5", "1", "-1", "nan", "1e999", "x", "\0", "٣", "\n", "1_0"]), max_size=12)
)
def test_yolo_lines_with_odd_words(source: Path, paint: Callable[..., Path], words: list[str]) -> None:
    paint("images/a.png", (1, 2, 3))
    (source / "labels").mkdir(exist_ok=True)
    (source / "labels" / "a.txt").write_text(" ".join(words), encoding="utf-8")
    with contextlib.suppress(BoxPromptError):
        import_source(source, source / "labels" / "a.txt" / "data", on_mismatch="resize")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), odd=st.sampled_from(["", "x", "-1", "1e999", "99999999999999999999", "1,2;3,4", "../a.png"]))
def test_cvat_with_odd_attributes(source: Path, paint: Callable[..., Path], data: st.DataObject, odd: str) -> None:
    paint("a.png", (1, 2, 3))
    text = (
        '<annotations><image name="a.png" width="40" height="30">'
        '<box label="s" xtl="1" ytl="2" xbr="3" ybr="4" rotation="5"/><polygon label="s" points="1,2;3,4;5,2"/>'
        '<mask label="s" rle="1,2,3" left="5" top="6" width="3" height="2"/></image></annotations>'
    )
    parts = text.split('"')
    parts[data.draw(st.sampled_from(range(1, len(parts), 2)))] = odd
    file = source / "a.xml"
    file.write_text('"'.join(parts), encoding="utf-8")
    with contextlib.suppress(BoxPromptError):
        import_source(file, file / "data", on_mismatch="resize")
