"""Pseudo-labelling: what is done, what is left alone, what is flagged, what fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("cv2")

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import TeacherError
from boxpromptiml.images import open_mask, save_png
from boxpromptiml.pseudolabels import pseudo_label
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Point, QualityLimits, TeacherMask, load_teacher
from boxpromptiml.teachers.box import BoxEncoding, BoxTeacher

MakeDataset = Callable[..., Dataset]


class OneByOne:
    """The box teacher, as one that must not be asked from several threads."""

    name = "one:by/one"
    threaded = False
    judged = True
    points = False
    drafts = False

    def __init__(self, quality: float = 0.9) -> None:
        self.settings: dict[str, Any] = {"quality": quality}
        self.asked = 0

    def encode(self, image: NDArray[np.uint8]) -> BoxEncoding:
        return BoxTeacher().encode(image)

    def decode(
        self,
        encoding: BoxEncoding,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        side: int | None = None,
        draft: bool = False,
    ) -> list[TeacherMask]:
        self.asked += 1
        inner = [Box(b.x0 + 2, b.y0 + 2, b.x1 - 2, b.y1 - 2) for b in boxes]
        found = BoxTeacher().decode(encoding, inner, side=side)
        return [TeacherMask(mask.probability, self.settings["quality"]) for mask in found]

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()) -> list[TeacherMask]:
        return self.decode(self.encode(image), boxes, points)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("teacher", [load_teacher("grabcut"), OneByOne()], ids=["threaded", "one-by-one"])
def test_every_tampered_image_with_boxes_gets_a_mask(make_dataset: MakeDataset, teacher: Any, workers: int) -> None:
    with make_dataset(7) as dataset:
        summary = pseudo_label(dataset, teacher, workers=workers)
        assert (summary.made, summary.authentic, summary.boxes) == (7, 1, 7)
        assert summary.failed == []
        for record in dataset.records(label="tampered"):
            assert record.pseudo is not None
            assert record.pseudo.teacher == teacher.name
            assert record.pseudo.settings.items() >= teacher.settings.items()
            assert record.pseudo.flags == ((),)
            mask = open_mask(dataset.path(record.pseudo.path))
            assert mask.shape == (60, 80)
            assert mask.max() == 255
            assert not mask[:10].any()
        assert dataset.get("images/authentic.png").pseudo is None


def test_union_of_the_boxes(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        dataset.set_boxes("images/000.png", [Box(0, 0, 10, 10), Box(5, 5, 15, 15)])
        pseudo_label(dataset, load_teacher("box"))
        pseudo = dataset.get("images/000.png").pseudo
        assert pseudo is not None
        assert (open_mask(dataset.path(pseudo.path)) == 255).sum() == 175
        assert pseudo.qualities == (None, None)
        # The control fills its boxes on purpose.
        assert pseudo.flags == ((), ())
        assert pseudo.fallbacks == (None, None)


def test_second_run_does_only_what_is_left(make_dataset: MakeDataset) -> None:
    with make_dataset(4) as dataset:
        teacher = OneByOne()
        assert pseudo_label(dataset, teacher, limit=1).left == 3
        assert pseudo_label(dataset, teacher).made == 3
        again = pseudo_label(dataset, teacher)
        assert (again.made, again.already, teacher.asked) == (0, 4, 4)


def test_changed_boxes_settings_or_missing_files_are_done_anew(make_dataset: MakeDataset) -> None:
    with make_dataset(3) as dataset:
        teacher = OneByOne()
        pseudo_label(dataset, teacher)
        dataset.set_boxes("images/000.png", [Box(1, 1, 9, 9)])
        gone = dataset.get("images/001.png").pseudo
        assert gone is not None
        dataset.path(gone.path).unlink()
        assert pseudo_label(dataset, teacher).made == 2
        assert pseudo_label(dataset, teacher, fallback="keep").made == 3
        assert pseudo_label(dataset, teacher, fallback="keep", limits=QualityLimits(fills=0.9)).made == 3
        assert pseudo_label(dataset, OneByOne(0.8), fallback="keep", limits=QualityLimits(fills=0.9)).made == 3
        # What was superseded is gone: one file an image.
        assert len(list((dataset.root / "pseudo" / "one-by-one").iterdir())) == 3


def test_redo(make_dataset: MakeDataset) -> None:
    with make_dataset(2) as dataset:
        pseudo_label(dataset, OneByOne())
        assert pseudo_label(dataset, OneByOne(), redo=True).made == 2
        assert len(list((dataset.root / "pseudo" / "one-by-one").iterdir())) == 2


def test_masks_of_two_teachers_lie_side_by_side(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        pseudo_label(dataset, OneByOne())
        first = dataset.get("images/000.png").pseudo
        pseudo_label(dataset, load_teacher("box"))
        second = dataset.get("images/000.png").pseudo
        assert first is not None
        assert second is not None
        assert first.path != second.path
        assert (open_mask(dataset.path(first.path)) == 255).sum() == 26 * 26
        assert (open_mask(dataset.path(second.path)) == 255).sum() == 30 * 30


def test_accepted_masks_are_never_overwritten(make_dataset: MakeDataset) -> None:
    with make_dataset(2) as dataset:
        pseudo_label(dataset, OneByOne())
        accepted, rejected = (dataset.get(f"images/00{i}.png") for i in (0, 1))
        dataset.put([replace(accepted, review="accepted"), replace(rejected, review="rejected")])
        summary = pseudo_label(dataset, load_teacher("box"), redo=True)
        assert (summary.made, summary.accepted) == (1, 1)
        assert dataset.get("images/000.png").pseudo == accepted.pseudo
        # The verdict was on another mask.
        assert dataset.get("images/001.png").review is None


def test_verdict_stays_with_the_same_mask(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        pseudo_label(dataset, OneByOne())
        dataset.put(replace(dataset.get("images/000.png"), review="rejected"))
        pseudo_label(dataset, OneByOne(), redo=True)
        assert dataset.get("images/000.png").review == "rejected"


def test_images_without_boxes_are_named(make_dataset: MakeDataset) -> None:
    with make_dataset(3) as dataset:
        dataset.set_boxes("images/001.png", [])
        dataset.put(ImageRecord("images/new.png", 80, 60))
        summary = pseudo_label(dataset, load_teacher("box"))
        assert summary.without_boxes == ["images/001.png"]
        assert (summary.made, summary.unlabelled) == (2, 1)


def test_only_one_split(make_dataset: MakeDataset) -> None:
    with make_dataset(5) as dataset:
        assert pseudo_label(dataset, load_teacher("box"), split="test").made == 2


def test_bad_images_cost_one_line_each(make_dataset: MakeDataset) -> None:
    with make_dataset(5) as dataset:
        dataset.path("images/001.png").write_bytes(b"")
        dataset.path("images/002.png").unlink()
        save_png(dataset.path("images/003.png"), np.zeros((6, 8, 3), dtype=np.uint8))
        for teacher in (load_teacher("box"), OneByOne()):
            lines: list[tuple[str, str]] = []
            summary = pseudo_label(dataset, teacher, workers=2, on_error=lambda a, b, to=lines: to.append((a, b)))
            assert summary.made == 2
            assert sorted(lines) == summary.failed
            assert [image for image, _ in summary.failed] == [f"images/00{i}.png" for i in (1, 2, 3)]
            assert "is empty" in summary.failed[0][1]
            assert "no such file" in summary.failed[1][1]
            assert "is 8 x 6 now, 80 x 60 when its boxes were drawn" in summary.failed[2][1]


def test_record_changed_meanwhile_is_not_overwritten(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:

        class Meddler(OneByOne):
            def masks(
                self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()
            ) -> list[TeacherMask]:
                with Dataset.open(dataset.root) as other:
                    other.set_boxes("images/000.png", [Box(1, 1, 20, 20)])
                return super().masks(image, boxes)

        summary = pseudo_label(dataset, Meddler())
        assert "changed by somebody else" in summary.failed[0][1]
        assert dataset.get("images/000.png").pseudo is None
        assert pseudo_label(dataset, OneByOne()).made == 1


def test_flags_stay_visible_when_the_fallback_steps_in(make_dataset: MakeDataset) -> None:
    class Empty(OneByOne):
        name = "empty"

        def masks(
            self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()
        ) -> list[TeacherMask]:
            return [TeacherMask(np.zeros(image.shape[:2], dtype=np.float32), 0.2) for _ in boxes]

    with make_dataset(2) as dataset:
        summary = pseudo_label(dataset, Empty(), fallback="box")
        assert dict(summary.flags) == {"empty": 2, "low-quality": 2}
        assert dict(summary.fallbacks) == {"box": 2}
        assert summary.suspicious == [(f"images/00{i}.png", ("empty", "low-quality")) for i in (0, 1)]
        pseudo = dataset.get("images/000.png").pseudo
        assert pseudo is not None
        assert pseudo.flags == (("empty", "low-quality"),)
        assert pseudo.fallbacks == ("box",)
        assert (open_mask(dataset.path(pseudo.path)) == 255).sum() == 900
        # They show in the summary of later runs as well.
        assert pseudo_label(dataset, Empty(), fallback="box").flags == summary.flags


def test_temporary_files_of_killed_runs_are_swept(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        folder = dataset.root / "pseudo" / "box"
        folder.mkdir(parents=True)
        old, young = folder / ".old-x.png", folder / ".young-x.png"
        for path in (old, young):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 7200,) * 2)
        pseudo_label(dataset, load_teacher("box"))
        assert not old.exists()
        assert young.exists()


def test_images_of_the_same_name_get_masks_of_their_own(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        record = dataset.get("images/000.png")
        save_png(dataset.path("other/000.png"), np.zeros((60, 80, 3), dtype=np.uint8))
        dataset.put(replace(record, image="other/000.png", boxes=(Box(0, 0, 5, 5),)))
        pseudo_label(dataset, load_teacher("box"))
        paths = {dataset.get(image).pseudo.path for image in ("images/000.png", "other/000.png")}  # type: ignore[union-attr]
        assert len(paths) == 2


def test_unknown_fallback(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset, pytest.raises(TeacherError, match="fallback 'guess'"):
        pseudo_label(dataset, load_teacher("box"), fallback="guess")


def test_a_folder_that_cannot_be_written_is_one_line(make_dataset: MakeDataset, tmp_path: Path) -> None:
    from boxpromptiml.errors import DatasetError

    with make_dataset(1) as dataset:
        (dataset.root / "pseudo").write_text("a file in the way")
        with pytest.raises(DatasetError, match="cannot be written"):
            pseudo_label(dataset, load_teacher("box"))
