from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.cli.main import main
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.regions import Box


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("import", folder, ...)`` runs the command line in this process."""

    def call(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["boxpromptiml", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve tampered images with masks and twelve authentic ones."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "source"
    for name in ("Tp", "Gt", "Au"):
        (folder / name).mkdir(parents=True)
    for number in range(12):
        for place in ("Tp", "Au"):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{place}{number:02}.png")
        mask = np.zeros((30, 40), np.uint8)
        mask[5:20, 10 : 15 + number] = 255
        Image.fromarray(mask).save(folder / "Gt" / f"Tp{number:02}.png")
    return folder


@pytest.fixture
def data(tmp_path: Path, source: Path, run: Run) -> Path:
    """The dataset of `source`."""
    assert run("import", source, "-o", tmp_path / "data").code == 0
    return tmp_path / "data"


def test_import_says_what_it_did(tmp_path: Path, source: Path, run: Run) -> None:
    done = run("import", source, "-o", tmp_path / "data", "--split", "train")
    assert (done.code, done.err) == (0, "")
    assert "24 images from Tp+Gt+Au folders (12 tampered, 12 authentic)" in done.out
    assert "24 added, 0 changed, 0 as they were" in done.out
    with Dataset.open(tmp_path / "data") as dataset:
        assert dataset.count(split="train") == 24


def test_one_is_said_in_the_singular(tmp_path: Path, source: Path, run: Run) -> None:
    for path in source.glob("*/*.png"):
        if path.name not in ("Tp00.png", "Au00.png"):
            path.unlink()
    words = ("import", source, "-o", tmp_path / "data", "--group-by", r"0+\.png")
    assert "\n1 source group in the dataset\n" in run(*words, "--split", "train").out
    (source / "Au" / "Au00.png").unlink()
    assert "\n1 source group in several splits, first " in run(*words, "--split", "test").out
    assert "1 box on 1 image\n" in run("boxes", tmp_path / "data", "--from-masks").out


def test_mismatches_are_listed_one_a_line_before_the_summary(tmp_path: Path, source: Path, run: Run) -> None:
    (source / "Gt" / "Tp03.png").unlink()
    (source / "Gt" / "Tp04.png").unlink()
    done = run("import", source, "-o", tmp_path / "data")
    *lines, summary = done.err.splitlines()
    assert (done.code, done.out, len(lines)) == (2, "", 2)
    assert "Tp03.png: has no mask" in lines[0]
    assert summary.startswith("error: ")
    assert "2 files do not fit, nothing was imported" in summary
    assert not (tmp_path / "data").exists()
    done = run("import", source, "-o", tmp_path / "data", "--on-mismatch", "skip")
    assert (done.code, len(done.err.splitlines())) == (0, 2)
    assert "2 left out, 0 mended" in done.out


def test_the_manifest_is_printed_and_read_back(tmp_path: Path, data: Path, run: Run) -> None:
    run("boxes", data, "--from-masks")
    printed = run("manifest", data)
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert len(lines) == 24
    assert lines[-1]["regions"][0]["box"]
    assert run("manifest", data, "-o", tmp_path / "m" / "m.jsonl").code == 0
    done = run("import", tmp_path / "m" / "m.jsonl", "-o", tmp_path / "copy")
    assert "24 images from manifest (12 tampered, 12 authentic)" in done.out
    assert run("manifest", tmp_path / "copy").out == printed.out
    (tmp_path / "piped.jsonl").write_text(printed.out)
    run("import", tmp_path / "piped.jsonl", "-o", tmp_path / "third", "--root", data)
    assert run("manifest", tmp_path / "third").out == printed.out


def test_a_manifest_with_images_that_were_labelled_anew_is_read_back(tmp_path: Path, data: Path, run: Run) -> None:
    with Dataset.open(data) as dataset:
        for name in ("Tp03", "Tp04"):
            version = dataset.get(f"../source/Tp/{name}.png").version
            dataset.annotate(f"../source/Tp/{name}.png", boxes=(), label="authentic", expected_version=version)
    printed = run("manifest", data).out
    run("manifest", data, "-o", data / "m.jsonl")
    done = run("import", data / "m.jsonl", "-o", tmp_path / "copy")
    assert (done.code, done.err) == (
        0,
        "2 authentic images have masks that mark something, kept and not used, the first is ../source/Tp/Tp03.png; "
        "boxpromptiml validate names all\n",
    )
    assert run("manifest", tmp_path / "copy").out == printed


def test_masks_of_a_manifest_that_do_not_fit_are_refused_or_left_out(
    tmp_path: Path, data: Path, source: Path, run: Run
) -> None:
    run("manifest", data, "-o", data / "m.jsonl")
    Image.new("L", Image.open(source / "Gt" / "Tp03.png").size).save(source / "Gt" / "Tp03.png")
    refused = run("import", data / "m.jsonl", "-o", tmp_path / "copy")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2,
        f"error: {data / 'm.jsonl'}: 1 mask does not fit, nothing was imported; --on-mismatch skip leaves such images "
        "out",
    )
    assert "Tp03.png marks nothing, but the image is tampered; draw it, or label the image authentic" in refused.err
    done = run("import", data / "m.jsonl", "-o", tmp_path / "copy", "--on-mismatch", "skip")
    assert (done.code, len(done.err.splitlines())) == (0, 1)
    assert done.err.startswith("left out: ")
    assert "1 left out, 0 mended" in done.out


def test_boxes_from_masks(data: Path, run: Run) -> None:
    done = run("boxes", data, "--from-masks", "--loosen", "0", "--jitter", "0")
    assert "12 boxes on 12 images" in done.out
    assert "area in boxes / area of mask: 1.00" in done.out
    with Dataset.open(data) as dataset:
        assert dataset.get("../source/Tp/Tp00.png").boxes == (Box(10, 5, 15, 20),)
    assert "12 images left as they are" in run("boxes", data, "--from-masks").out
    assert "12 boxes on 12 images" in run("boxes", data, "--from-masks", "--overwrite", "--seed", "5").out


def test_validate_names_files_as_they_are_called(tmp_path: Path, run: Run) -> None:
    """Brackets are no markup: cameras and people put them into names."""
    with Dataset.create(tmp_path / "data") as dataset:
        dataset.put([ImageRecord(name, 8, 8) for name in ("IMG[edit]2.png", "set[/b]/x.png")])
    out = run("validate", tmp_path / "data").out
    assert "IMG[edit]2.png" in out
    assert "set[/b]/x.png" in out


def test_validate_exits_with_1_only_for_errors(data: Path, source: Path, run: Run) -> None:
    done = run("validate", data)
    assert (done.code, done.out) == (0, "24 images, 0 errors, 0 warnings\n")
    (source / "Tp" / "Tp05.png").unlink()
    done = run("validate", data)
    assert done.code == 1
    assert "../source/Tp/Tp05.png" in done.out
    assert "no such file" in done.out
    report = json.loads(run("validate", data, "--json").out)
    assert (report["images"], report["errors"], report["warnings"]) == (24, 1, 0)
    assert report["problems"] == [
        {"image": "../source/Tp/Tp05.png", "message": "image no such file", "severity": "error"}
    ]


def test_split(data: Path, run: Run) -> None:
    done = run("split", data, "--val", "0.25", "--test", "0.25")
    assert done.code == 0
    with Dataset.open(data) as dataset:
        assert [dataset.count(split=name) for name in ("train", "val", "test")] == [12, 6, 6]
        assert dataset.count(split="val", label="tampered") == 3
    assert run("split", data).code == 2
    again = run("split", data, "--within", "train", "--val", "0.5")
    assert (again.code, again.out) == (2, "")
    assert again.err == (
        f"error: {data}: 6 images are in val already, and more of train would follow; --overwrite takes them back into "
        "train and divides it anew, --val 0 leaves val as it is\n"
    )
    for _ in range(2):
        assert run("split", data, "--within", "train", "--val", "0.5", "--overwrite").code == 0
        with Dataset.open(data) as dataset:
            assert [dataset.count(split=name) for name in ("train", "val", "test")] == [10, 8, 6]


def test_a_part_of_train_becomes_val_once(tmp_path: Path, source: Path, run: Run) -> None:
    for name, part in (("train", "Tp"), ("test", "Au")):
        assert run("import", source / part, "-o", tmp_path / "data", "--format", "images", "--split", name).code == 0
    words = ("split", tmp_path / "data", "--within", "train", "--val", "0.25")
    for code in (0, 2):
        assert run(*words).code == code
        with Dataset.open(tmp_path / "data") as dataset:
            assert [dataset.count(split=name) for name in ("train", "val", "test")] == [9, 3, 12]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["validate", "nowhere"], "nowhere: no such folder; make a dataset with  boxpromptiml import"),
        (["boxes", "{data}"], "say where the boxes come from: --from-masks"),
        (["import", "nowhere", "-o", "x"], "nowhere: no such file or folder"),
        (["import", "m.jsonl", "-o", "x", "--kind", "splice"], "--kind is not for manifests"),
        (["import", "{source}", "-o", "x", "--root", "."], "--root is for manifests"),
        (["import", "{source}", "-o", "x", "--overwrite"], "--overwrite is for manifests"),
        (["import", "m.jsonl", "-o", "x"], "m.jsonl: cannot be read"),
        (["split", "{data}", "--val", "0.9", "--test", "0.9"], "shares must add up to 1"),
        (["manifest", "{data}", "-o", "{data}/dataset.db/m.jsonl"], "m.jsonl: cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    data: Path,
    source: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(word.format(data=data, source=source) for word in words))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_malformed_manifest_lines_are_all_named(tmp_path: Path, run: Run) -> None:
    (tmp_path / "m.jsonl").write_text('{"image": "a"\n{"image": "b", "width": 1, "heigth": 1}\n')
    done = run("import", tmp_path / "m.jsonl", "-o", tmp_path / "data")
    first, second, summary = done.err.splitlines()
    assert (done.code, first.split(": ")[0], second.split(": ")[0]) == (
        2,
        f"{tmp_path}/m.jsonl:1",
        f"{tmp_path}/m.jsonl:2",
    )
    assert "unknown field 'heigth'; did you mean 'height'?" in second
    assert "2 lines are malformed" in summary
