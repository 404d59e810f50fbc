"""One person's change to one image: what it clears, what it keeps, and that it is never lost or doubled."""

from __future__ import annotations

import math
import multiprocessing
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.dataset.annotation import MAX_ADDED_SECONDS
from boxpromptiml.errors import ConflictError, DatasetError, UnknownImageError
from boxpromptiml.regions import Box

NAME = "../photos/a.jpg"
A, B = Box(0, 0, 9, 9), Box(20, 10, 30, 40)
PSEUDO = PseudoMask("pseudo/a.png", "grabcut", {"boxes": "0f"}, (None,), ((),), (None,))
TODO = ImageRecord(NAME, 100, 80)
BOXED = replace(TODO, label="tampered", boxes=(A,), pseudo=PSEUDO, review="accepted", seconds=5.0, split="train")
AUTHENTIC = replace(TODO, label="authentic", seconds=2.0)
SKIPPED = replace(TODO, skipped=True)


@pytest.mark.parametrize(
    ("before", "request_", "after"),
    [
        pytest.param(
            TODO,
            {"boxes": [A], "label": None, "add_seconds": 3.5},
            replace(TODO, boxes=(A,), label="tampered", seconds=3.5),
            id="the first box makes it tampered",
        ),
        pytest.param(
            TODO,
            {"boxes": [], "label": "tampered", "add_seconds": 1.0},
            replace(TODO, label="tampered", seconds=1.0),
            id="tampered without boxes",
        ),
        pytest.param(TODO, {"boxes": [], "label": "authentic"}, replace(TODO, label="authentic"), id="authentic"),
        pytest.param(TODO, {"boxes": [], "label": None, "skipped": True}, SKIPPED, id="skipped"),
        pytest.param(
            SKIPPED,
            {"boxes": [A], "label": "tampered", "skipped": True},
            replace(TODO, boxes=(A,), label="tampered"),
            id="boxes clear skipped",
        ),
        pytest.param(
            SKIPPED,
            {"boxes": [], "label": "authentic", "skipped": True},
            replace(TODO, label="authentic"),
            id="authentic clears skipped",
        ),
        pytest.param(SKIPPED, {"boxes": [], "label": None}, TODO, id="no longer skipped"),
        pytest.param(
            BOXED,
            {"boxes": [A, B], "label": "tampered", "add_seconds": 2.0},
            replace(BOXED, boxes=(A, B), seconds=7.0),
            id="other boxes keep the mask's record and the verdict on it",
        ),
        pytest.param(
            replace(BOXED, boxes=(A, B)),
            {"boxes": [B, A], "label": "tampered"},
            replace(BOXED, boxes=(B, A)),
            id="the order of boxes counts: the mask's lists follow it",
        ),
        pytest.param(
            BOXED,
            {"boxes": [A], "label": "tampered", "add_seconds": 2.0},
            replace(BOXED, seconds=7.0),
            id="the same boxes keep the review",
        ),
        pytest.param(
            BOXED,
            {"boxes": [], "label": "authentic", "add_seconds": 0.5},
            replace(BOXED, boxes=(), label="authentic", seconds=5.5),
            id="from boxes to authentic",
        ),
        pytest.param(
            AUTHENTIC,
            {"boxes": [], "label": None},
            replace(TODO, seconds=2.0),
            id="undone",
        ),
        pytest.param(
            AUTHENTIC,
            {"boxes": [[1, 2, 3, 4]], "label": "tampered", "add_seconds": 1e9},
            replace(AUTHENTIC, boxes=(Box(1, 2, 3, 4),), label="tampered", seconds=2.0 + MAX_ADDED_SECONDS),
            id="a clock that ran on overnight",
        ),
    ],
)
def test_what_a_change_makes_of_a_record(
    dataset: Dataset, before: ImageRecord, request_: dict[str, object], after: ImageRecord
) -> None:
    dataset.put(before)
    stored = dataset.annotate(NAME, **request_, expected_version=1)  # type: ignore[arg-type]
    assert stored == replace(after, version=2)
    assert dataset.get(NAME) == stored


@pytest.mark.parametrize("before", [TODO, BOXED, AUTHENTIC, SKIPPED])
def test_what_is_stored_already_changes_nothing(dataset: Dataset, before: ImageRecord) -> None:
    dataset.put(before)
    same = {"boxes": before.boxes, "label": before.label, "skipped": before.skipped}
    assert dataset.annotate(NAME, **same, expected_version=1) == replace(before, version=1)  # type: ignore[arg-type]


def test_a_retry_after_a_lost_answer_adds_no_seconds(dataset: Dataset) -> None:
    dataset.put(TODO)
    first = dataset.annotate(NAME, boxes=[A], label=None, add_seconds=4.0, expected_version=1)
    for _ in range(3):
        assert dataset.annotate(NAME, boxes=[A], label=None, add_seconds=4.0, expected_version=1) == first
    dataset.set_pseudo(NAME, PSEUDO)  # a teacher came by meanwhile
    again = dataset.annotate(NAME, boxes=[A], label="tampered", add_seconds=4.0, expected_version=1)
    assert again == replace(first, pseudo=PSEUDO, version=3)


@pytest.mark.parametrize(
    "other",
    [
        {"boxes": [A, B], "label": "tampered"},
        {"boxes": [B], "label": "tampered"},
        {"boxes": [], "label": "authentic"},
        {"boxes": [], "label": None, "skipped": True},
        {"boxes": [], "label": None},
    ],
)
@pytest.mark.parametrize("version", [0, 1, 3])
def test_anything_else_on_another_version_is_a_conflict(
    dataset: Dataset, other: dict[str, object], version: int
) -> None:
    dataset.put(TODO)
    stored = dataset.annotate(NAME, boxes=[A], label="tampered", add_seconds=4.0, expected_version=1)
    with pytest.raises(ConflictError, match=rf"a\.jpg: somebody else changed it \(version 2, expected {version}\)"):
        dataset.annotate(NAME, **other, add_seconds=1.0, expected_version=version)  # type: ignore[arg-type]
    assert dataset.get(NAME) == stored


@pytest.mark.parametrize(
    ("nonsense", "message"),
    [
        ({"boxes": [Box(0, 0, 101, 9)], "label": None}, "box 1 .* is not inside"),
        ({"boxes": [A, Box(5, 5, 5, 9)], "label": None}, "box 2 .* is empty"),
        ({"boxes": [A], "label": "authentic"}, "labelled authentic"),
        ({"boxes": [], "label": "fake"}, "label 'fake'"),
        ({"boxes": [], "label": None, "add_seconds": -1.0}, "add_seconds must be 0 or more, got -1.0"),
        ({"boxes": [], "label": None, "add_seconds": math.nan}, "add_seconds"),
        ({"boxes": [], "label": None, "add_seconds": math.inf}, "add_seconds"),
    ],
)
def test_nonsense_is_refused(dataset: Dataset, nonsense: dict[str, object], message: str) -> None:
    dataset.put(BOXED)
    with pytest.raises(DatasetError, match=message):
        dataset.annotate(NAME, **nonsense, expected_version=1)  # type: ignore[arg-type]
    assert dataset.get(NAME) == replace(BOXED, version=1)


def test_an_unknown_image_is_named(dataset: Dataset) -> None:
    with pytest.raises(UnknownImageError, match=r"nope\.jpg"):
        dataset.annotate("nope.jpg", boxes=[], label=None, expected_version=1)


# --- several people -------------------------------------------------------------------------------------------------

ROUNDS = 12


def _annotate_together(folder: Path, person: int, together: Barrier, conflicts: multiprocessing.Queue[int]) -> None:
    met = 0
    with Dataset.open(folder) as dataset:
        for step in range(ROUNDS):
            seen = dataset.get(NAME)
            together.wait(60)  # both have seen the same version
            while True:
                try:
                    mine = Box(step, person, step + 1, person + 1)
                    dataset.annotate(
                        NAME, boxes=[*seen.boxes, mine], label=None, add_seconds=1.0, expected_version=seen.version
                    )
                    break
                except ConflictError:
                    met += 1
                    seen = dataset.get(NAME)
            together.wait(60)
    conflicts.put(met)


def test_two_processes_on_one_image_lose_no_box(dataset: Dataset) -> None:
    dataset.put(TODO)
    context = multiprocessing.get_context("spawn")
    together, conflicts = context.Barrier(2), context.Queue()
    people = [
        context.Process(target=_annotate_together, args=(dataset.root, person, together, conflicts))
        for person in (0, 1)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(120)
    assert [person.exitcode for person in people] == [0, 0]
    stored = dataset.get(NAME)
    wanted = {Box(step, person, step + 1, person + 1) for step in range(ROUNDS) for person in (0, 1)}
    assert (set(stored.boxes), len(stored.boxes)) == (wanted, 2 * ROUNDS)
    assert (stored.seconds, stored.version) == (2.0 * ROUNDS, 1 + 2 * ROUNDS)
    # In every round one of the two came second, and was told.
    assert conflicts.get(timeout=10) + conflicts.get(timeout=10) == ROUNDS


# --- the end of a process -------------------------------------------------------------------------------------------

# Dies by a real SIGKILL, either right after the last change has returned or right before it would be committed.
MORTAL = textwrap.dedent(
    """
    import os, signal, sys
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.regions import Box
    folder, name, changes, where = sys.argv[1:]
    dataset = Dataset.open(folder)
    boxes = []
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    for number in range(int(changes)):
        boxes.append(Box(number, 0, number + 1, 1))
        version = dataset.get(name).version
        if number + 1 == int(changes) and where == "inside":
            with dataset._reading() as connection:
                connection.set_trace_callback(lambda text: text == "COMMIT" and die())
        dataset.annotate(name, boxes=boxes, label=None, add_seconds=2.0, expected_version=version)
    die()
    """
)


@pytest.mark.parametrize("changes", [1, 2, 7])
@pytest.mark.parametrize(("where", "lost"), [("behind", 0), ("inside", 1)])
def test_a_killed_process_keeps_what_was_returned_and_no_half_of_the_rest(
    dataset: Dataset, changes: int, where: str, lost: int
) -> None:
    dataset.put(TODO)
    command = [sys.executable, "-c", MORTAL, str(dataset.root), NAME, str(changes), where]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    kept = changes - lost
    with Dataset.open(dataset.root) as opened:
        stored = opened.get(NAME)
    assert stored.boxes == tuple(Box(number, 0, number + 1, 1) for number in range(kept))
    assert (stored.seconds, stored.version) == (2.0 * kept if kept else None, 1 + kept)
    assert stored.state == ("boxed" if kept else "todo")
