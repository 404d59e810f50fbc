from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask, schema
from boxpromptiml.errors import ConflictError, DatasetError
from boxpromptiml.regions import Box

FULL = ImageRecord(
    image="Tp/a b+ü.jpg",
    width=384,
    height=256,
    label="tampered",
    boxes=(Box(0, 0, 384, 256), Box(7, 8, 9, 10)),
    mask="Gt/a.png",
    pseudo=PseudoMask(
        path="pseudo/a.png",
        teacher="sam:facebook/sam-vit-huge",
        settings={"boxes": "0f3a", "fallback": "box", "nested": {"list": [1, 2.5, None, True]}},
        qualities=(0.97, None),
        flags=((), ("empty", "low-quality")),
        fallbacks=(None, "box"),
    ),
    split="train",
    group="ani0015",
    kind="splice",
    seconds=6.8,
    review="accepted",
)
BARE = ImageRecord(image="x.png", width=1, height=1)
SKIPPED = ImageRecord(image="x.png", width=1, height=1, label="tampered", skipped=True)


def plain(number: int, **fields: object) -> ImageRecord:
    return ImageRecord(image=f"{number:06}.jpg", width=100, height=80, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("record", [FULL, BARE, SKIPPED], ids=["every field", "no field", "skipped"])
def test_a_record_comes_back_as_it_went_in(dataset: Dataset, record: ImageRecord) -> None:
    dataset.put(record)
    assert dataset.get(record.image) == replace(record, version=1)
    assert list(dataset.records()) == [replace(record, version=1)]


def test_numpy_numbers_are_stored_as_numbers(dataset: Dataset) -> None:
    box = Box(*np.array([1, 2, 3, 4]))
    dataset.put(ImageRecord("a", np.int64(10), np.int32(10), boxes=(box,), seconds=np.float32(1.5)))  # type: ignore[arg-type]
    stored = dataset.get("a")
    assert (stored.width, stored.boxes, stored.seconds) == (10, (Box(1, 2, 3, 4),), 1.5)
    assert all(type(side) is int for side in stored.boxes[0])


def test_each_change_raises_the_version(dataset: Dataset) -> None:
    dataset.put(BARE)
    dataset.put(BARE)
    assert dataset.set_boxes("x.png", [Box(0, 0, 1, 1)]).version == 3
    dataset.set_pseudo("x.png", FULL.pseudo)
    dataset.set_splits({"x.png": "val"})
    dataset.set_splits({"x.png": "val"})  # no change
    assert dataset.get("x.png").version == 5


def test_boxes_label_and_seconds_are_set_together(dataset: Dataset) -> None:
    dataset.put([replace(FULL, boxes=(), label=None, seconds=None)])
    stored = dataset.set_boxes(FULL.image, [Box(1, 1, 2, 2)], seconds=3.0)
    assert (stored.label, stored.boxes, stored.seconds) == ("tampered", (Box(1, 1, 2, 2),), 3.0)
    assert stored.pseudo == FULL.pseudo
    stored = dataset.set_boxes(FULL.image, [], label="authentic")
    assert (stored.label, stored.boxes, stored.seconds) == ("authentic", (), 3.0)


def test_the_verdict_stays_with_the_mask_whatever_the_boxes(dataset: Dataset) -> None:
    dataset.put(FULL)
    assert dataset.set_boxes(FULL.image, FULL.boxes, seconds=9.0).review == "accepted"
    stored = dataset.set_boxes(FULL.image, [Box(1, 1, 2, 2)])
    assert (stored.review, stored.pseudo, stored.review_state) == ("accepted", FULL.pseudo, "accepted")


def test_boxes_end_a_skip(dataset: Dataset) -> None:
    dataset.put(SKIPPED)
    assert dataset.set_boxes("x.png", []).skipped
    assert not dataset.set_boxes("x.png", [Box(0, 0, 1, 1)]).skipped
    assert not dataset.set_boxes("x.png", []).skipped


def test_a_pseudo_mask_can_be_forgotten(dataset: Dataset) -> None:
    dataset.put(FULL)
    dataset.set_pseudo(FULL.image, None)
    assert dataset.get(FULL.image) == replace(FULL, pseudo=None, version=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": (Box(0, 0, 10, 10), Box(90, 0, 101, 10))}, r"000001.jpg: box 2 \[90, 0, 101, 10\] is not inside"),
        ({"boxes": (Box(-1, 0, 10, 10),)}, "is not inside the image of 100 x 80 pixels"),
        ({"boxes": (Box(5, 5, 5, 9),)}, r"box 1 \[5, 5, 5, 9\] is empty"),
        ({"boxes": (Box(5, 9, 6, 5),)}, "is empty"),
        ({"boxes": (Box(0.5, 0, 1, 1),)}, "whole pixels"),
        ({"boxes": (Box(float("nan"), 0, 1, 1),)}, "whole pixels"),
        ({"boxes": (Box(0, 0, 1, 1),), "label": "authentic"}, "labelled authentic"),
        ({"label": "fake"}, "label 'fake' is not one of tampered, authentic"),
        ({"split": "training"}, "split 'training' is not one of train, val, test"),
        ({"review": "maybe"}, "review 'maybe'"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"width": 0}, "size 0 x 80"),
        ({"width": 2**70}, "is not possible"),
        ({"image": ""}, "'' is not the path of an image"),
        ({"image": "bad\udcff.jpg"}, "not valid UTF-8"),
    ],
)
def test_nonsense_is_refused_and_nothing_of_the_batch_is_stored(
    dataset: Dataset, change: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        dataset.put([plain(0), replace(plain(1), **change), plain(2)])  # type: ignore[arg-type]
    assert dataset.count() == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.get("nope.jpg"),
        lambda d: d.set_boxes("nope.jpg", []),
        lambda d: d.set_pseudo("nope.jpg", None),
        lambda d: d.set_splits({"x.png": "val", "nope.jpg": "train"}),
    ],
)
def test_unknown_images_are_named(dataset: Dataset, change: object) -> None:
    dataset.put(BARE)
    with pytest.raises(DatasetError, match=r"nope\.jpg"):
        change(dataset)  # type: ignore[operator]
    assert dataset.get("x.png").split is None


def test_a_record_that_is_no_json_is_refused(dataset: Dataset) -> None:
    for settings in ({"a": float("nan")}, {"a": {1, 2}}):
        with pytest.raises(DatasetError, match=r"x\.png: the pseudo mask's record does not fit into JSON"):
            dataset.put(replace(BARE, pseudo=PseudoMask("p", "t", settings)))


def test_two_people_on_one_image_do_not_overwrite_each_other(dataset: Dataset) -> None:
    dataset.put(plain(1))
    seen = dataset.get("000001.jpg").version
    dataset.set_boxes("000001.jpg", [Box(0, 0, 5, 5)], expected_version=seen)
    for change in (
        lambda: dataset.set_boxes("000001.jpg", [Box(9, 9, 10, 10)], expected_version=seen),
        lambda: dataset.put(plain(1), expected_version=seen),
        lambda: dataset.put(plain(1), expected_version=0),
        lambda: dataset.set_pseudo("000001.jpg", FULL.pseudo, expected_version=seen),
    ):
        with pytest.raises(ConflictError, match=r"000001\.jpg: somebody else changed it"):
            change()
    assert dataset.get("000001.jpg").boxes == (Box(0, 0, 5, 5),)
    dataset.put(plain(2), expected_version=0)


def test_a_batch_is_stored_only_if_nobody_changed_any_of_it(dataset: Dataset) -> None:
    dataset.put(plain(number) for number in range(3))
    read = list(dataset.records())
    dataset.set_boxes("000001.jpg", [Box(0, 0, 5, 5)])
    with pytest.raises(ConflictError, match=r"000001\.jpg"):
        dataset.put([replace(record, kind="splice") for record in read], unchanged=True)
    assert {record.kind for record in dataset.records()} == {None}
    dataset.put([replace(record, kind="splice") for record in dataset.records()], unchanged=True)
    assert {record.kind for record in dataset.records()} == {"splice"}


def test_filters_and_pages(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxpromptiml.dataset.store._PAGE", 7)  # so that listing takes several reads
    splits, labels = ("train", "val", None), ("tampered", "authentic", None)
    everything = [
        plain(
            number,
            split=splits[number % 3],
            label=labels[number // 3 % 3],
            boxes=(Box(0, 0, 1, 1),) if number // 3 % 3 == 0 and number % 2 else (),
        )
        for number in range(100)
    ]
    dataset.put(reversed(everything))
    for split in (None, "train", "test"):
        for label in (None, "tampered", "authentic"):
            for annotated in (None, True, False):
                wanted = [
                    record.image
                    for record in everything
                    if split in (None, record.split)
                    and label in (None, record.label)
                    and annotated in (None, bool(record.boxes))
                ]
                filters = {"split": split, "label": label, "annotated": annotated}
                assert [record.image for record in dataset.records(**filters)] == wanted  # type: ignore[arg-type]
                assert dataset.count(**filters) == len(wanted)  # type: ignore[arg-type]
                paged: list[str] = []
                while page := list(dataset.records(**filters, after=paged[-1] if paged else None, limit=10)):  # type: ignore[arg-type]
                    paged += [record.image for record in page]
                assert paged == wanted
    assert list(dataset.records(limit=0)) == []


def test_listing_goes_on_while_the_images_change(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxpromptiml.dataset.store._PAGE", 2)
    dataset.put(plain(number) for number in range(10))
    for record in dataset.records():
        dataset.set_boxes(record.image, [Box(0, 0, 1, 1)])
    assert dataset.count(annotated=True) == 10


@pytest.mark.parametrize("filters", ["split = 'val'", "label = 'tampered'", "annotated = 0"])
def test_filtered_pages_use_an_index_and_no_sort(dataset: Dataset, filters: str) -> None:
    with closing(sqlite3.connect(dataset.root / "dataset.db")) as raw:
        plan = " ".join(
            row[-1]
            for row in raw.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM image WHERE {filters} AND image > 'a' ORDER BY image LIMIT 9"
            )
        )
    assert "SEARCH image" in plan
    assert "TEMP B-TREE" not in plan


# --- files ------------------------------------------------------------------------------------------------------------


def test_create_opens_what_is_there(tmp_path: Path) -> None:
    with Dataset.create(tmp_path / "new" / "folder") as made:
        made.put(FULL)
    with Dataset.create(tmp_path / "new" / "folder") as again:
        assert again.count() == 1


def _junk(folder: Path) -> None:
    (folder / "dataset.db").write_bytes(b"not a database, but long enough to be one" * 50)


def _empty(folder: Path) -> None:
    (folder / "dataset.db").touch()


def _other_program(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "dataset.db")) as raw:
        raw.execute("CREATE TABLE bookmarks (url)")


def _newer(folder: Path) -> None:
    Dataset.create(folder).close()
    with closing(sqlite3.connect(folder / "dataset.db")) as raw:
        raw.execute("PRAGMA user_version = 99")


def _folder(folder: Path) -> None:
    (folder / "dataset.db").mkdir()


def _damaged(folder: Path) -> None:
    with Dataset.create(folder) as made:
        made.put(plain(number) for number in range(2000))
    data = bytearray((folder / "dataset.db").read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    (folder / "dataset.db").write_bytes(data)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no dataset here"),
        (_junk, "not a dataset"),
        (_empty, r"empty \(0 bytes\); restore it from a backup, or fill it anew with  boxpromptiml import"),
        (_other_program, "another program's database"),
        (_newer, "newer boxpromptiml"),
        (_folder, "no dataset here"),
    ],
)
def test_a_folder_that_is_no_dataset(tmp_path: Path, prepare: object, message: str) -> None:
    prepare(tmp_path)  # type: ignore[operator]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(DatasetError, match=message) as caught:
        Dataset.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_database_is_an_error_of_ours(tmp_path: Path) -> None:
    _damaged(tmp_path)
    with pytest.raises(DatasetError, match=r"restore it from a backup"), Dataset.open(tmp_path) as opened:
        list(opened.records())


def test_create_fills_an_empty_file(tmp_path: Path) -> None:
    _empty(tmp_path)
    with Dataset.create(tmp_path) as made:
        made.put(FULL)
    with Dataset.open(tmp_path) as opened:
        assert opened.count() == 1


@pytest.mark.parametrize("make", [Dataset.open, Dataset.create])
def test_a_file_is_not_a_folder(tmp_path: Path, make: object) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="not a folder"):
        make(tmp_path / "file")  # type: ignore[operator]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_an_older_version_is_migrated_and_keeps_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Dataset.create(tmp_path) as made:
        made.put(FULL)
    newer = [*schema.MIGRATIONS, ("ALTER TABLE image ADD COLUMN note TEXT", "UPDATE image SET note = 'new'")]
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    with Dataset.open(tmp_path) as opened:
        assert opened.get(FULL.image) == replace(FULL, version=1)
    with closing(sqlite3.connect(tmp_path / "dataset.db")) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (len(newer),)
        assert raw.execute("SELECT note FROM image").fetchall() == [("new",)]


def test_a_migration_that_fails_leaves_the_old_version_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Dataset.create(tmp_path) as made:
        made.put(FULL)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, ("DROP TABLE region", "nonsense")])
        with pytest.raises(DatasetError):
            Dataset.open(tmp_path)
    with Dataset.open(tmp_path) as opened:
        assert opened.get(FULL.image).boxes == FULL.boxes


def test_after_close(dataset: Dataset) -> None:
    dataset.close()
    dataset.close()
    with pytest.raises(DatasetError, match="was closed"):
        dataset.count()


def test_commits_are_synced_to_the_disk(dataset: Dataset) -> None:
    with dataset._reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_writer_waits_only_so_long(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_BUSY_SECONDS", 0.1)
    with Dataset.open(dataset.root) as other, dataset._writing():
        assert other.count() == 0  # readers do not wait
        with pytest.raises(DatasetError, match="busy: another process"):
            other.put(FULL)


# --- paths ------------------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_folder_and_lead_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Dataset.create(tmp_path / "sets" / "one") as made:
        for path, name in [
            (tmp_path / "sets/one/pseudo/a.png", "pseudo/a.png"),
            (tmp_path / "photos/b c.jpg", "../../photos/b c.jpg"),
        ]:
            assert made.relative(path) == name
            assert made.path(name).resolve() == path
        monkeypatch.chdir(tmp_path)
        assert made.relative("photos/b.jpg") == "../../photos/b.jpg"
        assert made.relative("sets/one/../two/b.jpg") == "../two/b.jpg"


def test_paths_through_symbolic_links_lead_to_the_file(tmp_path: Path) -> None:
    real = tmp_path / "disk" / "deep" / "set"
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"a")
    (tmp_path / "link").symlink_to(real, target_is_directory=True)
    (photos / "alias.jpg").symlink_to(photos / "a.jpg")
    real.mkdir(parents=True)
    (real / "images").symlink_to(photos, target_is_directory=True)
    with Dataset.create(tmp_path / "link") as made:
        assert made.path(made.relative(photos / "a.jpg")).read_bytes() == b"a"
        # What lies inside the folder by name stays inside, and a link keeps its own name.
        assert made.relative(tmp_path / "link" / "images" / "a.jpg") == "images/a.jpg"
        assert made.relative(photos / "alias.jpg").endswith("photos/alias.jpg")


# --- several users ----------------------------------------------------------------------------------------------------


def test_threads_share_one_object(dataset: Dataset) -> None:
    dataset.put(plain(number) for number in range(8))

    def work(number: int) -> None:
        for step in range(1, 21):
            dataset.set_boxes(f"{number:06}.jpg", [Box(0, 0, step, 1)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {record.version for record in dataset.records()} == {21}


def _read_in_child(dataset: Dataset, results: multiprocessing.Queue[int]) -> None:
    results.put(dataset.count())


def test_it_survives_a_fork_and_a_pickle(dataset: Dataset) -> None:
    dataset.put(FULL)
    with pickle.loads(pickle.dumps(dataset)) as copy:
        assert copy.get(FULL.image) == dataset.get(FULL.image)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_read_in_child, args=(dataset, results))
    child.start()
    assert results.get(timeout=30) == 1
    child.join()
    dataset.put(plain(1))
    assert dataset.count() == 2


WRITER = textwrap.dedent(
    """
    import sys
    from boxpromptiml.dataset import Dataset, ImageRecord
    from boxpromptiml.regions import Box
    folder, name, steps = sys.argv[1:]
    with Dataset.create(folder) as dataset:
        dataset.put(ImageRecord(name, 10_000, 10))
        for step in range(1, int(steps) + 1):
            dataset.set_boxes(name, [Box(0, 0, step, 1)])
            print(step, flush=True)
    """
)


def _writer(folder: Path, name: str, steps: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_create_and_write_one_dataset_at_once(tmp_path: Path) -> None:
    writers = [_writer(tmp_path / "data", f"{number}.jpg", 50) for number in range(4)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert (writer.returncode, errors) == (0, "")
    with Dataset.open(tmp_path / "data") as dataset:
        assert [record.boxes for record in dataset.records()] == [(Box(0, 0, 50, 1),)] * 4


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 20, 100])
def test_kill_loses_no_stored_box(tmp_path: Path, after: int) -> None:
    writer = _writer(tmp_path / "data", "a.jpg", 9999)
    assert writer.stdout is not None
    reported = 0
    for line in writer.stdout:
        reported = int(line)
        if reported >= after:
            writer.kill()
            break
    reported = max([reported, *(int(line) for line in writer.stdout)])  # what it had said until it died
    writer.communicate(timeout=60)
    with Dataset.open(tmp_path / "data") as dataset:
        (box,) = dataset.get("a.jpg").boxes
        # The last one may have been stored without the process living long enough to say so.
        assert box.x1 in (reported, reported + 1)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _read_as_nobody(folder: Path, results: multiprocessing.Queue[object]) -> None:
    if os.geteuid() == 0:  # permissions do not bind the superuser: become somebody else
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    try:
        with Dataset.open(folder) as dataset:
            results.put([record.image for record in dataset.records()])
            dataset.put(plain(2))
    except DatasetError as error:
        results.put(str(error))


def _run_as_nobody(folder: Path) -> list[object]:
    """What a process without write access reads, and the error that it meets when it writes."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_read_as_nobody, args=(folder, results))
    child.start()
    child.join(60)
    found = []
    while not results.empty():
        found.append(results.get(timeout=5))
    return found


def test_a_folder_that_cannot_be_written_is_read(open_folder: Path) -> None:
    with Dataset.create(open_folder / "data") as made:
        made.put(plain(1))
    (open_folder / "data" / "dataset.db").chmod(0o444)
    (open_folder / "data").chmod(0o555)
    listed, error = _run_as_nobody(open_folder / "data")
    (open_folder / "data").chmod(0o755)
    assert listed == ["000001.jpg"]
    assert "read-only; change the permissions" in str(error)


def test_a_log_that_cannot_be_merged_is_not_overlooked(open_folder: Path) -> None:
    writer = Dataset.create(open_folder / "data")
    writer.put(plain(1))
    copy = open_folder / "copy"  # as after a crash: with a log
    shutil.copytree(open_folder / "data", copy)
    writer.close()
    (copy / "dataset.db").chmod(0o444)
    copy.chmod(0o555)
    (error,) = _run_as_nobody(copy)
    copy.chmod(0o755)
    assert "not merged yet" in str(error)
    with Dataset.open(copy) as opened:
        assert opened.count() == 1
