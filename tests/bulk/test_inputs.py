"""Files, folders, globs and lists become images."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxpromptiml.bulk.inputs import InputError, Source, expand_inputs


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


def test_results_of_an_earlier_run_are_no_inputs(tree: Path) -> None:
    (tree / "x" / "out" / "masks").mkdir(parents=True)
    (tree / "x" / "out" / "masks" / "a.png").write_bytes(b"")

    assert len(list(expand_inputs(["x"]))) == 3
    for inputs in (["x"], ["x/**/*.*g", "x/deep/*"]):
        found = expand_inputs(inputs, out="x/out")
        assert [image.name for image in found] == ["x/a.jpg", "x/deep/c.TIF"]


@pytest.mark.parametrize(
    ("folder", "out"), [(".", "."), (".", "../photos"), ("../photos/", "."), ("../link", "."), (".", "../link/")]
)
def test_results_beside_the_inputs_are_no_inputs(
    tree: Path, monkeypatch: pytest.MonkeyPatch, folder: str, out: str
) -> None:
    """With the folder of the photos as the output folder, a second run must not look at the masks of the first one."""
    photos = tree / "photos"
    for name in ("a.jpg", "part-1.png", "deep/masks/b.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"")
    (tree / "link").symlink_to(photos)
    monkeypatch.chdir(photos)

    def found(inputs: str) -> list[str]:
        return sorted(image.relative for image in expand_inputs([inputs], out=out))

    expected = found(folder)
    assert expected == ["a", "deep/masks/b", "part-1"]
    for name in ("masks/a.png", "heatmaps/a.png", "overlays/deep/b.jpg", "part-000000.parquet"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"")

    assert found(folder) == expected
    assert found(f"{folder.rstrip('/')}/**/*.*") == expected


def test_pictures_of_an_earlier_run_can_be_named() -> None:
    Path("x/masks").mkdir()
    Path("x/masks/a.png").write_bytes(b"")

    assert [image.name for image in expand_inputs(["x/masks"], out="x")] == ["x/masks/a.png"]


@pytest.mark.parametrize("folder", ["memory://photos", "memory://photos/"])
def test_results_beside_inputs_at_a_url_are_no_inputs(folder: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in ("a.jpg", "masks/b.jpg", "out/c.jpg", "outer/d.jpg"):
        store.pipe(f"/photos/{name}", b"x")
    try:
        for inputs in (folder, "memory://photos/**"):
            everything = ["a.jpg", "masks/b.jpg", "out/c.jpg", "outer/d.jpg"]
            for out, expected in ((None, everything), (folder, [n for n in everything if "masks" not in n])):
                assert sorted(n.name.split("photos/")[1] for n in expand_inputs([inputs], out=out)) == expected
            beside = [n.name for n in expand_inputs([inputs], out="memory://photos/out")]
            assert sorted(name.split("photos/")[1] for name in beside) == ["a.jpg", "masks/b.jpg", "outer/d.jpg"]
    finally:
        store.rm("/photos", recursive=True)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "no input"),
        (["nowhere.jpg"], r"nowhere\.jpg: no such file or folder"),
        (["a.jpg", "nowhere"], "nowhere: no such file or folder"),
        (["empty"], "empty: no images there"),
        (["*.gif"], r"\*\.gif: no images there"),
        (["-"], "standard input: no paths there"),
    ],
)
def test_wrong_usage(inputs: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(expand_inputs(inputs, lines=["\n"]))
