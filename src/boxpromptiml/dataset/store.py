"""The dataset folder and `dataset.db`, the one store of record of everything that is known about its images."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from boxpromptiml.dataset.annotation import annotated, same_annotation
from boxpromptiml.dataset.browsing import BrowsableDataset
from boxpromptiml.dataset.records import SPLITS, ImageRecord, Label, PseudoMask, check_record
from boxpromptiml.dataset.rows import page as read_page
from boxpromptiml.dataset.rows import where, write
from boxpromptiml.errors import ConflictError, DatasetError
from boxpromptiml.regions import Box

# `records` reads this many images at a time and holds no lock in between.
_PAGE = 1000


class Dataset(BrowsableDataset):
    """A dataset folder. Make one with `create`, open one with `open`; use it as a context manager.

    Every change is one durable transaction: when the method returns, the change survives a crash or a power cut.
    Several processes and threads may work on one folder at once; the object may be pickled and used after a fork
    (it opens its own connection). Each change of an image raises its `version` by one.

    Attributes:
        root: the folder, absolute, symbolic links resolved.
    """

    @classmethod
    def create(cls, folder: str | Path) -> Dataset:
        """Make a dataset in `folder` (made with its parents if missing); open it if it is a dataset already.

        Raises:
            DatasetError: the folder cannot be made or written, or holds something else's database.
        """
        return cls(folder, create=True)

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Open the dataset in `folder`; for reading only where the folder cannot be written.

        Raises:
            DatasetError: there is none, or its database is empty, damaged, of a newer version or not readable.
        """
        return cls(folder)

    def put(
        self,
        records: ImageRecord | Iterable[ImageRecord],
        *,
        expected_version: int | None = None,
        unchanged: bool = False,
    ) -> None:
        """Insert or replace whole records, all in one transaction.

        Args:
            records: one or many; an iterable is consumed inside the transaction.
            expected_version: the version that every stored record must have (0: must not be stored yet).
            unchanged: every record must still be stored in the version that it carries (0: not be stored yet).
                Without either, the records' versions are not looked at.

        Raises:
            DatasetError: a record that contradicts itself (see `check_record`); then none is stored.
            ConflictError: a stored record has another version; then none is stored.
        """
        many = [records] if isinstance(records, ImageRecord) else records
        with self._writing() as connection:
            for record in many:
                check_record(record)
                expected = record.version if unchanged else expected_version
                if expected is not None:
                    self._expect(connection, record.image, expected)
                write(connection, record)

    def get(self, image: str) -> ImageRecord:
        """The record of one image.

        Raises:
            DatasetError: the dataset does not know it.
        """
        with self._reading() as connection:
            return self._get(connection, image)

    def records(
        self,
        *,
        split: str | None = None,
        label: Label | None = None,
        annotated: bool | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[ImageRecord]:
        """Yield records in the order of their image paths (by code point).

        Reads page by page and locks nothing in between: changes made meanwhile, here or by another process, may show
        in the pages that follow.

        Args:
            split: only this split.
            label: only this label.
            annotated: only images with at least one box (True) or without any (False).
            after: start behind this image: the last one of the page before.
            limit: at most so many.
        """
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            with self._reading() as connection:
                page = read_page(connection, *where(split, label, annotated, after), size)
            yield from page
            if len(page) < size:
                return
            after = page[-1].image
            left = None if left is None else left - size

    def count(self, *, split: str | None = None, label: Label | None = None, annotated: bool | None = None) -> int:
        """How many images there are; the filters are those of `records`."""
        condition, values = where(split, label, annotated, None)
        with self._reading() as connection:
            (number,) = connection.execute(f"SELECT count(*) FROM image {condition}", values).fetchone()
        return int(number)

    def set_boxes(
        self,
        image: str,
        boxes: Sequence[Box],
        *,
        label: Label | None = None,
        seconds: float | None = None,
        expected_version: int | None = None,
    ) -> ImageRecord:
        """Replace the boxes of one image and return the stored record; the verdict on its mask stays.

        Args:
            image: which one.
            boxes: the new boxes; none to remove them.
            label: the new label; None keeps it, but an image without a label becomes tampered with its first box.
            seconds: annotation time to store; None keeps it.
            expected_version: the version that the caller saw.

        Raises:
            DatasetError: unknown image, a box that is empty or not inside the image, boxes on an authentic image.
            ConflictError: somebody else changed the record since.
        """
        with self._writing() as connection:
            if expected_version is not None:
                self._expect(connection, image, expected_version)
            stored = self._get(connection, image)
            record = annotated(stored, boxes=boxes, label=label or stored.label, skipped=stored.skipped)
            if seconds is not None:
                record = replace(record, seconds=seconds)
            check_record(record)
            write(connection, record)
            return self._get(connection, image)

    def annotate(
        self,
        image: str,
        *,
        boxes: Sequence[Box],
        label: Label | None,
        skipped: bool = False,
        add_seconds: float = 0.0,
        expected_version: int,
    ) -> ImageRecord:
        """Store what a person said of one image, all of it in one durable transaction, and return the stored record.

        Boxes or the label authentic clear `skipped`. Other boxes leave the pseudo mask and the verdict on it alone:
        the mask's settings tell of which boxes it is. What is stored already changes nothing.

        A retry after a lost answer is no conflict: where the record has another version, but says exactly what the
        request says, it is returned as it is, and no seconds are added again.

        Args:
            image: which one.
            boxes: all of its boxes.
            label: its label; an image with boxes and without a label is tampered.
            skipped: the person decided not to annotate it now.
            add_seconds: active time since the last change, added to what is stored; ten minutes at most are counted.
            expected_version: the version that the person saw.

        Raises:
            UnknownImageError: the dataset does not know the image.
            DatasetError: a box that is empty or not inside the image, boxes on an authentic image, seconds that are
                negative or not finite.
            ConflictError: somebody else changed the record since to something else.
        """
        with self._writing() as connection:
            stored = self._get(connection, image)
            wanted = annotated(stored, boxes=boxes, label=label, skipped=skipped, add_seconds=add_seconds)
            check_record(wanted)
            if stored.version != expected_version and not same_annotation(stored, wanted):
                self._expect(connection, image, expected_version)
            if stored.version != expected_version or wanted == stored:
                return stored
            write(connection, wanted)
            return self._get(connection, image)

    def set_pseudo(self, image: str, pseudo: PseudoMask | None, *, expected_version: int | None = None) -> None:
        """Store (or with None: forget) the record of a teacher's mask; the mask file itself is the caller's.

        Raises:
            DatasetError: unknown image.
            ConflictError: `expected_version` is given and the record has another one.
        """
        with self._writing() as connection:
            if expected_version is not None:
                self._expect(connection, image, expected_version)
            write(connection, replace(self._get(connection, image), pseudo=pseudo))

    def set_splits(self, splits: Mapping[str, str | None]) -> None:
        """Assign splits to images (None takes an image out of its split), all in one transaction.

        Images whose split stays the same keep their version.

        Raises:
            DatasetError: an unknown image or split; then nothing is stored.
        """
        with self._writing() as connection:
            for image, split in splits.items():
                if split is not None and split not in SPLITS:
                    raise DatasetError(f"{image}: split {split!r} is not one of {', '.join(SPLITS)}")
                row = connection.execute("SELECT split FROM image WHERE image = ?", (image,)).fetchone()
                if row is None:
                    raise self._unknown(image)
                if row[0] != split:
                    connection.execute(
                        "UPDATE image SET split = ?, version = version + 1 WHERE image = ?", (split, image)
                    )

    def _expect(self, connection: sqlite3.Connection, image: str, expected: int) -> None:
        row = connection.execute("SELECT version FROM image WHERE image = ?", (image,)).fetchone()
        version = 0 if row is None else row[0]
        if version != expected:
            raise ConflictError(
                f"{image}: somebody else changed it (version {version}, expected {expected}); load it again and redo"
            )
