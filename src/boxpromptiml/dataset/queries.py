"""Browsing the images of a dataset: pages, places, neighbours and figures, each an indexed query."""

from __future__ import annotations

import sqlite3
import unicodedata
from dataclasses import dataclass
from typing import Literal

from boxpromptiml.dataset.records import REVIEW_STATES, REVIEWS, STATES, ReviewState, State
from boxpromptiml.errors import DatasetError

Order = Literal["image", "suspicion"]

# The columns that an order compares, all ascending. The last one is the image, so that no two are at one place.
_KEYS: dict[Order, tuple[str, ...]] = {"image": ("image",), "suspicion": ("suspicion_rank", "image")}
ORDERS: tuple[Order, ...] = tuple(_KEYS)


def folded(text: str) -> str:
    """The text with no difference between upper and lower case, nor between ways to write an accent.

    File systems differ in the latter: macOS writes a letter and its accent as two characters.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images there are by state, and how many pseudo masks by review.

    Attributes:
        todo: neither boxes nor the label authentic, and not skipped.
        boxed: with boxes.
        authentic: labelled authentic.
        skipped: looked at and put off.
        open: with a pseudo mask that nobody has judged.
        accepted: with an accepted pseudo mask.
        rejected: with a rejected pseudo mask.
    """

    todo: int = 0
    boxed: int = 0
    authentic: int = 0
    skipped: int = 0
    open: int = 0
    accepted: int = 0
    rejected: int = 0

    @property
    def images(self) -> int:
        """All images."""
        return self.todo + self.boxed + self.authentic + self.skipped


@dataclass(frozen=True, slots=True)
class Timing:
    """Active annotation time, over the images that have any on record.

    Attributes:
        images: how many these are.
        median_seconds: of one image; None without images.
        total_seconds: of all of them.
    """

    images: int
    median_seconds: float | None
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images to browse.

    Attributes:
        state: only images in this state.
        review: only images whose review is in this state.
        contains: only images whose path contains this text; ASCII letters match in either case.

    Raises:
        DatasetError: an unknown state or review.
    """

    state: State | None = None
    review: ReviewState | None = None
    contains: str | None = None

    def __post_init__(self) -> None:
        _check("state", self.state, STATES)
        _check("review", self.review, REVIEW_STATES)

    def source(self, order: Order) -> str:
        """The table and the index to read it by.

        Each of these indexes holds all columns that a query names, in the order of the list. Left to itself SQLite
        takes the one that a filter begins, and sorts.
        """
        if order == "suspicion":
            index = "image_by_suspicion" if self.review is None else "image_by_review"
        else:
            index = "image_by_name" if self.state is None else "image_by_state"
        return f"image INDEXED BY {index}"

    def where(self, *others: str) -> str:
        """The WHERE clause of the filters and of other conditions."""
        wanted = [
            "state = :state" if self.state is not None else "",
            "review_state = :review" if self.review is not None else "",
            f"{'folded(image)' if self._folds else 'image'} LIKE :pattern ESCAPE '\\'" if self.contains else "",
            *others,
        ]
        text = " AND ".join(condition for condition in wanted if condition)
        return f"WHERE {text}" if text else ""

    @property
    def _folds(self) -> bool:
        # SQLite knows upper and lower case of ASCII alone; asked of each name, Python is slower.
        return not (self.contains or "").isascii()

    @property
    def values(self) -> dict[str, str | int | float | None]:
        """The values of the clause's parameters."""
        text = self.contains or ""
        literal = (folded(text) if self._folds else text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return {"state": self.state, "review": self.review, "pattern": f"%{literal}%"}


def page(connection: sqlite3.Connection, selection: Selection, order: Order, offset: int, limit: int) -> list[str]:
    """The images at places offset ... offset + limit - 1."""
    rows = connection.execute(
        f"SELECT image FROM {selection.source(order)} {selection.where()}"
        f" ORDER BY {', '.join(keys_of(order))} LIMIT :limit OFFSET :offset",
        {**selection.values, "limit": limit, "offset": offset},
    )
    return [image for (image,) in rows]


def total(connection: sqlite3.Connection, selection: Selection) -> int:
    """How many images there are."""
    (number,) = connection.execute(f"SELECT count(*) FROM image {selection.where()}", selection.values).fetchone()
    return int(number)


def position(connection: sqlite3.Connection, image: str, selection: Selection, order: Order) -> int | None:
    """The place of an image that the dataset knows, counted from 0; None where the selection leaves it out."""
    values = {**selection.values, **_place(connection, image)}
    listed = connection.execute(f"SELECT 1 FROM image {selection.where('image = :image')}", values).fetchone()
    if listed is None:
        return None
    (number,) = connection.execute(
        f"SELECT count(*) FROM {selection.source(order)} {selection.where(_compared(order, '<'))}", values
    ).fetchone()
    return int(number)


def neighbour(
    connection: sqlite3.Connection, image: str, selection: Selection, order: Order, *, forward: bool, wrap: bool
) -> str | None:
    """The nearest selected image behind (or before) one that the dataset knows, itself never; None if there is none."""
    values = {**selection.values, **_place(connection, image)}
    keys = ", ".join(f"{key} {'ASC' if forward else 'DESC'}" for key in keys_of(order))
    # All others are on one side or, once round, on the other.
    sides = (">", "<") if forward else ("<", ">")
    for side in sides if wrap else sides[:1]:
        row = connection.execute(
            f"SELECT image FROM {selection.source(order)} {selection.where(_compared(order, side))}"
            f" ORDER BY {keys} LIMIT 1",
            values,
        ).fetchone()
        if row is not None:
            return str(row[0])
    return None


def counts(connection: sqlite3.Connection) -> Counts:
    """Images by state and by review."""
    # Counting one value of an index is several times faster than grouping by it. One statement sees one moment.
    columns: dict[str, str] = {**dict.fromkeys(STATES, "state"), **dict.fromkeys(("open", *REVIEWS), "review_state")}
    numbers = connection.execute(
        "SELECT " + ", ".join(f"(SELECT count(*) FROM image WHERE {columns[value]} = '{value}')" for value in columns)
    ).fetchone()
    return Counts(**dict(zip(columns, numbers, strict=True)))


def timing(connection: sqlite3.Connection) -> Timing:
    """Annotation time over the images that have any."""
    images, whole = connection.execute(
        "SELECT count(*), total(seconds) FROM image WHERE seconds IS NOT NULL"
    ).fetchone()
    # The one in the middle, or both of them.
    middle = connection.execute(
        "SELECT seconds FROM image WHERE seconds IS NOT NULL ORDER BY seconds LIMIT ? OFFSET ?",
        (2 - images % 2, max(0, (images - 1) // 2)),
    ).fetchall()
    median = sum(seconds for (seconds,) in middle) / len(middle) if middle else None
    return Timing(images=int(images), median_seconds=median, total_seconds=float(whole))


def keys_of(order: Order) -> tuple[str, ...]:
    """The columns that an order compares.

    Raises:
        DatasetError: an unknown order.
    """
    _check("order", order, ORDERS)
    return _KEYS[order]


def _compared(order: Order, side: str) -> str:
    keys = keys_of(order)
    return f"({', '.join(keys)}) {side} ({', '.join(f':{key}' for key in keys)})"


def _place(connection: sqlite3.Connection, image: str) -> dict[str, str | float]:
    (rank,) = connection.execute("SELECT suspicion_rank FROM image WHERE image = ?", (image,)).fetchone()
    return {"image": image, "suspicion_rank": rank}


def _check(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise DatasetError(f"{name} {value!r} is not one of {', '.join(allowed)}")
