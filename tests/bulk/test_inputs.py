"""Files, folders, globs and lists become images."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from boxpromptiml.bulk.inputs import InputError, Source, expand_inputs
from boxpromptiml.errors import MissingExtraError
from boxpromptiml.storage import StorageError

pytestmark = pytest.mark.usefixtures("tree")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["b.png", "a.jpg"], [("b.png", "b"), ("a.jpg", "a")]),
        (["x"], [("x/a.jpg", "a"), ("x/deep/c.TIF", "deep/c")]),
        (["x/"], [("x/a.jpg", "a"), ("x/deep/c.TIF", "deep/c")]),
        (["x", "y"], [("x/a.jpg", "a"), ("x/deep/c.TIF", "deep/c"), ("y/a.jpg", "a")]),
        (["*.jpg"], [("a.jpg", "a")]),
        (["*/a.jpg"], [("x/a.jpg", "x/a"), ("y/a.jpg", "y/a")]),
        (["x/**/*.TIF"], [("x/deep/c.TIF", "deep/c")]),
        (["x/notes.md"], [("x/notes.md", "notes")]),  # named: costs an error line, not the run
        (["a.jpg", "./a.jpg", "x/../a.jpg"], [("a.jpg", "a")]),
        (["x/a.jpg", "x"], [("x/a.jpg", "a"), ("x/deep/c.TIF", "deep/c")]),
    ],
)
def test_expands(inputs: list[str], expected: list[tuple[str, str]]) -> None:
    assert list(expand_inputs(inputs)) == [Source("image", path, name) for path, name in expected]


def test_reads_a_list() -> None:
    lines = ["x/a.jpg\n", "\n", "missing.jpg\r\n", "  \n", "b.png"]

    found = list(expand_inputs(["-", "a.jpg"], lines=lines))

    assert [image.name for image in found] == ["x/a.jpg", "missing.jpg", "b.png", "a.jpg"]


def test_a_name_with_brackets_that_exists_is_no_glob(tree: Path) -> None:
    (tree / "a[1].jpg").write_bytes(b"")

    assert [image.name for image in expand_inputs(["a[1].jpg"])] == ["a[1].jpg"]


def test_an_empty_name_of_the_output_folder_is_refused() -> None:
    with pytest.raises(InputError, match="the name of the output folder is empty"):
        list(expand_inputs(["a.jpg"], out=""))


def test_a_file_by_its_url_is_the_file(tree: Path) -> None:
    (tree / "a b.png").write_bytes(b"")
    (tree / "a b.txt").write_text("b.png\n")
    url = (tree / "a b.png").as_uri()

    assert [image.name for image in expand_inputs([url, str(tree / "a b.png")])] == [url]
    assert [image.name for image in expand_inputs([(tree / "a b.txt").as_uri()])] == [str(tree / "b.png")]


def test_compressed_archives_in_a_folder_are_found(tree: Path) -> None:
    make(tree / "data", "a.tar.gz", "b.TGZ", "c.tar", "d.json.gz")

    found = expand_inputs(["data"])

    assert [(source.kind, source.name) for source in found] == [
        ("tar", "data/a.tar.gz"),
        ("tar", "data/b.TGZ"),
        ("tar", "data/c.tar"),
    ]


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_two_colons_in_a_name_make_no_url(tree: Path) -> None:
    make(tree / "scans", "scan::1.png")

    assert [image.name for image in expand_inputs(["scans"])] == ["scans/scan::1.png"]
    assert [image.name for image in expand_inputs(["-"], lines=["scan::1.png"])] == ["scan::1.png"]


def test_a_star_in_a_signature_makes_no_glob() -> None:
    url = "https://host.invalid/a.jpg?signature=x*y"

    assert list(expand_inputs([url])) == [Source("image", url, "a")]


def make(folder: Path, *names: str) -> None:
    """Empty files; names are all that is asked for here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("inputs", "lines"),
    [
        (["lake://bucket/x.tar"], []),
        (["lake://bucket/a.jpg"], []),
        (["lake://bucket/folder"], []),
        (["lake://bucket/*.jpg"], []),
        (["a.jpg", "-"], ["b.png", "lake://bucket/a.jpg"]),
    ],
)
def test_a_missing_driver_ends_the_run_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, inputs: list[str], lines: list[str]
) -> None:
    """Otherwise each image would be an error of its own, and an archive would look damaged."""
    pytest.importorskip("fsspec")
    from fsspec.registry import known_implementations

    # As s3fs is to fsspec where it is not installed.
    monkeypatch.setitem(known_implementations, "lake", {"class": "lakefs_driver.LakeFileSystem", "err": "Install it"})

    with pytest.raises(StorageError, match=r"^lake:// needs lakefs_driver: run  pip install lakefs_driver$"):
        list(expand_inputs(inputs, lines=lines))


def test_a_missing_fsspec_ends_the_run_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)

    with pytest.raises(MissingExtraError, match=r"^fsspec is not installed: run  pip install 'boxpromptiml\[bulk\]'$"):
        list(expand_inputs(["s3://bucket/x.tar"]))


def test_a_line_with_a_kind_of_url_that_nobody_knows_costs_that_line_alone() -> None:
    pytest.importorskip("fsspec")

    found = expand_inputs(["-"], lines=["nosuch://a.jpg", "a.jpg"])

    assert [image.name for image in found] == ["nosuch://a.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "no input"),
        (["nowhere.jpg"], r"nowhere\.jpg: no such file or folder"),
        (["a.jpg", "nowhere"], "nowhere: no such file or folder"),
        (["empty"], "empty: no images there"),
        (["*.gif"], r"\*\.gif: no images there"),
        (["-"], "standard input: no paths there"),
        (["a.jpg", ""], r"an input has an empty name; the working folder is called \."),
    ],
)
def test_wrong_usage(inputs: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(expand_inputs(inputs, lines=["\n"]))
