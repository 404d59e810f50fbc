"""Bytes and names, wherever they lie."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import known_implementations

from boxpromptiml.errors import ImageError
from boxpromptiml.storage import MissingDriverError, OutputFolder, StorageError, check_driver
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
        ("a/b.TAR.gz", False, ".tar.gz"),
        ("https://host/b.tar.gz?x", True, ".tar.gz"),
        ("notes.gz", False, ".gz"),
        ("scan::1.png", False, ".png"),
        ("simplecache::s3://bucket/b.jpg", True, ".jpg"),
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


def test_lists_folders_and_stores_alike(tmp_path: Path, memory: Any) -> None:
    for name in ("b/c.jpg", "b.jpg", "a.png", "b/.hidden.jpg", ".cache/x.jpg", "b/notes.txt", "b-.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
        memory.pipe_file(f"/store/{name}", PNG)

    here, there = storage.entries(str(tmp_path)), storage.entries("memory://store/")

    assert (
        here
        == there
        == [("a.png", False, False), ("b", True, False), ("b-.jpg", False, False), ("b.jpg", False, False)]
    )
    assert storage.entries(str(tmp_path / "nowhere")) == []
    assert storage.matches("memory://store/*.jpg") == ["memory:///store/b-.jpg", "memory:///store/b.jpg"]
    assert storage.read_image_bytes("memory://store/a.png") == PNG
    assert storage.read_image_bytes(f"file://{tmp_path}/a.png") == PNG


def test_urls_of_files_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(PNG)
    (tmp_path / "100%25.png").write_bytes(PNG)

    assert storage.read_image_bytes((tmp_path / "a b.png").as_uri()) == PNG
    assert storage.is_file((tmp_path / "a b.png").as_uri())
    assert storage.read_image_bytes(f"file://{tmp_path}/100%25.png") == PNG, "as it is spelled, if only that is there"
    assert storage.local_path("file:///new%20folder") == Path("/new folder")
    assert storage.local_path("a%20b.png") == Path("a%20b.png")
    assert storage.folder_of("file:///a%20b/c.txt") == "/a b"


def test_an_output_folder_has_a_name() -> None:
    with pytest.raises(StorageError, match="the name of the output folder is empty"):
        OutputFolder("")


def test_links_to_folders_are_told_from_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")

    assert storage.entries(str(tmp_path)) == [
        ("broken", False, True),
        ("circle", False, True),
        ("link", True, True),
    ]


def test_a_folder_that_cannot_be_read_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", forbidden)

    assert storage.entries(str(tmp_path)) == []
    assert f"{tmp_path}: cannot be read: Permission denied; its files are left out" in caplog.text


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
        # Known to fsspec, packages that nobody here has.
        ("dropbox://folder/a.jpg", "dropbox:// needs dropboxdrivefs: run  pip install dropboxdrivefs"),
        ("oci://bucket/a.jpg", "oci:// needs ocifs: run  pip install ocifs"),
    ],
)
def test_missing_drivers_are_named(name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        storage.read_image_bytes(name)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a kind of URL, ``lake://``, known to fsspec, read by a class that is named."""

    def make(name: str) -> None:
        monkeypatch.setitem(known_implementations, "lake", {"class": name, "err": "Install aiolake to read lakes"})

    return make


def test_a_missing_driver_is_an_error_with_the_command_that_brings_it(known: Callable[[str], None]) -> None:
    known("lakefs_driver.LakeFileSystem")

    with pytest.raises(MissingDriverError, match=r"^lake:// needs lakefs_driver: run  pip install lakefs_driver$"):
        check_driver("lake://bucket/a.tar")


def test_what_the_own_drivers_of_fsspec_need_they_say(known: Callable[[str], None]) -> None:
    known("fsspec.implementations.lake.LakeFileSystem")

    with pytest.raises(MissingDriverError, match=r"^lake:// needs more packages: Install aiolake to read lakes$"):
        check_driver("lake://bucket/a.tar")


def test_a_driver_that_is_there_but_broken_is_not_to_be_installed_again(
    known: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lakefs_driver.py").write_text("import a_package_of_its_own\n")
    monkeypatch.syspath_prepend(tmp_path)
    known("lakefs_driver.LakeFileSystem")

    with pytest.raises(MissingDriverError, match=r"lakefs_driver, which is installed but .*'a_package_of_its_own'"):
        check_driver("lake://bucket/a.tar")


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


def test_a_folder_is_listed_without_holding_it_twice(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:04}.jpg").touch()
    tracemalloc.start()
    try:
        found = storage.entries(str(tmp_path))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [entry.name for entry in found[:2]] == ["0000.jpg", "0001.jpg"]
    assert peak < 1.2 * held
