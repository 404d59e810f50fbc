"""What looks like photographs in folders of inputs and is none: results of earlier runs, and masks."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from boxpromptiml.bulk import LeftOut
from boxpromptiml.bulk.inputs import InputError, expand_inputs
from boxpromptiml.cli.main import app
from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask

pytestmark = pytest.mark.usefixtures("tree")


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


def photos_with_masks(folder: Path) -> None:
    """What is in a folder of photographs after it was annotated, and more masks came from elsewhere."""
    make(folder, "a.jpg", "deep/b.jpg", "deep/masks/c.jpg", "masks/a.png", "pseudo/grabcut/a.png", "deep/truth/b.png")
    make(folder, "truth.png", "second/masks/d.jpg")
    pseudo = PseudoMask("deep/../deep/by-hand.png", "person")
    make(folder, "deep/by-hand.png")
    with Dataset.create(folder) as dataset:
        dataset.put(ImageRecord("a.jpg", 4, 4, label="tampered", mask="truth.png", pseudo=pseudo))
        dataset.put(ImageRecord("deep/b.jpg", 4, 4, label="tampered", mask="deep/truth/b.png"))
        dataset.put(ImageRecord("c.jpg", 4, 4, label="tampered", mask="../b.png"))


PHOTOS = ["a.jpg", "deep/b.jpg", "deep/masks/c.jpg", "second/masks/d.jpg"]


@pytest.mark.parametrize(("named", "inner"), [("d", ""), (".", ""), ("./d/", ""), ("up", "d/")])
def test_of_a_dataset_only_the_masks_are_left_out(
    tree: Path, monkeypatch: pytest.MonkeyPatch, named: str, inner: str
) -> None:
    """Opening a folder of photographs to annotate them makes it a dataset; they are photographs as before."""
    folder = tree / "up" / "d" if inner else tree / "d"
    photos_with_masks(folder)
    if named == ".":
        monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    left_out = LeftOut()

    found = sorted(image.relative for image in expand_inputs([named], left_out=left_out))

    assert found == sorted(inner + photo.removesuffix(".jpg") for photo in PHOTOS)
    assert left_out.masks == 5
    assert sorted(path.name for path in folder.iterdir()) == before, "reading leaves no log beside a database"


def test_masks_that_are_named_in_a_log_alone_are_left_out(tree: Path) -> None:
    """As long as a page is open, changes may stand in no other file."""
    make(tree / "d", "a.jpg", "truth.png")
    with Dataset.create(tree / "d") as dataset:
        dataset.put(ImageRecord("a.jpg", 4, 4, label="tampered", mask="truth.png"))
        assert (tree / "d" / "dataset.db-wal").stat().st_size

        assert [image.name for image in expand_inputs(["d"])] == ["d/a.jpg"]


@pytest.mark.parametrize("database", [b"", b"no database at all" * 100, None, "folder"])
def test_a_database_that_says_nothing_costs_no_photos(tree: Path, database: bytes | str | None) -> None:
    make(tree / "d", "a.jpg", "truth.png", "masks/a.png", "pseudo/a.png")
    file = tree / "d" / "dataset.db"
    if database is None:  # another program's
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE image (name TEXT)")
        connection.close()
    elif isinstance(database, bytes):
        file.write_bytes(database)
    else:
        file.mkdir()
    left_out = LeftOut()

    assert [image.name for image in expand_inputs(["d"], left_out=left_out)] == ["d/a.jpg", "d/truth.png"]
    assert left_out.masks == 2


@pytest.mark.parametrize("named", ["d", "up"])
def test_a_dataset_without_photos_in_it_is_refused_with_what_to_do(tree: Path, named: str) -> None:
    """It holds masks, and its images lie elsewhere."""
    folder = "up/d s" if named == "up" else "d"
    make(tree / folder, "pseudo/grabcut/a.png")
    with Dataset.create(tree / folder) as dataset:
        dataset.put(ImageRecord(dataset.relative(tree / "a.jpg"), 4, 4))

    with pytest.raises(InputError) as caught:
        list(expand_inputs([named]))

    quoted = "'up/d s'" if named == "up" else "d"
    assert str(caught.value) == (
        f"{named}: no images there, only 1 mask; to look at the images that the dataset {folder} lists elsewhere, run  "
        f"boxpromptiml manifest {quoted} -o m.jsonl; boxpromptiml localize m.jsonl --out OUT"
    )


def test_what_a_message_says_to_name_is_looked_at(tree: Path) -> None:
    make(tree, "d/dataset.db", "d/pseudo/a.png", "table/_run.json", "table/part-000000.parquet")
    make(tree / "found", *RUN)
    with Dataset.create(tree / "gone") as dataset:
        dataset.put(ImageRecord("gone.jpg", 4, 4, mask="truth.png"))
    make(tree / "gone", "truth.png")

    for inputs, left_out in {
        "d": "1 mask",
        "gone": "1 mask",
        "table": "1 result of an earlier run",
        "found": "4 results of earlier runs",
        "found/*/*.*g": "3 results of earlier runs",
    }.items():
        with pytest.raises(InputError) as caught:
            list(expand_inputs([inputs], out="found"))
        message, _, named = str(caught.value).rpartition(": ")
        assert message == (
            f"{inputs}: no images there, only {left_out}; what is left out is looked at where it is named itself"
        )
        assert list(expand_inputs([named], out="found"))


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
    left_out = LeftOut(Counter({".gif": 1, ".heic": 2}), results=12, masks=1)
    left_out.add(LeftOut(Counter({".gif": 4}), masks=7, first="b/Gt", dataset="b"))
    left_out.add(LeftOut(first="c/Gt", dataset="c"))

    assert left_out.unread_text() == "5 .gif, 2 .heic"
    assert left_out.others_text() == "12 results of earlier runs, 8 masks"
    assert (left_out.first, left_out.dataset) == ("b/Gt", "b")
    assert LeftOut(results=1, masks=1).others_text() == "1 result of an earlier run, 1 mask"
    assert left_out.to_json() == {
        "unread": {".gif": 5, ".heic": 2},
        "left_out": {"results": 12, "masks": 8, "folders": 0},
    }
    assert LeftOut(folders=["a"]).others_text() == "1 folder that cannot be read"
    assert LeftOut().unread_text() == LeftOut().others_text() == ""


def test_formats_that_are_not_read_are_told_beside_what_else_is_left_out(tree: Path) -> None:
    make(tree / "phone", "a.heic", "found/results.jsonl", "found/masks/a.png")

    with pytest.raises(InputError, match=r"only 1 \.heic and 1 result of an earlier run; .*: phone/found/masks$"):
        list(expand_inputs(["phone"]))


def test_what_cameras_and_old_programs_write_is_taken_or_counted(tree: Path) -> None:
    """Some write a JPEG with further pictures in it; its first one is read."""
    make(tree / "album", "IMG_2.MPO", "a.ppm", "b.TGA", "notes.doc")
    left_out = LeftOut()

    assert [image.name for image in expand_inputs(["album"], left_out=left_out)] == ["album/IMG_2.MPO"]
    assert left_out.unread == Counter({".ppm": 1, ".tga": 1})


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
    """Photographs from results of earlier runs and masks. What a dataset's records say is not asked for there."""
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    photos = ["a.jpg", "data/f.jpg", "masks/b.jpg", "out/c.jpg", "outer/d.jpg", "set/Tp/e.jpg"]
    others = ["out/results.jsonl", "out/masks/c.png", "set/Gt/e.png", "data/dataset.db", "data/masks/f.png"]
    for name in photos + others:
        store.pipe(f"/photos/{name}", b"x")
    try:
        left_out = LeftOut()
        found = expand_inputs([folder], left_out=left_out)
        assert sorted(source.name.split("photos/")[1] for source in found) == photos
        assert left_out.others_text() == "1 result of an earlier run, 2 masks"
        found = expand_inputs(["memory://photos/**/*.png"], out="memory://photos/out")
        assert [source.name.split("photos/")[1] for source in found] == ["data/masks/f.png", "set/Gt/e.png"]
        store.rm("/photos/data/f.jpg")
        with pytest.raises(InputError, match=r"no images there, only 1 mask; .* itself: memory://photos/data/masks$"):
            list(expand_inputs(["memory://photos/data"]))
    finally:
        store.rm("/photos", recursive=True)


def test_a_folder_that_cannot_be_read_is_counted_and_no_success(tree: Path, red_model: Path) -> None:
    photos = tree / "photos"
    photos.mkdir()
    Image.new("RGB", (32, 32), "red").save(photos / "a.png")
    # Deeper than the system follows a path: a folder that even root cannot read.
    os.chdir(photos)
    for _ in range(25):
        os.mkdir("n" * 200)
        os.chdir("n" * 200)
    os.chdir(tree)
    for form in ("files", "parquet"):
        words = ["localize", "photos", "--model", str(red_model), "--out", form, "--format", form, "--json"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1, done.output
        summary = json.loads(done.stdout)
        assert (summary["images"], summary["failed"], summary["left_out"]["folders"]) == (1, 0, 1)
