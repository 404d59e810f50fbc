from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.formats.folders import read_images, read_tp_gt


@pytest.mark.parametrize(
    ("images", "masks", "pairs", "mismatches"),
    [
        (["a.jpg"], ["a.png"], {"a.jpg": "a.png"}, []),
        (["a.jpg"], ["a_gt.png"], {"a.jpg": "a_gt.png"}, []),
        (["a.jpg", "b.jpg"], ["a_Mask.png", "b_FORGED.bmp"], {"a.jpg": "a_Mask.png", "b.jpg": "b_FORGED.bmp"}, []),
        # The exact stem wins over a suffix, and `a_gt` may be an image of its own.
        (["a.jpg"], ["a.png", "a_gt.png"], {"a.jpg": "a.png"}, []),
        (["a.jpg", "a_gt.jpg"], ["a.png", "a_gt.png"], {"a.jpg": "a.png", "a_gt.jpg": "a_gt.png"}, []),
        # Sub-folders are mirrored.
        (["x/a.jpg", "y/a.jpg"], ["x/a.png", "y/a.png"], {"x/a.jpg": "x/a.png", "y/a.jpg": "y/a.png"}, []),
        # A stem with dots.
        (["a.b.jpg"], ["a.b.png"], {"a.b.jpg": "a.b.png"}, []),
        (["a.jpg", "b.jpg"], ["a.png"], {"a.jpg": "a.png"}, [("Tp/b.jpg", "has no mask in")]),
        (["x/a.jpg"], ["a.png"], {}, [("Tp/x/a.jpg", "has no mask in"), ("Gt/a.png", "is a mask without an image")]),
        (["a.jpg"], ["a.png", "a.bmp"], {}, [("Tp/a.jpg", "has several masks: a.bmp, a.png; keep one")]),
        (["a.jpg"], ["a_gt.png", "a_mask.png"], {}, [("Tp/a.jpg", "has several masks: a_gt.png, a_mask.png")]),
        (
            ["a.jpg", "a.png"],
            ["a.png"],
            {},
            [("Tp/a.jpg", "has the same stem as a.png"), ("Tp/a.png", "has the same stem as a.jpg")],
        ),
        ([], ["a.png"], {}, [("Gt/a.png", "is a mask without an image")]),
    ],
)
def test_images_and_masks_are_paired_by_stem(
    source: Path,
    paint: Callable[..., Path],
    images: list[str],
    masks: list[str],
    pairs: dict[str, str],
    mismatches: list[tuple[str, str]],
) -> None:
    (source / "Tp").mkdir(parents=True)
    for name in images:
        paint(f"Tp/{name}", (1, 2, 3))
    for name in masks:
        paint(f"Gt/{name}")
    read = read_tp_gt(source)
    found = {
        candidate.image.relative_to(source / "Tp").as_posix(): candidate.mask.relative_to(source / "Gt").as_posix()
        for candidate in read.candidates
        if candidate.mask is not None
    }
    assert found == pairs
    assert {candidate.label for candidate in read.candidates} <= {"tampered"}
    for (path, reason), mismatch in zip(mismatches, read.mismatches, strict=True):
        assert mismatch.path == source / path
        assert reason in mismatch.reason


def test_without_masks_the_images_are_there_for_people_to_box(source: Path, paint: Callable[..., Path]) -> None:
    paint("tp/a.jpg")
    paint("AU/b.jpg")
    paint("notes/c.jpg")
    read = read_tp_gt(source)
    assert [(candidate.image.name, candidate.mask, candidate.label) for candidate in read.candidates] == [
        ("a.jpg", None, "tampered"),
        ("b.jpg", None, "authentic"),
    ]
    assert (read.format, read.mismatches) == ("Tp+Au folders", ())


def test_a_folder_of_images_leaves_out_datasets_inside(source: Path, paint: Callable[..., Path]) -> None:
    paint("b.png")
    paint("deep/er/a.JPG")
    paint("set/pseudo/m.png")
    paint(".cache/x.png")
    Dataset.create(source / "set").close()
    read = read_images(source)
    assert [candidate.image.relative_to(source).as_posix() for candidate in read.candidates] == [
        "b.png",
        "deep/er/a.JPG",
    ]
    assert {candidate.label for candidate in read.candidates} == {None}
