"""Browsing a dataset as the annotation and review pages do: by place, with filters, next and previous."""

from __future__ import annotations

from boxpromptiml.dataset import queries
from boxpromptiml.dataset.folder import DatasetFolder
from boxpromptiml.dataset.queries import Counts, Order, Selection, Timing
from boxpromptiml.dataset.records import ImageRecord, ReviewState, State
from boxpromptiml.dataset.rows import load, snapshot


class BrowsableDataset(DatasetFolder):
    """The queries of `Dataset` for people who page through it.

    Filters: `state` and `review` are those of `ImageRecord.state` and `ImageRecord.review_state`, `contains` is a part
    of the path, ASCII letters in either case; None leaves a filter out. Orders: ``image`` by path (code points),
    ``suspicion`` the most suspicious pseudo mask first, images without one last.
    """

    def page(
        self,
        *,
        state: State | None = None,
        review: ReviewState | None = None,
        contains: str | None = None,
        order: Order = "image",
        offset: int = 0,
        limit: int = 200,
    ) -> list[ImageRecord]:
        """The records at places `offset` ... `offset + limit - 1` of the filtered list.

        Raises:
            DatasetError: an unknown state, review or order.
        """
        selection = Selection(state, review, contains)
        with self._reading() as connection, snapshot(connection):
            return load(connection, queries.page(connection, selection, order, _bounded(offset), _bounded(limit)))

    def total(
        self, *, state: State | None = None, review: ReviewState | None = None, contains: str | None = None
    ) -> int:
        """How long the filtered list is.

        Raises:
            DatasetError: an unknown state or review.
        """
        selection = Selection(state, review, contains)
        with self._reading() as connection:
            return queries.total(connection, selection)

    def position(
        self,
        image: str,
        *,
        state: State | None = None,
        review: ReviewState | None = None,
        contains: str | None = None,
        order: Order = "image",
    ) -> int | None:
        """The place of an image in the filtered list, counted from 0; None where the filters leave it out.

        Raises:
            UnknownImageError: the dataset does not know the image.
            DatasetError: an unknown state, review or order.
        """
        selection = Selection(state, review, contains)
        with self._reading() as connection, snapshot(connection):
            self._known(connection, image)
            return queries.position(connection, image, selection, order)

    def neighbour(
        self,
        image: str,
        *,
        state: State | None = None,
        review: ReviewState | None = None,
        contains: str | None = None,
        order: Order = "image",
        forward: bool = True,
        wrap: bool = False,
    ) -> str | None:
        """The image of the filtered list that comes next in the order; None if there is none.

        Args:
            image: where to start; the filters may leave it out. It is never the answer.
            state: see the class.
            review: see the class.
            contains: see the class.
            order: see the class.
            forward: the next one (True) or the one before (False).
            wrap: go on at the other end of the list.

        Raises:
            UnknownImageError: the dataset does not know the image.
            DatasetError: an unknown state, review or order.
        """
        selection = Selection(state, review, contains)
        with self._reading() as connection, snapshot(connection):
            self._known(connection, image)
            return queries.neighbour(connection, image, selection, order, forward=forward, wrap=wrap)

    def counts(self) -> Counts:
        """How many images there are by state, and how many pseudo masks by review."""
        with self._reading() as connection:
            return queries.counts(connection)

    def timing(self) -> Timing:
        """Annotation time over the images that have any."""
        with self._reading() as connection:
            return queries.timing(connection)


def _bounded(number: int) -> int:
    """What SQLite takes for an offset or a limit; negative ones mean something else to it."""
    return min(max(0, number), 2**62)
