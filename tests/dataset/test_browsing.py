"""Pages, places, neighbours and counts against the same filters and orders written in Python."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median

import pytest

from boxpromptiml.dataset import REVIEW_STATES, STATES, Counts, Dataset, ImageRecord, PseudoMask, Timing
from boxpromptiml.dataset.queries import ORDERS, Selection, folded
from boxpromptiml.errors import DatasetError, UnknownImageError
from boxpromptiml.regions import Box

CONTAINS = (None, "", "B", "x/", "100%", "_", "\\", "ü", "Ü/", "u\u0308", "nowhere")
FILTERS = [
    {"state": state, "review": review, "contains": contains}
    for state, review, contains in product((None, *STATES), (None, *REVIEW_STATES), CONTAINS)
]


def record(number: int, dice: random.Random) -> ImageRecord:
    state = dice.choice(STATES)
    masked = dice.random() < 0.6
    folder = dice.choice(["x", "../b c", "B", "100%", "1000", "a_b", "back\\slash", "ü", "Ü", "U\u0308"])
    return ImageRecord(
        image=f"{folder}/{number:03}.jpg",
        width=100,
        height=80,
        label="authentic" if state == "authentic" else dice.choice(["tampered", None]),
        boxes=(Box(0, 0, 9, 9),) if state == "boxed" else (),
        # Few values, so that many are equal: then the path decides.
        pseudo=PseudoMask("p", "t", {}, (dice.choice([0.5, 0.75, None]),), ((),)) if masked else None,
        review=dice.choice(["accepted", "rejected", None]),
        skipped=state == "skipped",
        seconds=dice.choice([None, 2.0, 5.5, 30.0]),
    )


@pytest.fixture(scope="module")
def many() -> list[ImageRecord]:
    dice = random.Random(7)
    return [record(number, dice) for number in range(120)]


@pytest.fixture(scope="module")
def browsed(many: list[ImageRecord], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    with Dataset.create(tmp_path_factory.mktemp("browse")) as dataset:
        dataset.put(many)
        yield dataset


def listed(many: list[ImageRecord], filters: dict[str, str | None], order: str) -> list[str]:
    def wanted(record: ImageRecord) -> bool:
        return (
            filters["state"] in (None, record.state)
            and filters["review"] in (None, record.review_state)
            and folded(filters["contains"] or "") in folded(record.image)
        )

    def place(record: ImageRecord) -> tuple[float, str]:
        suspicion = 0.0 if order == "image" else 2.0 if record.pseudo is None else 1 - record.pseudo.suspicion
        return suspicion, record.image

    return [record.image for record in sorted(filter(wanted, many), key=place)]


@pytest.mark.parametrize("order", ORDERS)
def test_pages_and_totals(browsed: Dataset, many: list[ImageRecord], order: str) -> None:
    filled = 0
    for filters in FILTERS:
        wanted = listed(many, filters, order)
        filled += len(wanted) > 10
        assert browsed.total(**filters) == len(wanted), filters  # type: ignore[arg-type]
        pages = [browsed.page(**filters, order=order, offset=offset, limit=50) for offset in (0, 50, 100, 150)]  # type: ignore[arg-type]
        assert [record.image for page in pages for record in page] == wanted, filters
        assert len(pages[0]) == min(50, len(wanted))
    assert filled > 20


@pytest.mark.parametrize("order", ORDERS)
def test_places_and_neighbours(browsed: Dataset, many: list[ImageRecord], order: str) -> None:
    everything = listed(many, FILTERS[0], order)
    for filters, image in product(FILTERS[::7], everything[::5]):
        wanted = listed(many, filters, order)
        choice = {**filters, "order": order}
        place = wanted.index(image) if image in wanted else None
        assert browsed.position(image, **choice) == place, (filters, image)  # type: ignore[arg-type]
        # Also from an image that the filters leave out: it was annotated a moment ago.
        start = everything.index(image)
        behind = [other for other in wanted if everything.index(other) > start]
        before = [other for other in wanted if everything.index(other) < start]
        for forward, wrap, expected in (
            (True, False, behind[:1]),
            (False, False, before[-1:]),
            (True, True, (behind + before)[:1]),
            (False, True, (behind + before)[-1:]),
        ):
            found = browsed.neighbour(image, **choice, forward=forward, wrap=wrap)  # type: ignore[arg-type]
            assert found == (expected[0] if expected else None), (filters, image, forward, wrap)


def test_walking_forward_meets_every_image_once(browsed: Dataset, many: list[ImageRecord]) -> None:
    wanted = listed(many, {"state": None, "review": "open", "contains": None}, "suspicion")
    walked = [browsed.page(review="open", order="suspicion", limit=1)[0].image]
    while following := browsed.neighbour(walked[-1], review="open", order="suspicion"):
        walked.append(following)
    assert walked == wanted
    assert browsed.neighbour(walked[-1], review="open", order="suspicion", wrap=True) == walked[0]


def test_the_only_image_of_a_list_has_no_neighbour(dataset: Dataset) -> None:
    dataset.put([ImageRecord("a.jpg", 9, 9), ImageRecord("b.jpg", 9, 9, label="authentic")])
    assert dataset.neighbour("a.jpg", state="todo", wrap=True) is None
    assert dataset.neighbour("b.jpg", state="todo", wrap=True) == "a.jpg"


def test_counts(browsed: Dataset, many: list[ImageRecord]) -> None:
    states, reviews = [record.state for record in many], [record.review_state for record in many]
    counts = browsed.counts()
    assert counts == Counts(
        **{state: states.count(state) for state in STATES},
        **{review: reviews.count(review) for review in REVIEW_STATES if review != "none"},
    )
    assert counts.images == len(many)
    assert min(counts.todo, counts.boxed, counts.authentic, counts.skipped, counts.open, counts.accepted) > 0


def test_timing(browsed: Dataset, many: list[ImageRecord]) -> None:
    seconds = [record.seconds for record in many if record.seconds is not None]
    assert browsed.timing() == Timing(len(seconds), median(seconds), sum(seconds))


@pytest.mark.parametrize(
    ("seconds", "timing"),
    [
        ([], Timing(0, None, 0.0)),
        ([None], Timing(0, None, 0.0)),
        ([4.0, None], Timing(1, 4.0, 4.0)),
        ([1.0, 2.0], Timing(2, 1.5, 3.0)),
        ([9.0, 1.0, 2.0], Timing(3, 2.0, 12.0)),
        ([4.0, 1.0, 2.0, 9.0], Timing(4, 3.0, 16.0)),
    ],
)
def test_the_median_of_a_few(dataset: Dataset, seconds: list[float | None], timing: Timing) -> None:
    dataset.put(ImageRecord(f"{number}.jpg", 9, 9, seconds=value) for number, value in enumerate(seconds))
    assert dataset.timing() == timing


def test_an_empty_dataset(dataset: Dataset) -> None:
    assert (dataset.page(), dataset.total(), dataset.counts()) == ([], 0, Counts())


def test_each_change_moves_the_image(dataset: Dataset) -> None:
    dataset.put([ImageRecord("a.jpg", 9, 9), ImageRecord("b.jpg", 9, 9)])
    dataset.set_boxes("b.jpg", [Box(0, 0, 5, 5)])
    assert [record.image for record in dataset.page(state="boxed")] == ["b.jpg"]
    dataset.set_pseudo("b.jpg", PseudoMask("p", "t", {}, (0.25,), (("empty",),)))
    assert [record.image for record in dataset.page(review="open", order="suspicion")] == ["b.jpg"]
    assert dataset.position("b.jpg", order="suspicion") == 0
    dataset.set_boxes("b.jpg", [])
    assert dataset.total(state="todo") == 2
    dataset.set_pseudo("b.jpg", None)
    assert dataset.position("b.jpg", order="suspicion") == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda d: d.position("nope.jpg"),
        lambda d: d.neighbour("nope.jpg"),
        lambda d: d.neighbour("nope.jpg", state="todo", order="suspicion", wrap=True),
    ],
)
def test_an_unknown_image_is_named(browsed: Dataset, ask: object) -> None:
    with pytest.raises(UnknownImageError, match=r"nope\.jpg"):
        ask(browsed)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"state": "done"}, "state 'done' is not one of todo, boxed, authentic, skipped"),
        ({"review": "maybe"}, "review 'maybe' is not one of open, accepted, rejected, none"),
        ({"order": "size"}, "order 'size' is not one of image, suspicion"),
        ({"state": "todo' OR 1 --"}, "is not one of"),
    ],
)
def test_nonsense_is_refused(browsed: Dataset, choice: dict[str, str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        browsed.page(**choice)  # type: ignore[arg-type]


@pytest.mark.parametrize(("offset", "limit", "number"), [(-5, 3, 3), (0, -1, 0), (2**70, 9, 0), (0, 2**70, 120)])
def test_any_offset_and_limit_will_do(browsed: Dataset, offset: int, limit: int, number: int) -> None:
    assert len(browsed.page(offset=offset, limit=limit)) == number


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("filters", [{}, {"state": "todo"}, {"review": "open"}, {"state": "boxed", "review": "none"}])
def test_lists_come_from_an_index_alone_and_are_not_sorted(
    browsed: Dataset, filters: dict[str, str], order: str, tmp_path: Path
) -> None:
    statements: list[str] = []
    with browsed._reading() as connection:
        connection.set_trace_callback(statements.append)
        image = browsed.page(limit=1)[0].image
        browsed.page(**filters, order=order, offset=5, limit=5)  # type: ignore[arg-type]
        browsed.position(image, **filters, order=order)  # type: ignore[arg-type]
        for forward in (True, False):
            browsed.neighbour(image, **filters, order=order, forward=forward)  # type: ignore[arg-type]
        connection.set_trace_callback(None)
        lists = [text for text in statements if "INDEXED BY" in text]
        assert len(lists) >= 4
        for text in lists:
            plan = " ".join(row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}"))
            assert "USING COVERING INDEX image_by_" in plan, (text, plan)
            assert "TEMP B-TREE" not in plan, (text, plan)


def test_the_columns_say_what_the_records_say(browsed: Dataset, many: list[ImageRecord]) -> None:
    with browsed._reading() as connection:
        connection.row_factory = sqlite3.Row
        rows = {row["image"]: row for row in connection.execute("SELECT * FROM image")}
        connection.row_factory = None
    for record in many:
        row = rows[record.image]
        assert (row["state"], row["review_state"]) == (record.state, record.review_state)
        assert row["suspicion_rank"] == (1.0 if record.pseudo is None else -record.pseudo.suspicion)


def test_a_selection_leaves_wildcards_alone() -> None:
    assert Selection(contains="50%_\\").values["pattern"] == "%50\\%\\_\\\\%"
    assert Selection(contains="Ü_").values["pattern"] == "%ü\\_%"


def test_names_are_found_however_they_are_written() -> None:
    assert folded("Über/Été.JPG") == folded("u\u0308BER/e\u0301te\u0301.jpg") == "über/été.jpg"
    assert folded("STRASSE") == folded("straße")
    assert folded("u") != folded("ü")
