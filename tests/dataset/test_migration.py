"""A dataset of schema version 1, as it was released, opened by this version."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from boxpromptiml.dataset import Counts, Dataset, ImageRecord, PseudoMask, schema
from boxpromptiml.errors import DatasetError
from boxpromptiml.regions import Box

# What version 1 ran. Kept here word for word: what is on people's disks does not change with the code.
VERSION_1 = """
CREATE TABLE image (
    image TEXT NOT NULL PRIMARY KEY,
    width INTEGER NOT NULL CHECK (width > 0),
    height INTEGER NOT NULL CHECK (height > 0),
    label TEXT CHECK (label IN ('tampered', 'authentic')),
    mask TEXT,
    split TEXT,
    source_group TEXT,
    kind TEXT,
    seconds REAL,
    review TEXT,
    annotated INTEGER NOT NULL CHECK (annotated IN (0, 1)),
    version INTEGER NOT NULL CHECK (version > 0)
) WITHOUT ROWID;
CREATE INDEX image_by_split ON image (split, image);
CREATE INDEX image_by_label ON image (label, image);
CREATE INDEX image_by_annotated ON image (annotated, image);
CREATE INDEX image_by_all ON image (split, label, annotated, image);
CREATE INDEX image_by_group ON image (source_group);
CREATE TABLE region (
    image TEXT NOT NULL REFERENCES image ON DELETE CASCADE,
    position INTEGER NOT NULL,
    x0 INTEGER NOT NULL CHECK (x0 >= 0),
    y0 INTEGER NOT NULL CHECK (y0 >= 0),
    x1 INTEGER NOT NULL CHECK (x1 > x0),
    y1 INTEGER NOT NULL CHECK (y1 > y0),
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE TABLE pseudo_mask (
    image TEXT NOT NULL PRIMARY KEY REFERENCES image ON DELETE CASCADE,
    path TEXT NOT NULL,
    teacher TEXT NOT NULL,
    settings TEXT NOT NULL,
    qualities TEXT NOT NULL,
    flags TEXT NOT NULL,
    fallbacks TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = 1112557901;
PRAGMA user_version = 1;
INSERT INTO image VALUES ('Au/b.jpg', 300, 200, 'authentic', NULL, 'train', NULL, NULL, 1.5, NULL, 0, 4);
INSERT INTO image VALUES ('Tp/a.jpg', 384, 256, 'tampered', 'Gt/a.png', 'train', 'ani15', 'splice', 6.8, 'accepted',
    1, 3);
INSERT INTO image VALUES ('Tp/c.jpg', 90, 90, 'tampered', NULL, NULL, NULL, NULL, NULL, NULL, 1, 2);
INSERT INTO image VALUES ('Tp/d.jpg', 90, 90, 'tampered', 'Gt/d.png', NULL, NULL, NULL, NULL, NULL, 0, 1);
INSERT INTO image VALUES ('e.jpg', 90, 90, NULL, NULL, NULL, NULL, NULL, NULL, 'rejected', 0, 1);
INSERT INTO region VALUES ('Tp/a.jpg', 0, 1, 2, 30, 40), ('Tp/a.jpg', 1, 5, 5, 9, 9), ('Tp/c.jpg', 0, 0, 0, 90, 90);
INSERT INTO pseudo_mask VALUES ('Tp/a.jpg', 'pseudo/a.png', 'sam', '{"boxes": "0f"}', '[0.9, null]', '[[], ["empty"]]',
    '[null, "ellipse"]');
INSERT INTO pseudo_mask VALUES ('Tp/c.jpg', 'pseudo/c.png', 'sam', '{}', '[0.9]', '[[]]', '[null]');
"""
RECORDS = [
    ImageRecord("Au/b.jpg", 300, 200, "authentic", split="train", seconds=1.5, version=4),
    ImageRecord(
        "Tp/a.jpg",
        384,
        256,
        "tampered",
        (Box(1, 2, 30, 40), Box(5, 5, 9, 9)),
        "Gt/a.png",
        PseudoMask("pseudo/a.png", "sam", {"boxes": "0f"}, (0.9, None), ((), ("empty",)), (None, "ellipse")),
        "train",
        "ani15",
        "splice",
        6.8,
        "accepted",
        version=3,
    ),
    ImageRecord(
        "Tp/c.jpg",
        90,
        90,
        "tampered",
        (Box(0, 0, 90, 90),),
        pseudo=PseudoMask("pseudo/c.png", "sam", {}, (0.9,), ((),), (None,)),
        version=2,
    ),
    ImageRecord("Tp/d.jpg", 90, 90, "tampered", mask="Gt/d.png", version=1),
    ImageRecord("e.jpg", 90, 90, review="rejected", version=1),
]


def write_version_1(folder: Path) -> Path:
    """Make the folder a dataset of version 1 and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.executescript(VERSION_1)
    return path


def check(dataset: Dataset) -> None:
    """All that version 1 knew, and what version 2 makes of it."""
    assert list(dataset.records()) == RECORDS
    assert dataset.page() == RECORDS
    assert dataset.counts() == Counts(todo=2, boxed=2, authentic=1, skipped=0, open=1, accepted=1, rejected=0)
    assert [record.image for record in dataset.page(state="todo")] == ["Tp/d.jpg", "e.jpg"]
    by_suspicion = ["Tp/a.jpg", "Tp/c.jpg", "Au/b.jpg", "Tp/d.jpg", "e.jpg"]
    assert [record.image for record in dataset.page(order="suspicion")] == by_suspicion
    assert dataset.position("Tp/c.jpg", order="suspicion", review="open") == 0
    assert dataset.timing().total_seconds == pytest.approx(8.3)


def _shape(path: Path) -> tuple[object, ...]:
    with closing(sqlite3.connect(path)) as raw:
        tables = [raw.execute(f"PRAGMA table_info({name})").fetchall() for name in ("image", "region", "pseudo_mask")]
        indexes = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name").fetchall()
        return tables, indexes, raw.execute("PRAGMA user_version").fetchone()


def test_the_first_migration_is_still_what_version_1_ran() -> None:
    with closing(sqlite3.connect(":memory:")) as old, closing(sqlite3.connect(":memory:")) as now:
        old.executescript(VERSION_1)
        for statement in schema.MIGRATIONS[0]:
            now.execute(statement)
        listing = "SELECT type, name, tbl_name FROM sqlite_master ORDER BY name"
        assert old.execute(listing).fetchall() == now.execute(listing).fetchall()
        for table in ("image", "region", "pseudo_mask"):
            assert (
                old.execute(f"PRAGMA table_info({table})").fetchall()
                == now.execute(f"PRAGMA table_info({table})").fetchall()
            )


def test_a_file_of_version_1_becomes_one_of_this_version(tmp_path: Path) -> None:
    path = write_version_1(tmp_path / "old")
    with Dataset.open(tmp_path / "old") as dataset:
        check(dataset)
        for record in RECORDS:  # written anew, every row is what the migration made of it, but for its version
            with dataset._reading() as connection:
                columns = "state, review_state, suspicion_rank, skipped"
                before = connection.execute(f"SELECT {columns} FROM image WHERE image = ?", (record.image,)).fetchone()
                dataset.put(record)
                after = connection.execute(f"SELECT {columns} FROM image WHERE image = ?", (record.image,)).fetchone()
            assert before == after
        dataset.annotate("e.jpg", boxes=[], label=None, skipped=True, expected_version=2)
    with Dataset.open(tmp_path / "old") as dataset:
        assert dataset.get("e.jpg").state == "skipped"
    Dataset.create(tmp_path / "new").close()
    assert _shape(path) == _shape(tmp_path / "new" / "dataset.db")


def _open_and_count(folder: Path, results: multiprocessing.Queue[object]) -> None:
    try:
        with Dataset.open(folder) as dataset:
            results.put(dataset.counts().images)
    except DatasetError as error:
        results.put(str(error))


def test_processes_that_open_it_at_once_migrate_it_once(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_open_and_count, args=(tmp_path, results)) for _ in range(4)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [len(RECORDS)] * 4
    for child in children:
        child.join()


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of version 1 that nobody may write, not even the superuser as far as the store can tell."""
    with tempfile.TemporaryDirectory() as name:
        path = write_version_1(Path(name))
        with monkeypatch.context() as patch:
            patch.setattr(schema, "is_writable", lambda path: False)
            patch.setattr("boxpromptiml.dataset.folder.is_writable", lambda path: False)
            path.chmod(0o444)
            path.parent.chmod(0o555)
            yield path
        path.parent.chmod(0o755)


def test_a_read_only_file_of_version_1_is_read_and_left_alone(read_only: Path) -> None:
    before = (read_only.read_bytes(), sorted(read_only.parent.iterdir()))
    with Dataset.open(read_only.parent) as dataset:
        assert dataset.read_only
        check(dataset)
        for change in (
            lambda: dataset.annotate("e.jpg", boxes=[Box(0, 0, 9, 9)], label=None, expected_version=1),
            lambda: dataset.put(RECORDS[0]),
        ):
            with pytest.raises(DatasetError, match="read-only; change the permissions"):
                change()
        check(dataset)
    assert (read_only.read_bytes(), sorted(read_only.parent.iterdir())) == before
    with Dataset.open(read_only.parent) as dataset:  # and again
        check(dataset)
