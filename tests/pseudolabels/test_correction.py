"""What people say of pseudo masks, and that no run ever takes it back."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("cv2")

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import ConflictError, DatasetError
from boxpromptiml.images import open_mask
from boxpromptiml.pseudolabels import Job, is_stale, pseudo_label, store_correction, store_verdict
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Point, load_teacher

MakeDataset = Callable[..., Dataset]
IMAGE = "images/000.png"


def painted(value: int = 255) -> NDArray[np.uint8]:
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[20:40, 30:50] = value
    return mask


def files(dataset: Dataset, teacher: str) -> list[Path]:
    return sorted((dataset.root / "pseudo" / teacher).glob("*"))


def correct(dataset: Dataset, mask: NDArray[np.uint8] | None = None) -> ImageRecord:
    version = dataset.get(IMAGE).version
    return store_correction(dataset, IMAGE, painted() if mask is None else mask, expected_version=version)


def test_a_painted_mask_is_stored_as_it_was_painted(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        pseudo_label(dataset, load_teacher("grabcut"))
        before = dataset.get(IMAGE)
        assert before.pseudo is not None
        record = correct(dataset)
        assert (record.review, record.version) == ("accepted", before.version + 1)
        assert record.pseudo is not None
        assert record.pseudo.teacher == "person"
        assert record.pseudo.settings["from"] == {"teacher": "grabcut", "settings": before.pseudo.settings}
        assert record.pseudo.flags == ((),)
        assert not is_stale(record)
        np.testing.assert_array_equal(open_mask(dataset.path(record.pseudo.path)), painted())
        # The teacher's own mask stays: a person may want it back.
        assert len(files(dataset, "grabcut")) == 1


def test_corrections_of_corrections_go_back_to_the_teacher(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        pseudo_label(dataset, load_teacher("box"))
        correct(dataset)
        record = correct(dataset, painted(200))
        assert record.pseudo is not None
        assert record.pseudo.settings["from"]["teacher"] == "box"
        assert len(files(dataset, "person")) == 2  # What a person painted is never removed.


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((60, 79), 255, np.uint8), "the mask is 79 x 60 pixels, the image 80 x 60"),
        (np.full((60, 80), 127, np.uint8), "the mask is empty; label the image authentic"),
        (np.full((60, 80), 255, np.uint16), "the mask is"),
    ],
)
def test_masks_that_are_refused(make_dataset: MakeDataset, mask: NDArray[np.uint8], message: str) -> None:
    with make_dataset(1) as dataset:
        before = dataset.get(IMAGE)
        with pytest.raises(DatasetError, match=message):
            correct(dataset, mask)
        assert dataset.get(IMAGE) == before


def test_what_has_no_place_is_refused(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        with pytest.raises(DatasetError, match="not labelled tampered"):
            store_correction(dataset, "images/authentic.png", painted(), expected_version=1)
        with pytest.raises(DatasetError, match="no pseudo mask to judge"):
            store_verdict(dataset, IMAGE, "accepted", expected_version=1)
        with pytest.raises(ConflictError, match="somebody else changed it"):
            store_correction(dataset, IMAGE, painted(), expected_version=7)


def test_verdicts(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        pseudo_label(dataset, load_teacher("box"))
        record = dataset.get(IMAGE)
        for verdict in ("accepted", "rejected", None):
            record = store_verdict(dataset, IMAGE, verdict, expected_version=record.version)  # type: ignore[arg-type]
            assert record.review == verdict
        with pytest.raises(ConflictError):
            store_verdict(dataset, IMAGE, "accepted", expected_version=record.version - 1)
        assert record.pseudo is not None
        dataset.path(record.pseudo.path).unlink()
        with pytest.raises(DatasetError, match="is gone; run the teacher again"):
            store_verdict(dataset, IMAGE, "accepted", expected_version=record.version)


@pytest.mark.parametrize("redo", [False, True])
def test_no_run_replaces_what_a_person_accepted_or_painted(make_dataset: MakeDataset, redo: bool) -> None:
    with make_dataset(2) as dataset:
        pseudo_label(dataset, load_teacher("box"))
        correct(dataset)
        other = dataset.get("images/001.png")
        store_verdict(dataset, other.image, "accepted", expected_version=other.version)
        before = {record.image: record for record in dataset.records()}
        summary = pseudo_label(dataset, load_teacher("grabcut"), redo=redo)
        assert (summary.made, summary.accepted) == (0, 2)
        assert {record.image: record for record in dataset.records()} == before


def test_a_painted_mask_survives_changed_boxes_and_says_that_they_changed(make_dataset: MakeDataset) -> None:
    with make_dataset(1) as dataset:
        record = correct(dataset)
        record = dataset.annotate(IMAGE, boxes=[Box(1, 1, 70, 50)], label="tampered", expected_version=record.version)
        assert is_stale(record)
        assert pseudo_label(dataset, load_teacher("box"), redo=True).made == 0
        assert dataset.get(IMAGE) == record
        # Rejected, it has to go.
        store_verdict(dataset, IMAGE, "rejected", expected_version=record.version)
        assert pseudo_label(dataset, load_teacher("box")).made == 1


def test_an_acceptance_holds_for_the_boxes_that_the_mask_was_made_of(make_dataset: MakeDataset) -> None:
    """Boxes that are changed and changed back change nothing; other boxes want another mask."""
    with make_dataset(1) as dataset:
        pseudo_label(dataset, load_teacher("grabcut"))
        record = dataset.get(IMAGE)
        record = store_verdict(dataset, IMAGE, "accepted", expected_version=record.version)
        boxes, mask = record.boxes, record.pseudo
        nudged = [Box(box.x0 + 1, box.y0, box.x1 + 1, box.y1) for box in boxes]
        moved = dataset.annotate(IMAGE, boxes=nudged, label="tampered", expected_version=record.version)
        dataset.annotate(IMAGE, boxes=boxes, label="tampered", expected_version=moved.version)
        assert pseudo_label(dataset, load_teacher("box"), redo=True).made == 0
        assert (dataset.get(IMAGE).review, dataset.get(IMAGE).pseudo) == ("accepted", mask)
        dataset.annotate(IMAGE, boxes=nudged, label="tampered", expected_version=dataset.get(IMAGE).version)
        assert pseudo_label(dataset, load_teacher("grabcut")).made == 1
        assert dataset.get(IMAGE).review is None


def test_rejected_masks_are_made_anew_by_others_only(make_dataset: MakeDataset) -> None:
    """The same teacher with the same settings would make the mask again that was rejected."""
    with make_dataset(2) as dataset:
        pseudo_label(dataset, load_teacher("grabcut"))
        record = dataset.get(IMAGE)
        rejected = store_verdict(dataset, IMAGE, "rejected", expected_version=record.version)
        again = pseudo_label(dataset, load_teacher("grabcut"))
        assert (again.made, again.already, again.rejected) == (0, 2, 1)
        assert dataset.get(IMAGE) == rejected
        assert pseudo_label(dataset, load_teacher("grabcut"), redo=True).made == 2
        assert dataset.get(IMAGE).review == "rejected"
        # Other settings, only where asked.
        other = pseudo_label(dataset, load_teacher("grabcut", context=0.3), only_rejected=True)
        assert (other.made, other.already) == (1, 0)
        record = dataset.get(IMAGE)
        assert record.review is None
        assert record.pseudo is not None
        assert record.pseudo.settings["context"] == 0.3


def test_points_are_honoured_by_later_runs(make_dataset: MakeDataset) -> None:
    points = (Point(24, 18, False, 0),)
    with make_dataset(1) as dataset:
        job = Job(dataset.root, load_teacher("grabcut"))
        record = dataset.get(IMAGE)
        pseudo = job.finish(record, job.teacher.masks(job.decode(record), record.boxes, points), points)
        job.store(dataset, record, pseudo)
        record = dataset.get(IMAGE)
        assert job.points(record) == points
        assert pseudo_label(dataset, load_teacher("grabcut")).already == 1
        assert pseudo_label(dataset, load_teacher("grabcut"), redo=True).made == 1
        assert dataset.get(IMAGE).pseudo == pseudo
        # The control takes none; on other boxes they mean nothing.
        pseudo_label(dataset, load_teacher("box"))
        now = dataset.get(IMAGE).pseudo
        assert now is not None
        assert "points" not in now.settings
        moved = replace(record, boxes=(Box(1, 1, 50, 50),))
        assert job.points(moved) == ()


def _label(root: Path, rounds: int, barrier: multiprocessing.synchronize.Barrier) -> None:
    with Dataset.open(root) as dataset:
        barrier.wait(60)
        for round_ in range(rounds):
            name = ("grabcut", "box")[round_ % 2]
            pseudo_label(dataset, load_teacher(name), workers=2, redo=True)


def test_two_processes_racing(make_dataset: MakeDataset) -> None:
    """One makes masks over and over; a person accepts and paints meanwhile. Each word of the person stands."""
    number, rounds = 12, 6
    with make_dataset(number) as dataset:
        pseudo_label(dataset, load_teacher("box"))
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        runner = context.Process(target=_label, args=(dataset.root, rounds, barrier))
        runner.start()
        said: dict[str, ImageRecord] = {}
        barrier.wait(60)
        for index in range(number):
            image = f"images/{index:03d}.png"
            time.sleep(0.02)  # so that the run comes in between
            for _ in range(1000):
                version = dataset.get(image).version
                try:
                    if index % 2:
                        said[image] = store_verdict(dataset, image, "accepted", expected_version=version)
                    else:
                        said[image] = store_correction(dataset, image, painted(200 + index), expected_version=version)
                    break
                except ConflictError:
                    continue  # The run was faster: look again.
        runner.join(120)
        assert runner.exitcode == 0
        assert len(said) == number
        for image, record in said.items():
            now = dataset.get(image)
            assert now == record
            assert now.pseudo is not None
            mask = open_mask(dataset.path(now.pseudo.path))  # the file is there, and whole
            if now.pseudo.teacher == "person":
                np.testing.assert_array_equal(mask, painted(200 + int(Path(image).stem)))
