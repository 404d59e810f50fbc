"""Shards hold every image once, in order, whatever the inputs."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml.bulk import Columns, InputError, Source, expand_inputs
from boxpromptiml.bulk.plan import Plan, make_plan, shard_images


def plan_of(sources: list[Source], folder: Path, size: int) -> Plan:
    return make_plan(iter(sources), folder, shard_images=size, columns=Columns())


def names_in(plan: Plan, folder: Path) -> list[list[str]]:
    found = []
    for shard in plan.shards:
        line = (folder / shard.file).read_bytes()[shard.start : shard.end]
        found.append([image.name for image in shard_images(line, base="", columns=Columns())])
    return found


@given(
    names=st.lists(st.text(min_size=1, max_size=8), max_size=60, unique=True),
    size=st.integers(1, 20),
)
def test_every_image_once_and_in_order(names: list[str], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of([Source("image", name, "") for name in names], Path(folder), size)
        shards = names_in(plan, Path(folder))

    assert [name for shard in shards for name in shard] == names
    assert [shard.images for shard in plan.shards] == [len(shard) for shard in shards]
    assert all(len(shard) == size for shard in shards[:-1])
    assert plan.images == len(names)


def test_containers_keep_their_place_between_files(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [b"1", b"2", b"3"]}), table, row_group_size=1)
    (tmp_path / "a.tar").write_bytes(b"\0" * 1024)
    sources = [
        *(Source("image", name, "") for name in "ab"),
        Source("parquet", str(table), ""),
        Source("tar", str(tmp_path / "a.tar"), ""),
        *(Source("image", name, "") for name in "cde"),
    ]

    plan = plan_of(sources, tmp_path / "plan", 2)

    assert names_in(plan, tmp_path / "plan") == [
        ["a", "b"],
        [f"{table}#0", f"{table}#1"],
        [f"{table}#2"],
        [str(tmp_path / "a.tar")],
        ["c", "d"],
        ["e"],
    ]
    assert [shard.images for shard in plan.shards] == [2, 2, 1, None, 2, 1]
    assert plan.images is None
    assert [shard.part for shard in plan.shards][:2] == ["part-000000.parquet", "part-000001.parquet"]


def test_ids_must_tell_the_rows_of_all_tables_apart(tmp_path: Path) -> None:
    """Shards do not know of each other: two rows of one name would pass unnoticed."""
    sources = []
    for name, ids in (("one", ["a", None, "b", None]), ("two", ["c", "b"])):
        pq.write_table(pa.table({"id": ids, "image": [b"x"] * len(ids)}), tmp_path / name, row_group_size=1)
        sources.append(Source("parquet", str(tmp_path / name), name))
    columns = Columns(id="id")

    assert make_plan(sources[:1], tmp_path / "alone", shard_images=2, columns=columns).images == 4
    with pytest.raises(
        InputError, match=r"two: row 1: the id b was there before, .* choose another --id-column than id"
    ):
        make_plan(sources, tmp_path / "plan", shard_images=2, columns=columns)


def test_columns_need_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Parquet table among the images"):
        make_plan([Source("image", "a.png", "a")], tmp_path / "plan", shard_images=2, columns=Columns(image="a"))


def test_the_digest_tells_inputs_apart(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"\0" * 1024)
    tar = Source("tar", str(tmp_path / "a.tar"), "")
    images = [Source("image", name, "") for name in "abc"]
    cases = [(images, 2), (images, 3), (images[:2], 2), ([*images[::-1]], 2), ([tar], 2)]

    digests = [plan_of(sources, tmp_path / str(i), size).digest for i, (sources, size) in enumerate(cases)]
    again = plan_of(images, tmp_path / "again", 2).digest
    (tmp_path / "a.tar").write_bytes(b"\0" * 2048)
    grown = plan_of([tar], tmp_path / "grown", 2).digest

    assert len({*digests, grown}) == len(cases) + 1
    assert again == digests[0]


def test_a_long_listing_is_never_held_in_memory(tmp_path: Path) -> None:
    """50,000 names are 5 MB as strings; what grows are some 300 bytes a shard."""
    count = 50_000
    lines = (f"photographs/of/the/year/{i:09d}.jpg\n" for i in range(count))
    sources = expand_inputs(["-"], lines=lines)
    tracemalloc.start()
    try:
        plan = make_plan(sources, tmp_path, shard_images=1000, columns=Columns())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert plan.images == count
    assert peak < 1_000_000
