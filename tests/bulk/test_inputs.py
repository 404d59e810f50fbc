"""Files, folders, globs and lists become images."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from boxpromptiml.bulk import LeftOut
from boxpromptiml.bulk.inputs import InputError, Source, expand_inputs
from boxpromptiml.errors import MissingExtraError
from boxpromptiml.storage import StorageError


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with some (empty) files."""
    for name in ("a.jpg", "b.png", "x/a.jpg", "x/deep/c.TIF", "x/notes.md", "x/.hidden.png", "y/a.jpg", "empty/.keep"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


RUN = ("results.jsonl", "masks/a.png", "masks/deep/c.png", "heatmaps/a.png", "overlays/a.jpg")
"""What a run leaves behind."""


def test_results_of_earlier_runs_are_no_inputs(tree: Path) -> None:
    """Whichever run they are of: a second one into another folder must not look at the masks of the first."""
    make(tree / "x", *(f"found/{name}" for name in RUN), "found/photo.jpg", "deep/found/results.jsonl")

    for out in (None, "x/found", "x/found2", "elsewhere"):
        left_out = LeftOut()
        found = expand_inputs(["x"], out=out, left_out=left_out)
        assert [image.name for image in found] == ["x/a.jpg", "x/deep/c.TIF", "x/found/photo.jpg"]
        assert left_out.results == 4


def test_parts_of_an_earlier_table_are_no_inputs(tree: Path) -> None:
    make(tree / "data", "a.tar", "table/_run.json", "table/part-000000.parquet", "part-000000.parquet")
    left_out = LeftOut()

    found = expand_inputs(["data"], left_out=left_out)

    assert [source.name for source in found] == ["data/a.tar", "data/part-000000.parquet"]
    assert left_out.results == 1


@pytest.mark.parametrize("names", [("Tp", "Gt", "Au"), ("tp", "GT", "au")])
def test_true_masks_are_no_inputs(tree: Path, names: tuple[str, str, str]) -> None:
    tampered, masks, authentic = names
    places = (f"{tampered}/a.jpg", f"{masks}/a.png", f"{masks}/b.HEIC", f"{authentic}/b.jpg", "x/Gt/photo.jpg")
    make(tree / "casia", *places)
    left_out = LeftOut()

    found = expand_inputs(["casia"], left_out=left_out)

    expected = [f"casia/{tampered}/a.jpg", f"casia/{authentic}/b.jpg", "casia/x/Gt/photo.jpg"]
    assert {image.name for image in found} == set(expected), "a Gt/ alone may be called so for any reason"
    assert (left_out.masks, left_out.unread) == (1, {})


def test_a_dataset_among_the_photos_is_no_input(tree: Path) -> None:
    make(tree / "x" / "d", "dataset.db", "pseudo/grabcut/a.png", "masks/a.png")
    left_out = LeftOut()

    assert [image.name for image in expand_inputs(["x"], left_out=left_out)] == ["x/a.jpg", "x/deep/c.TIF"]
    assert left_out.datasets == {"x/d"}
    assert left_out.others_text() == "1 dataset (x/d)"


def test_a_dataset_by_itself_is_refused_with_what_to_do(tree: Path) -> None:
    """It holds masks, and often none of its images."""
    make(tree / "d", "dataset.db", "pseudo/grabcut/a.png")

    with pytest.raises(
        InputError, match=r"^d: is a dataset, .* boxpromptiml manifest d -o m\.jsonl; boxpromptiml localize m"
    ):
        list(expand_inputs(["d"]))


@pytest.mark.parametrize("folder", ["x/found/masks", "casia/Gt", "d/pseudo"])
def test_a_folder_that_is_named_is_taken_at_its_word(tree: Path, folder: str) -> None:
    make(tree, "x/found/results.jsonl", "casia/Tp/a.jpg", "d/dataset.db", f"{folder}/a.png")

    assert [image.name for image in expand_inputs([folder], out="x/found")] == [f"{folder}/a.png"]


def test_a_glob_gives_what_it_leads_to_but_for_results_of_the_same_run(tree: Path) -> None:
    make(tree / "x", *(f"found/{name}" for name in RUN), *(f"other/{name}" for name in RUN))
    left_out = LeftOut()

    found = expand_inputs(["x/*/masks/*.png", "x/*.jpg"], out="x/found", left_out=left_out)

    assert [image.name for image in found] == ["x/other/masks/a.png", "x/a.jpg"]
    assert left_out.results == 1


def test_photos_in_the_output_folder_are_inputs(tree: Path) -> None:
    """Only what a run has written there is left out."""
    make(tree / "x" / "2023", "results.jsonl", "masks/b.png", "b.jpg")

    for inputs in ("x", "x/**/*.*"):
        names = {image.name for image in expand_inputs([inputs], out="x/2023")}
        assert "x/2023/b.jpg" in names
        assert "x/2023/masks/b.png" not in names


def test_what_is_left_out_is_told_in_words_and_numbers() -> None:
    left_out = LeftOut(Counter({".gif": 1, ".heic": 2}), results=12, masks=1, datasets={"b", "a"})
    left_out.add(LeftOut(Counter({".gif": 4}), masks=7, datasets={"a"}))

    assert left_out.unread_text() == "5 .gif, 2 .heic"
    assert left_out.others_text() == "12 results of earlier runs, 8 masks in Gt/, 2 datasets (a, ...)"
    assert LeftOut(results=1, masks=1).others_text() == "1 result of an earlier run, 1 mask in Gt/"
    assert left_out.to_json() == {
        "unread": {".gif": 5, ".heic": 2},
        "left_out": {"results": 12, "masks": 8, "datasets": 2},
    }
    assert LeftOut().unread_text() == LeftOut().others_text() == ""


def test_nothing_but_what_is_left_out_is_an_error_that_says_so(tree: Path) -> None:
    make(tree / "found", *RUN)
    make(tree / "phone", "a.heic", "found/results.jsonl", "found/masks/a.png")

    for name, message in {
        "found": "found: no images there, only 4 results of earlier runs; to have such a folder looked at, name it",
        "phone": "phone: no images there that are read, only 1 .heic and 1 result of an earlier run; to have",
    }.items():
        with pytest.raises(InputError, match=message):
            list(expand_inputs([name]))


@pytest.mark.parametrize(
    ("folder", "out"), [(".", "."), (".", "../photos"), ("../photos/", "."), ("../link", "."), (".", "../link/")]
)
def test_results_beside_the_inputs_are_no_inputs(
    tree: Path, monkeypatch: pytest.MonkeyPatch, folder: str, out: str
) -> None:
    """With the folder of the photos as the output folder, a second run must not look at the masks of the first one."""
    photos = tree / "photos"
    make(photos, "a.jpg", "part-1.png", "deep/masks/b.jpg")
    (tree / "link").symlink_to(photos)
    monkeypatch.chdir(photos)

    def found(inputs: str) -> list[str]:
        return sorted(image.relative for image in expand_inputs([inputs], out=out))

    expected = found(folder)
    assert expected == ["a", "deep/masks/b", "part-1"]
    pattern = f"{folder.rstrip('/')}/**/*.*g"  # of pictures, not of the lines of results
    make(photos, *RUN, "overlays/deep/b.jpg", "_run.json", "part-000000.parquet")

    assert found(folder) == expected
    assert found(pattern) == expected


@pytest.mark.parametrize("folder", ["memory://photos", "memory://photos/"])
def test_urls_are_told_apart_alike(folder: str) -> None:
    """Photographs from results of earlier runs, true masks and datasets."""
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    photos = ["a.jpg", "masks/b.jpg", "out/c.jpg", "outer/d.jpg", "set/Tp/e.jpg"]
    others = ["out/results.jsonl", "out/masks/c.png", "set/Gt/e.png", "data/dataset.db", "data/masks/f.png"]
    for name in photos + others:
        store.pipe(f"/photos/{name}", b"x")
    try:
        left_out = LeftOut()
        found = expand_inputs([folder], left_out=left_out)
        assert sorted(source.name.split("photos/")[1] for source in found) == photos
        assert left_out.others_text() == "1 result of an earlier run, 1 mask in Gt/, 1 dataset (memory://photos/data)"
        found = expand_inputs(["memory://photos/**/*.png"], out="memory://photos/out")
        assert [source.name.split("photos/")[1] for source in found] == ["data/masks/f.png", "set/Gt/e.png"]
        with pytest.raises(InputError, match=r"is a dataset, .* copy it to this machine"):
            list(expand_inputs(["memory://photos/data"]))
    finally:
        store.rm("/photos", recursive=True)


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
