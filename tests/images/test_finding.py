"""Image files are found by their suffix."""

from __future__ import annotations

from pathlib import Path

from boxpromptiml.images import IMAGE_SUFFIXES, find_images


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
