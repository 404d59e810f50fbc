"""Image files are found by their suffix."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from boxpromptiml.errors import ImageError
from boxpromptiml.images import IMAGE_SUFFIXES, find_images, open_image


def test_finds_images_sorted_and_leaves_hidden_files_out(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "sub/c.webp",
        ".cache/d.png",
        "sub/.e.png",
        "sub/x.tiff",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    everything = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]

    assert everything == ["a.png", "b.JPG", "sub/c.webp", "sub/x.tiff"]
    assert [path.name for path in find_images(tmp_path, recursive=False)] == ["a.png", "b.JPG"]
    assert {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"} <= IMAGE_SUFFIXES


@pytest.fixture
def looping_links(tmp_path: Path) -> Path:
    """A folder with an image and two links that lead to themselves, one of them called like an image."""
    (tmp_path / "a.png").write_bytes(b"")
    for name in ("loop", "loop.png"):
        try:
            (tmp_path / name).symlink_to(name)
        except OSError:
            pytest.skip("no links may be made here")
    return tmp_path


def test_a_link_in_a_circle_does_not_hide_its_neighbours(looping_links: Path) -> None:
    assert [path.name for path in find_images(looping_links)] == ["a.png", "loop.png"]
    with pytest.raises(ImageError, match=r"loop\.png: cannot be opened"):
        open_image(looping_links / "loop.png")


def test_links_to_folders_are_not_followed(looping_links: Path) -> None:
    (looping_links / "sub").mkdir()
    (looping_links / "sub" / "b.png").write_bytes(b"")
    (looping_links / "link").symlink_to("sub")
    (looping_links / "circle").symlink_to(looping_links)

    found = [path.relative_to(looping_links).as_posix() for path in find_images(looping_links)]

    assert found == ["a.png", "loop.png", "sub/b.png"]


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "forbidden/b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    scandir = os.scandir

    def denied(folder: Path) -> object:
        if Path(folder).name == "forbidden":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)

    assert [path.name for path in find_images(tmp_path)] == ["a.png", "c.png"]
    folder = tmp_path / "forbidden"
    assert caplog.messages == [f"{folder}: cannot be read: Permission denied; its files are left out"]


def test_a_folder_that_is_not_there_has_no_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert find_images(tmp_path / "missing") == []
    assert find_images(tmp_path / "file") == []
    assert not caplog.messages
