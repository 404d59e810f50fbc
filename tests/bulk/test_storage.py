"""Bytes and names, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from boxpromptiml.errors import ImageError
from boxpromptiml.storage import OutputFolder, StorageError
from boxpromptiml.storage import locations as storage

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.001)


@pytest.fixture
def memory() -> Any:
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


@pytest.mark.parametrize(
    ("name", "is_url", "suffix"),
    [
        ("a/b.JPG", False, ".jpg"),
        ("s3://bucket/b.jpg", True, ".jpg"),
        ("https://host/b.jpg?signature=x.y", True, ".jpg"),
        ("hf://datasets/user/name/x.parquet", True, ".parquet"),
        ("file:///a/b.png", False, ".png"),
        ("zip://x.jpg::s3://bucket/a.zip", True, ".zip"),
        ("C:\\photos\\a.jpg", False, ".jpg"),
        ("what?.jpg", False, ".jpg"),
        ("s3://bucket/folder/", True, ""),
    ],
)
def test_tells_urls_from_paths(name: str, is_url: bool, suffix: str) -> None:
    assert storage.is_url(name) == is_url
    assert storage.suffix_of(name) == suffix


@pytest.mark.parametrize(
    ("container", "name", "expected"),
    [
        ("lists/a.txt", "b.jpg", "lists/b.jpg"),
        ("a.txt", "x/b.jpg", "x/b.jpg"),
        ("lists/a.txt", "/abs/b.jpg", "/abs/b.jpg"),
        ("lists/a.txt", "s3://bucket/b.jpg", "s3://bucket/b.jpg"),
        ("s3://bucket/lists/a.txt", "b.jpg", "s3://bucket/lists/b.jpg"),
    ],
)
def test_names_in_containers_are_relative_to_these(container: str, name: str, expected: str) -> None:
    assert storage.joined(storage.folder_of(container), name) == expected


def test_walks_folders_and_stores_alike(tmp_path: Path, memory: Any) -> None:
    for name in ("b/c.jpg", "b.jpg", "a.png", "b/.hidden.jpg", ".cache/x.jpg", "b/notes.txt", "b-.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
        memory.pipe_file(f"/store/{name}", PNG)

    here = [Path(name).relative_to(tmp_path).as_posix() for name in storage.walk(str(tmp_path), {".jpg", ".png"})]
    there = list(storage.walk("memory://store/", {".jpg", ".png"}))

    assert here == ["a.png", "b/c.jpg", "b-.jpg", "b.jpg"]
    assert there == [f"memory://store/{name}" for name in here]
    assert storage.matches("memory://store/*.jpg") == ["memory:///store/b-.jpg", "memory:///store/b.jpg"]
    assert storage.read_image_bytes(there[0]) == PNG
    assert storage.read_image_bytes(f"file://{tmp_path}/a.png") == PNG


def test_a_web_server(web: Any) -> None:
    web.pages["/a%20b.png"] = PNG

    assert storage.read_image_bytes(f"{web.url}/a%20b.png") == PNG
    with pytest.raises(ImageError, match="no such file"):
        storage.read_image_bytes(f"{web.url}/none.png")
    assert storage.size_of(f"{web.url}/a%20b.png") == len(PNG)


def test_what_a_server_refuses_now_is_asked_for_again(web: Any) -> None:
    web.pages["/a.png"] = 503
    asked: list[str] = []

    def mend_later(path: str, port: int) -> None:
        asked.append(path)
        if len(asked) == 3:
            web.pages["/a.png"] = PNG

    web.hook = mend_later
    assert storage.read_image_bytes(f"{web.url}/a.png") == PNG
    assert len(asked) == 3


def test_servers_that_stay_away_are_named(web: Any) -> None:
    web.pages["/a.png"] = 500
    with pytest.raises(ImageError, match=r"cannot be read: 500"):
        storage.read_image_bytes(f"{web.url}/a.png")
    with pytest.raises(ImageError, match="cannot be read: Cannot connect"):
        storage.read_image_bytes("http://127.0.0.1:9/a.png")  # the port of the discard service: nobody is there
    with pytest.raises(StorageError, match=r"^http://127.0.0.1:9/x.tar: .*Cannot connect"):
        storage.open_stream("http://127.0.0.1:9/x.tar").read()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch://bucket/a.jpg", "nosuch://: Protocol not known: nosuch"),
        (
            "dropbox://folder/a.jpg",
            "dropbox://: .*requires .*dropbox",
        ),  # known to fsspec, a package that nobody here has
    ],
)
def test_missing_drivers_are_named(name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        storage.read_image_bytes(name)


@pytest.mark.parametrize("place", ["local", "memory"])
def test_output_is_whole_or_not_there(tmp_path: Path, memory: Any, place: str) -> None:
    out = OutputFolder(str(tmp_path / "out") if place == "local" else "memory://out")
    assert out.files() == set()
    with out.held():
        out.write("a.json", b"0123456789")
        with pytest.raises(ZeroDivisionError), out.writing("b.json") as path:
            path.write_bytes(b"half" * (1 // 0))

    assert out.files() - {"_lock"} == {"a.json"}
    assert out.read("a.json", 2, 5) == b"234"
    assert out.open("a.json").read() == b"0123456789"
    out.remove("a.json")
    assert out.files() - {"_lock"} == set()


def test_an_output_folder_is_held_by_one(tmp_path: Path) -> None:
    out = OutputFolder(str(tmp_path / "out"))
    leftover = tmp_path / "out" / ".part-000001-0123456789abcdef.parquet"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    with out.held():
        assert not leftover.exists()
        with pytest.raises(StorageError, match="another run is writing to this folder"), out.held():
            pass
    with out.held():
        pass


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/out", "{file}"])
def test_output_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    out = OutputFolder(name.format(file=tmp_path / "file"))

    with pytest.raises(StorageError), out.held():
        out.write("a.json", b"")
