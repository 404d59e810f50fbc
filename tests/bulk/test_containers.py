"""Archives, tables and lists become images."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boxpromptiml.bulk import Columns, InputError, InputImage, Source, expand_inputs, read_source
from boxpromptiml.bulk.containers import RowGroups, check_tables, table_parts
from boxpromptiml.errors import ImageError
from boxpromptiml.storage import StorageError


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def images_of(*inputs: str, columns: Columns = Columns()) -> list[InputImage]:  # noqa: B008
    return [image for source in expand_inputs(inputs) for image in read_source(source, columns=columns)]


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_members_of_an_archive(tmp_path: Path, name: str, mode: str) -> None:
    members = {"000.jpg": b"one", "000.json": b"{}", "deep/001.PNG": b"two", ".hidden.jpg": b"", "000.cls": b"3"}
    (tmp_path / name).write_bytes(tar_of(members, mode))

    found = images_of(str(tmp_path / name))

    assert [(image.name, image.read()) for image in found] == [
        (f"{tmp_path}/{name}#000.jpg", b"one"),
        (f"{tmp_path}/{name}#deep/001.PNG", b"two"),
    ]
    assert found[1].relative.endswith("/deep/001")


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({"../../etc/x.jpg": b"", "/abs/y.jpg": b""}))

    assert [image.relative for image in images_of(str(tmp_path / "a.tar"))] == ["a/etc/x", "a/abs/y"]


def test_members_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Appending to an archive leaves the member that was there; outputs are called by the name."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("1.png", b"one"), ("1.png", b"two"), ("2.png", b"three"), ("1.png", b"four")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))

    found = images_of(str(path))

    assert [(image.name.partition("#")[2], image.read()) for image in found] == [
        ("1.png", b"one"),
        ("1.png (2)", b"two"),
        ("2.png", b"three"),
        ("1.png (3)", b"four"),
    ]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_in_an_archive_are_seen(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("link.png", "link.json"):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "deep/1.png"
            archive.addfile(header)

    (link,) = images_of(str(path))

    assert (link.name, link.relative) == (f"{path}#link.png", "a/link")
    with pytest.raises(ImageError, match=r"is a link to deep/1\.png in the archive; not read"):
        link.read()


@pytest.mark.parametrize("members", [{}, {"notes.txt": b"none"}])
def test_an_archive_without_images_is_an_error(tmp_path: Path, members: dict[str, bytes]) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(members))

    (only,) = images_of(str(tmp_path / "a.tar"))

    assert only.name == str(tmp_path / "a.tar")
    with pytest.raises(ImageError, match="no image in this archive"):
        only.read()


@pytest.mark.parametrize("cut", [700, 512 * 3, 512 * 4, 512 * 4 + 100])
def test_what_a_damaged_archive_has_lost_is_said(tmp_path: Path, cut: int) -> None:
    """Python's own reader takes a damaged header for the end."""
    whole = tar_of({f"{i}.jpg": bytes([i]) * 512 for i in range(6)})
    (tmp_path / "cut.tar").write_bytes(whole[:cut])
    (tmp_path / "scratched.tar").write_bytes(whole[:cut] + b"\xff" * 600 + whole[cut + 600 :])

    for name in ("cut.tar", "scratched.tar"):
        *_, last = images_of(str(tmp_path / name))
        assert last.name == str(tmp_path / name)
        with pytest.raises(ImageError, match="damaged or truncated archive: images behind the damage are missing"):
            last.read()


def test_a_container_that_cannot_be_read_here_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as by a worker on a machine where a package is missing."""
    monkeypatch.setitem(sys.modules, "fsspec", None)

    (image,) = read_source(Source("tar", "s3://bucket/a.tar", "a"))

    with pytest.raises(ImageError, match=r"^s3://bucket/a.tar: fsspec is not installed: run  pip install"):
        image.read()


def test_an_archive_of_a_store_is_streamed() -> None:
    fsspec.filesystem("memory").pipe_file("/shards/a.tar", tar_of({"0.jpg": b"one"}))

    assert [image.read() for image in images_of("memory://shards/*.tar")] == [b"one"]
    assert [image.read() for image in images_of("memory://shards")] == [b"one"]  # no images there: its archives


BYTES = [b"one", b"two", None, b"four", b"five"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", BYTES),
        ("jpg", BYTES),
        ("image", [{"bytes": value, "path": "x.jpg"} if value else None for value in BYTES]),
    ],
)
def test_bytes_in_a_table(tmp_path: Path, column: str, values: list[Any]) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"label": [1, 2, 3, 4, 5], column: values}), path, row_group_size=2)

    found = images_of(path)

    assert [image.name for image in found] == [f"{path}#{i}" for i in range(5)]
    assert [image.data for image in found] == BYTES
    with pytest.raises(ImageError, match="the table has no image in this row"):
        found[2].read()
    assert [image.name for image in images_of(path, columns=Columns(id="label"))] == ["1", "2", "3", "4", "5"]


def test_paths_in_a_table(tmp_path: Path, make_photo: Callable[..., bytes]) -> None:
    (tmp_path / "x.png").write_bytes(make_photo(1))
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"path": ["x.png", "s3://bucket/y.png"], "key": ["k1", "k2"]}), path)

    found = images_of(path)

    assert [image.name for image in found] == [str(tmp_path / "x.png"), "s3://bucket/y.png"]
    assert found[0].read() == make_photo(1)
    named = images_of(path, columns=Columns("path", "key"))
    assert [image.name for image in named] == ["k1", "k2"]
    assert named[0].read() == make_photo(1)


def test_a_row_without_an_id_is_called_by_its_number(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"image": [b"1", b"2", b"3"], "id": [None, "k", None]}), path, row_group_size=1)

    assert [image.name for image in images_of(path, columns=Columns(id="id"))] == [f"{path}#0", "k", f"{path}#2"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, [(0, 1, 0, 2), (1, 2, 2, 2), (2, 3, 4, 1)]),
        (3, [(0, 2, 0, 4), (2, 3, 4, 1)]),
        (100, [(0, 3, 0, 5)]),
    ],
)
def test_tables_are_cut_between_row_groups(tmp_path: Path, rows: int, expected: list[tuple[int, ...]]) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"image": BYTES}), path, row_group_size=2)
    source = Source("parquet", path, "t")

    parts = list(table_parts(source, Columns(), rows))

    assert [tuple(part) for part in parts] == expected
    assert [image for part in parts for image in read_source(source, groups=part)] == list(read_source(source))


def test_damaged_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [bytes(range(256)) * 40 + bytes([i]) for i in range(9)]}), path, compression=None)
    raw = bytearray(path.read_bytes())
    raw[4:60] = b"\xff" * 56  # the head of the first page; the footer is whole
    path.write_bytes(raw)

    (only,) = read_source(Source("parquet", str(path), "t"), groups=RowGroups(0, 1, 0, 9))
    with pytest.raises(ImageError, match="damaged or truncated table"):
        only.read()
    path.write_bytes(b"no table")
    with pytest.raises(InputError, match="is no Parquet file"):
        list(table_parts(Source("parquet", str(path), "t"), Columns(), 10))
    with pytest.raises(StorageError, match="no such file"):
        list(table_parts(Source("parquet", str(tmp_path / "none.parquet"), "t"), Columns(), 10))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(), r"which of its columns holds the images\? Say so with --image-column \(a, b\)"),
        (Columns(image="c"), "has no column c; its columns are a, b"),
        (Columns(image="a", id="d"), "has no column d"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, columns: Columns, message: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [b""], "b": [1]}), path)

    with pytest.raises(InputError, match=message):
        list(table_parts(Source("parquet", str(path), "t"), columns, 10))


def test_columns_without_a_table() -> None:
    images = [Source("image", "a.png", "a")]
    check_tables(images, Columns())
    with pytest.raises(InputError, match="no Parquet table among the images"):
        check_tables(images, Columns(id="a"))


def test_lists_and_manifests_stand_for_what_they_name(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "a.txt").write_text("x.jpg\r\n\n/abs/y.jpg\nmemory://bucket/z.jpg\nshard.tar\nx.jpg\n")
    lines = [{"image": "Tp/a.jpg", "width": 3, "label": "tampered"}, {"image": "x.jpg"}]
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert list(expand_inputs([str(folder / "a.txt"), str(folder / "m.jsonl")])) == [
        Source("image", f"{folder}/x.jpg", "x"),
        Source("image", "/abs/y.jpg", "y"),
        Source("image", "memory://bucket/z.jpg", "z"),
        Source("tar", f"{folder}/shard.tar", "shard"),
        Source("image", f"{folder}/Tp/a.jpg", "a"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "a.jpg"}\n{"picture": "b.jpg"}\n', "line 2 is no line of a manifest"),
        ('{"image": "a.jpg"\n', "line 1 is no line of a manifest"),
        ('{"image": 7}\n', "line 1: image must be a path"),
        ("", "no images there"),
    ],
)
def test_malformed_manifests(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.jsonl").write_text(text)

    with pytest.raises(InputError, match=message):
        list(expand_inputs([str(tmp_path / "m.jsonl")]))
