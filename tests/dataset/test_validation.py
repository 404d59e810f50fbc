from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord, Label, PseudoMask
from boxpromptiml.dataset.validation import validate
from boxpromptiml.regions import Box


@pytest.fixture
def sound(
    dataset: Dataset, save: Callable[..., Path], photo: Callable[..., np.ndarray], blob: Callable[..., np.ndarray]
) -> Dataset:
    """One tampered image with everything, one authentic image."""
    save(dataset.root / "t.png", photo(seed=1))
    save(dataset.root / "a.png", photo(seed=2))
    save(dataset.root / "t_mask.png", blob((10, 5, 20, 15)))
    save(dataset.root / "pseudo/t.png", blob((10, 5, 20, 15)))
    pseudo = PseudoMask("pseudo/t.png", "grabcut", {}, (None,), ((),), (None,))
    tampered = ImageRecord("t.png", 40, 30, "tampered", (Box(9, 4, 21, 16),), "t_mask.png", pseudo, "train", "one")
    dataset.put([tampered, ImageRecord("a.png", 40, 30, "authentic", split="train", group="two")])
    return dataset


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _resize(path: Path) -> None:
    Image.open(path).resize((20, 15)).save(path)


def _fill(path: Path, value: int | tuple[int, int, int]) -> None:
    mode = "L" if isinstance(value, int) else "RGB"
    Image.new(mode, (40, 30), value).save(path)


def test_a_sound_dataset(sound: Dataset) -> None:
    assert validate(sound) == []


@pytest.mark.parametrize(
    ("spoil", "image", "severity", "message"),
    [
        (lambda d: (d.root / "a.png").unlink(), "a.png", "error", "image no such file"),
        (lambda d: _truncate(d.root / "a.png"), "a.png", "error", "image damaged or truncated"),
        (lambda d: _resize(d.root / "a.png"), "a.png", "error", "is 20 x 15 pixels, recorded as 40 x 30"),
        (lambda d: (d.root / "t_mask.png").unlink(), "t.png", "error", "mask t_mask.png no such file"),
        (
            lambda d: _resize(d.root / "t_mask.png"),
            "t.png",
            "error",
            "mask t_mask.png is 20 x 15 pixels, the image 40 x 30",
        ),
        (lambda d: _fill(d.root / "t_mask.png", 0), "t.png", "error", "is tampered, but its mask t_mask.png is empty"),
        (lambda d: _fill(d.root / "t_mask.png", 127), "t.png", "error", "is tampered, but its mask"),
        (lambda d: _fill(d.root / "t_mask.png", 200), "t.png", "warning", "100.0% of its pixels lie between 0 and 255"),
        (lambda d: _fill(d.root / "t_mask.png", (255, 250, 255)), "t.png", "warning", "is coloured"),
        (
            lambda d: d.put(replace(d.get("a.png"), mask="t_mask.png")),
            "a.png",
            "error",
            "is authentic, but its mask t_mask.png is not empty",
        ),
        (lambda d: (d.root / "pseudo/t.png").unlink(), "t.png", "error", "pseudo mask pseudo/t.png no such file"),
        (lambda d: _resize(d.root / "pseudo/t.png"), "t.png", "error", "pseudo mask pseudo/t.png is 20 x 15"),
        (lambda d: d.set_boxes("t.png", [Box(10, 5, 20, 10)]), "t.png", "warning", "50% of the mask lies outside"),
        (
            lambda d: d.set_boxes("t.png", [Box(9, 4, 21, 16), Box(30, 20, 35, 25)]),
            "t.png",
            "warning",
            "box 2 [30, 20, 35, 25] has nothing of the mask in it",
        ),
        (
            lambda d: d.put(replace(d.get("t.png"), mask=None, boxes=())),
            "t.png",
            "warning",
            "is tampered, but has neither boxes nor a mask",
        ),
        (
            lambda d: d.put([replace(d.get("a.png"), group="one", split="test")]),
            "a.png",
            "error",
            "source group one is in several splits (1 in test, 1 in train)",
        ),
    ],
)
def test_what_is_wrong_is_found(
    sound: Dataset, spoil: Callable[[Dataset], object], image: str, severity: str, message: str
) -> None:
    spoil(sound)
    problems = validate(sound)
    assert (image, severity) in {(problem.image, problem.severity) for problem in problems}
    assert any(message in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("changes", "severity", "message"),
    [
        ({"split": "test"}, "error", "is the same file as a.png, in test and train"),
        ({"split": "train", "label": "tampered"}, "error", "is the same file as a.png, but the labels differ"),
        ({"split": "train"}, "warning", "is the same file as a.png"),
    ],
)
def test_identical_files(sound: Dataset, changes: dict[str, str], severity: str, message: str) -> None:
    shutil.copy(sound.root / "a.png", sound.root / "b.png")
    sound.put(replace(sound.get("a.png"), image="b.png", group=None, **changes))  # type: ignore[arg-type]
    assert (severity, message) in {(problem.severity, problem.message) for problem in validate(sound)}


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ((None, "train", "test"), {"c.png": ("error", "is the same file as b.png, in test and train")}),
        (("train", None, "test"), {"c.png": ("error", "is the same file as a.png, in test and train")}),
        (("train", "test", "train"), {"b.png": ("error", "in test and train"), "c.png": ("error", "b.png, in train")}),
        ((None, None, "test"), {}),
        (("train", None, "train"), {}),
    ],
)
def test_every_copy_of_a_file_counts(
    sound: Dataset, splits: tuple[str | None, ...], expected: dict[str, tuple[str, str]]
) -> None:
    """Whichever comes first, and whether that one is in a split."""
    for name, split in zip(("a.png", "b.png", "c.png"), splits, strict=True):
        if name != "a.png":
            shutil.copy(sound.root / "a.png", sound.root / name)
        sound.put(ImageRecord(name, 40, 30, "authentic", split=split))
    found = {problem.image: problem for problem in validate(sound) if "same file" in problem.message}
    assert set(found) == {"b.png", "c.png"}
    for name, problem in found.items():
        severity, message = expected.get(name, ("warning", "is the same file as a.png"))
        assert problem.severity == severity
        assert message in problem.message


@pytest.mark.parametrize(
    ("labels", "severities"),
    [
        ((None, "authentic", "tampered"), ["warning", "error"]),
        (("tampered", None, "authentic"), ["warning", "error"]),
        (("tampered", None, None), ["warning", "warning"]),  # not yet looked at contradicts nobody
    ],
)
def test_labels_of_every_copy_count(sound: Dataset, labels: tuple[Label | None, ...], severities: list[str]) -> None:
    for name, label in zip(("a.png", "b.png", "c.png"), labels, strict=True):
        if name != "a.png":
            shutil.copy(sound.root / "a.png", sound.root / name)
        sound.put(ImageRecord(name, 40, 30, label))
    assert [p.severity for p in validate(sound) if "same file" in p.message] == severities


def test_what_other_programs_wrote_into_the_database_is_checked(sound: Dataset) -> None:
    with sound._writing() as connection:
        connection.execute("UPDATE region SET x1 = 900")
    (problem,) = validate(sound)
    assert "is not inside the image of 40 x 30 pixels" in problem.message


def test_problems_come_in_the_order_of_the_images(sound: Dataset) -> None:
    for name in ("t.png", "a.png"):
        (sound.root / name).unlink()
    assert [problem.image for problem in validate(sound)] == ["a.png", "t.png"]
