from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, PseudoMask
from boxpromptiml.dataset.validation import validate
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats import RejectedError, import_source
from boxpromptiml.images import open_mask
from boxpromptiml.regions import Box

Paint = Callable[..., Path]


@pytest.fixture
def casia(source: Path, paint: Paint) -> Path:
    """Two forgeries that share a photograph, a copy-move, and the authentic photographs."""
    for stem in (
        "Sp_D_CND_A_sec0056_sec0015_0282",
        "Sp_D_NRN_A_ani0001_sec0015_0300",
        "Sp_S_NNN_C_txt0008_txt0008_0008",
    ):
        paint(f"Tp/{stem}.png", (200, 100, 50))
        paint(f"Gt/{stem}.png")
    for stem in ("Au_ani_0001", "Au_sec_0056", "Au_txt_0008", "Au_art_0099"):
        paint(f"Au/{stem}.png", (len(stem), 100, 50))
    return source


def test_folders_of_casia(casia: Path, dataset: Dataset) -> None:
    report = import_source(casia, dataset, split="train")
    assert (report.added, report.labels, report.groups) == (7, {"tampered": 3, "authentic": 4}, 3)
    by_name = {Path(record.image).stem: record for record in dataset.records()}
    assert {name: (record.group, record.kind) for name, record in by_name.items()} == {
        "Sp_D_CND_A_sec0056_sec0015_0282": ("ani0001", "splice"),
        "Sp_D_NRN_A_ani0001_sec0015_0300": ("ani0001", "splice"),
        "Sp_S_NNN_C_txt0008_txt0008_0008": ("txt0008", "copy-move"),
        "Au_ani_0001": ("ani0001", None),
        "Au_sec_0056": ("ani0001", None),
        "Au_txt_0008": ("txt0008", None),
        "Au_art_0099": ("art0099", None),
    }
    record = by_name["Sp_S_NNN_C_txt0008_txt0008_0008"]
    assert record.image == "../source/Tp/Sp_S_NNN_C_txt0008_txt0008_0008.png"
    assert record.mask == "../source/Gt/Sp_S_NNN_C_txt0008_txt0008_0008.png"
    assert (record.width, record.height, record.split, record.label) == (40, 30, "train", "tampered")
    assert not [problem for problem in validate(dataset) if problem.severity == "error"]


def test_a_folder_becomes_a_dataset_only_if_the_source_is_accepted(casia: Path, paint: Paint, tmp_path: Path) -> None:
    paint("Tp/odd.png", (1, 2, 3))
    with pytest.raises(RejectedError):
        import_source(casia, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (casia / "Tp" / "odd.png").unlink()
    import_source(casia, tmp_path / "new")
    with Dataset.open(tmp_path / "new") as made:
        assert made.count() == 7


@pytest.mark.parametrize(
    ("group_by", "message"),
    [("scene(", "not a regular expression"), (r"scene\d", "matches none of the 7 names")],
)
def test_a_pattern_that_groups_nothing_leaves_no_folder(
    casia: Path, tmp_path: Path, group_by: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        import_source(casia, tmp_path / "new", group_by=group_by, on_mismatch="resize")
    assert not (tmp_path / "new").exists()


def test_importing_twice_changes_nothing(casia: Path, dataset: Dataset) -> None:
    import_source(casia, dataset)
    before = list(dataset.records())
    report = import_source(casia, dataset)
    assert (report.added, report.changed, report.unchanged) == (0, 0, 7)
    assert list(dataset.records()) == before


def test_what_people_and_teachers_did_is_kept(casia: Path, dataset: Dataset) -> None:
    import_source(casia, dataset)
    name = next(dataset.records(label="tampered")).image
    pseudo = PseudoMask("pseudo/a.png", "grabcut")
    dataset.put(replace(dataset.get(name), boxes=(Box(1, 1, 9, 9),), seconds=6.0, pseudo=pseudo, review="accepted"))
    dataset.set_splits({name: "test"})
    before = dataset.get(name)
    import_source(casia, dataset, kind="none")
    assert dataset.get(name) == before
    assert import_source(casia, dataset, split="val").changed == 7
    assert dataset.get(name) == replace(before, split="val", version=before.version + 1)


def test_an_image_that_was_skipped_stays_so(casia: Path, dataset: Dataset) -> None:
    import_source(casia, dataset)
    record = next(dataset.records(label="tampered"))
    skipped = dataset.annotate(record.image, boxes=[], label="tampered", skipped=True, expected_version=record.version)
    import_source(casia, dataset)
    assert dataset.get(record.image) == skipped


def test_an_image_of_another_size_is_another_image(casia: Path, dataset: Dataset, paint: Paint) -> None:
    import_source(casia, dataset)
    name = "../source/Tp/Sp_S_NNN_C_txt0008_txt0008_0008.png"
    dataset.set_boxes(name, [Box(0, 0, 40, 30)], seconds=5.0)
    for folder in ("Tp", "Gt"):
        paint(f"{folder}/Sp_S_NNN_C_txt0008_txt0008_0008.png", 255, (20, 15))
    assert import_source(casia, dataset).changed == 1
    record = dataset.get(name)
    assert (record.width, record.height, record.boxes, record.seconds) == (20, 15, (), None)


def test_groups_are_connected_across_imports(dataset: Dataset, source: Path, paint: Paint) -> None:
    paint("one/Au/Au_ani_0001.png")
    paint("two/Au/Au_sec_0002.png")
    paint("bridge/Tp/Sp_D_CND_A_sec0002_ani0001_0282.png")
    import_source(source / "one", dataset, split="train")
    import_source(source / "two", dataset, split="test")
    assert {record.group for record in dataset.records()} == {"ani0001", "sec0002"}
    report = import_source(source / "bridge", dataset, split="train")
    assert {record.group for record in dataset.records()} == {"ani0001"}
    assert report.crossing == ("ani0001",)


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        ("auto", {"Tp/s1_a.png": 1, "Tp/s1_b.png": 2, "Au/s1_a.png": 1}),
        ("stem", {"Tp/s1_a.png": 1, "Tp/s1_b.png": 2, "Au/s1_a.png": 1}),
        (r"(s\d)_", {"Tp/s1_a.png": 1, "Tp/s1_b.png": 1, "Au/s1_a.png": 1}),
        ("none", {"Tp/s1_a.png": None, "Tp/s1_b.png": None, "Au/s1_a.png": None}),
    ],
)
def test_grouping_by_name(
    source: Path, dataset: Dataset, paint: Paint, group_by: str, groups: dict[str, int | None]
) -> None:
    for name in groups:
        paint(name)
    import_source(source, dataset, group_by=group_by)
    found = {record.image.removeprefix("../source/"): record.group for record in dataset.records()}
    for one in groups:
        for other in groups:
            same = groups[one] is not None and groups[one] == groups[other]
            assert (found[one] is not None and found[one] == found[other]) == same


def test_equal_stems_of_two_sources_have_nothing_in_common(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("one/001.png")
    paint("two/001.png")
    import_source(source / "one", dataset, split="train")
    assert import_source(source / "two", dataset, split="test").crossing == ()
    import_source(source / "two", dataset, group_by="stem")  # unless somebody says so
    assert len({record.group for record in dataset.records()}) == 1


def test_equal_names_of_two_tasks_have_nothing_in_common(source: Path, dataset: Dataset, paint: Paint) -> None:
    """CVAT calls the file of every task instances_default.json, and the first frame of every video frame_000000."""
    content = {"images": [{"id": 1, "file_name": "frame_000000.png"}], "annotations": []}
    for task in ("one", "two"):
        paint(f"{task}/images/frame_000000.png")
        paint(f"{task}/images/more/frame_000000.png")
        (source / task / "annotations").mkdir()
        (source / task / "annotations/instances_default.json").write_text(json.dumps(content))
        import_source(source / task / "annotations/instances_default.json", dataset)
    assert len({record.group for record in dataset.records()}) == 2
    again = import_source(source / "two/annotations/instances_default.json", dataset)
    assert (again.changed, again.groups) == (0, 2)


def test_groups_of_an_older_version_stay_whole(source: Path, dataset: Dataset, paint: Paint) -> None:
    """Their names had less of the path in them."""
    paint("Tp/a.png")
    paint("Au/a.png")
    import_source(source, dataset)
    dataset.put([replace(record, group="test/source/a", split="train") for record in dataset.records()])
    paint("Au/more/a.png")
    import_source(source, dataset)
    assert len({record.group for record in dataset.records()}) == 1


# --- policies ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def flawed(source: Path, paint: Paint) -> Path:
    """One good pair and one of each thing that can be wrong."""
    for stem in ("good", "size", "turned", "coloured", "both", "missing", "badmask", "badimage"):
        paint(f"Tp/{stem}.png", (200, 100, 50))
        paint(f"Gt/{stem}.png")
    paint("Gt/size.png", 255, (80, 60))
    paint("Gt/turned.png", 255, (30, 40))
    paint("Gt/coloured.png", (255, 0, 0))
    paint("Gt/both.png", (0, 0, 255), (80, 60))
    (source / "Gt/missing.png").unlink()
    (source / "Gt/badmask.png").write_bytes((source / "Gt/badmask.png").read_bytes()[:60])
    (source / "Tp/badimage.png").write_text("not an image")
    paint("Gt/orphan.png")
    return source


REASONS = {
    "Tp/size.png": "is 80 x 60 pixels, the image 40 x 30",
    "Tp/turned.png": "is 30 x 40 pixels, the image 40 x 30",
    "Tp/coloured.png": "is coloured, not grey",
    "Tp/both.png": "is coloured, not grey and is 80 x 60 pixels",
    "Tp/missing.png": "has no mask in",
    "Tp/badmask.png": "damaged or truncated",
    "Tp/badimage.png": "is not an image",
    "Gt/orphan.png": "is a mask without an image",
}


def test_error_reports_every_file_and_imports_nothing(flawed: Path, dataset: Dataset) -> None:
    with pytest.raises(RejectedError, match="8 files do not fit, nothing was imported") as caught:
        import_source(flawed, dataset)
    assert "\n" not in str(caught.value)
    assert len(caught.value.problems) == len(REASONS)
    for name, reason in REASONS.items():
        (line,) = (line for line in caught.value.problems if line.startswith(f"{flawed / name}:"))
        assert reason in line
    assert dataset.count() == 0
    assert sorted(path.name for path in dataset.root.iterdir() if path.is_dir()) == []


def test_skip_leaves_them_out(flawed: Path, dataset: Dataset) -> None:
    report = import_source(flawed, dataset, on_mismatch="skip")
    assert [record.image for record in dataset.records()] == ["../source/Tp/good.png"]
    assert {mismatch.path for mismatch in report.left_out} == {flawed / name for name in REASONS}


def test_resize_mends_what_can_be_mended(flawed: Path, dataset: Dataset) -> None:
    report = import_source(flawed, dataset, on_mismatch="resize")
    records = {Path(record.image).stem: record for record in dataset.records()}
    assert set(records) == {"good", "size", "coloured", "both"}
    assert {mismatch.path.stem for mismatch in report.mended} == {"size", "coloured", "both"}
    assert {mismatch.path.stem for mismatch in report.left_out} == {
        "turned",
        "missing",
        "badmask",
        "badimage",
        "orphan",
    }
    assert any("another aspect ratio, cannot be mended" in str(mismatch) for mismatch in report.left_out)
    truth = np.zeros((30, 40), np.uint8)
    truth[:, :20] = 255
    for name in ("size", "coloured", "both"):
        record = records[name]
        assert record.mask is not None
        assert record.mask.startswith("masks/")
        assert np.array_equal(open_mask(dataset.path(record.mask)), truth)
    assert records["good"].mask == "../source/Gt/good.png"
    assert validate(dataset) == [problem for problem in validate(dataset) if "same file" in problem.message]
    again = import_source(flawed, dataset, on_mismatch="resize")
    assert (again.added, again.changed, len(again.mended)) == (0, 0, 3)


def test_nothing_that_fits(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("Tp/a.png")
    paint("Gt/b.png")
    with pytest.raises(DatasetError, match="no image fits, the first is"):
        import_source(source, dataset, on_mismatch="skip")


def test_antialiased_masks_are_taken_as_they_are(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("Tp/a.png", (1, 2, 3))
    paint("Gt/a.png", 200)
    assert import_source(source, dataset).added == 1
    assert [problem.severity for problem in validate(dataset)] == ["warning"]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_masks_of_ones_are_no_empty_masks(source: Path, dataset: Dataset, paint: Paint, depth: type) -> None:
    """Class numbers instead of grey, or 255 in a file of 16 bits: nothing is above half of what the file can hold."""
    paint("Tp/a.png", (1, 2, 3))
    (source / "Gt").mkdir()
    pixels = np.zeros((30, 40), depth)
    pixels[:, :20] = 1 if depth is np.uint8 else 255
    Image.fromarray(pixels).save(source / "Gt/a.png")
    (source / "list.json").write_text('[["Tp/a.png", "Gt/a.png"]]')
    for path in (source, source / "list.json"):
        with pytest.raises(RejectedError) as caught:
            import_source(path, dataset)
        assert "has no pixel above 127, its largest is 1 of 255" in caught.value.problems[0]
        import_source(path, dataset, on_mismatch="resize")
        (record,) = dataset.records()
        assert (record.label, open_mask(dataset.path(record.mask or "")).tolist()[0]) == (
            "tampered",
            [255] * 20 + [0] * 20,
        )


def test_sizes_are_those_of_the_upright_image(source: Path, dataset: Dataset, paint: Paint) -> None:
    path = paint("Tp/a.jpg", (1, 2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.open(path).save(path, exif=exif)
    paint("Gt/a.png", 255, (30, 40))
    import_source(source, dataset)
    (record,) = dataset.records()
    assert (record.width, record.height) == (30, 40)


@pytest.mark.parametrize("letters", ["a" * 246, "ü" * 123])
def test_long_names_leave_room_for_what_is_added_to_a_mask(
    source: Path, dataset: Dataset, paint: Paint, letters: str
) -> None:
    names = (letters, f"{letters[:-1]}b")
    for name in names:
        paint(f"Tp/{name}.png", (1, 2, 3))
        paint(f"Gt/{name}.png", (255, 0, 0))
    assert len(import_source(source, dataset, on_mismatch="resize").mended) == 2
    assert len({record.mask for record in dataset.records()}) == 2


def test_a_name_that_is_no_text_is_left_out(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("good.png")
    odd = source / os.fsdecode(b"caf\xe9.png")
    try:
        paint("good.png").rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    paint("good.png")
    with pytest.raises(RejectedError) as caught:
        import_source(source, dataset)
    assert "has a path that is not UTF-8" in caught.value.problems[0]
    report = import_source(source, dataset, on_mismatch="skip")
    assert (report.added, [mismatch.path for mismatch in report.left_out]) == (1, [odd])


# --- lists and plain folders ------------------------------------------------------------------------------------------


def test_a_list_of_imdlbenco(source: Path, dataset: Dataset, paint: Paint) -> None:
    for name in ("a.png", "b.png", "c.png"):
        paint(name, (9, 9, 9))
    paint("a_mask.png")
    paint("b_mask.png", 0)
    pairs = [["a.png", "a_mask.png"], ["b.png", str(source / "b_mask.png")], ["c.png", "Negative"]]
    (source / "list.json").write_text(json.dumps(pairs))
    import_source(source / "list.json", dataset, kind="removal")
    assert [(record.image[-5:], record.label, record.mask, record.kind) for record in dataset.records()] == [
        ("a.png", "tampered", "../source/a_mask.png", "removal"),
        ("b.png", "authentic", "../source/b_mask.png", None),  # an empty mask says authentic, as in IMDLBenCo
        ("c.png", "authentic", None, None),
    ]
    (source / "list.json").write_text(json.dumps([*pairs, ["gone.png", "Negative"]]))
    with pytest.raises(RejectedError) as caught:
        import_source(source / "list.json", dataset)
    assert caught.value.problems == (f"{source / 'gone.png'}: no such file",)


def test_a_plain_folder_has_no_labels_but_may_get_one(source: Path, dataset: Dataset, paint: Paint) -> None:
    paint("a.png")
    import_source(source, dataset)
    assert next(dataset.records()).label is None
    import_source(source, dataset, label="authentic")
    assert next(dataset.records()).label == "authentic"


def test_options_that_would_do_nothing_are_refused(casia: Path, dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="labels its images itself"):
        import_source(casia, dataset, label="tampered")
    with pytest.raises(DatasetError, match=r"scene\\d matches none of the 7 names"):
        import_source(casia, dataset, group_by=r"scene\d")
    with pytest.raises(DatasetError, match="not one of error, skip, resize"):
        import_source(casia, dataset, on_mismatch="mend")  # type: ignore[arg-type]
    assert dataset.count() == 0


@pytest.mark.shared
def test_casia_itself(shared_data: Path, dataset: Dataset) -> None:
    for split, counts in {
        "train": {"tampered": 460, "authentic": 398},
        "test": {"tampered": 184, "authentic": 170},
    }.items():
        report = import_source(shared_data / "casia1" / split, dataset, split=split)
        assert (report.labels, report.left_out, report.crossing) == (counts, (), ())
    assert sum(record.kind == "splice" for record in dataset.records(split="train")) == 230
    assert all(record.group for record in dataset.records())
