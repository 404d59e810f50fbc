"""`boxpromptiml localize` as a user runs it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.cli.main import main
from boxpromptiml.dataset import Dataset, ImageRecord


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def boxpromptiml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command, in this process (the tests that need one of its own start it), in the folder `tmp_path`."""
    monkeypatch.delenv("BOXPROMPTIML_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["boxpromptiml", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return Done(int(stop.value.code or 0), output.out, output.err)

    return run


Command = Callable[..., Done]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    grey = np.full((60, 80, 3), 90, np.uint8)
    red = grey.copy()
    red[10:40, 20:60] = (255, 0, 0)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(red).save(folder / "sub" / "red.png")
    return folder


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (out / "results.jsonl").read_text().splitlines()]


def test_a_folder(boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    done = boxpromptiml("localize", photos, "--out", out, "--model", red_model)

    assert done.returncode == 0
    assert done.stderr == ""  # no progress bar where there is no terminal
    assert "2 images: 1 tampered, 0 failed;" in done.stdout
    assert "│ no signs │" in done.stdout, "what is not found may be there all the same"
    assert "images/s" in done.stdout
    assert [(line["mask"], line["verdict"]) for line in lines(out)] == [
        ("masks/grey.png", "authentic"),
        ("masks/sub/red.png", "tampered"),
    ]
    for name in ("masks/sub/red.png", "heatmaps/sub/red.png", "overlays/sub/red.jpg"):
        assert (out / name).is_file()


def test_one_bad_file_costs_one_error_line_and_exit_code_1(
    boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")

    done = boxpromptiml("localize", photos, "-o", tmp_path / "out", "-m", red_model)

    assert done.returncode == 1
    assert "3 images: 1 tampered, 1 failed;" in done.stdout
    assert "Traceback" not in done.stderr
    assert [line.get("error") for line in lines(tmp_path / "out")] == [
        "is not an image (PNG, JPEG, TIFF, WebP or BMP)",
        None,
        None,
    ]


@pytest.mark.usefixtures("photos")
def test_globs_lists_and_the_model_of_the_environment(
    boxpromptiml: Command, red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(red_model))

    glob = boxpromptiml("localize", "photos/**/*.png", "-o", "out", "--json")
    listed = boxpromptiml("localize", "-", "-o", "out2", stdin="photos/sub/red.png\nphotos/missing.png\n")

    assert glob.returncode == 0
    summary = json.loads(glob.stdout)
    assert (summary["images"], summary["tampered"], summary["results"]) == (2, 1, "out/results.jsonl")
    assert [line["image"] for line in lines(tmp_path / "out")] == ["photos/grey.png", "photos/sub/red.png"]
    assert listed.returncode == 1
    assert lines(tmp_path / "out2")[1] == {"image": "photos/missing.png", "error": "no such file"}


def test_a_second_run_skips_what_is_done(boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("localize", photos, "-o", tmp_path / "out", "-m", red_model)
    boxpromptiml(*arguments)
    before = (tmp_path / "out" / "results.jsonl").read_text()

    again = boxpromptiml(*arguments)
    other = boxpromptiml(*arguments, "--threshold", "0.2")
    anew = boxpromptiml(*arguments, "--overwrite", "--threshold", "0.2")

    assert "2 already done" in again.stdout
    assert "2 images: 1 tampered" in again.stdout
    assert "images/s" not in again.stdout  # nothing was looked at
    assert "already done" not in other.stdout
    assert "already done" not in anew.stdout
    assert [line["threshold"] for line in lines(tmp_path / "out")] == [0.2, 0.2]
    assert len(before.splitlines()) == 2


@pytest.mark.parametrize("table", [False, True])
def test_files_in_formats_that_are_not_read_are_told_of(
    boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path, table: bool
) -> None:
    """A folder of a phone must not look as if all of it had been analysed."""
    for name in ("a.HEIC", "sub/b.heic", "c.gif", "notes.md"):
        (photos / name).write_bytes(b"")
    options = ("-m", red_model, "--format", "parquet" if table else "files")

    told = boxpromptiml("localize", photos, "-o", tmp_path / "told", *options)
    counted = boxpromptiml("localize", photos, "-o", tmp_path / "counted", *options, "--json")
    (photos / "only").mkdir()
    (photos / "a.HEIC").rename(photos / "only" / "a.HEIC")
    nothing = boxpromptiml("localize", photos / "only", "-o", tmp_path / "nothing", *options)

    assert told.returncode == counted.returncode == 0
    assert "left out, as these formats are not read: 2 .heic, 1 .gif; convert them to PNG" in told.stdout
    assert json.loads(counted.stdout)["unread"] == {".heic": 2, ".gif": 1}
    assert nothing.stderr.strip() == f"error: {photos / 'only'}: no images there that are read, only 1 .heic"


@pytest.mark.parametrize("table", [False, True])
def test_results_of_earlier_runs_and_true_masks_are_left_out_and_told_of(
    boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path, table: bool
) -> None:
    """They look like photographs, and would be analysed as such."""
    for part, name in (("Tp", "red.jpg"), ("Gt", "red.png"), ("Gt", "other.png")):
        (photos / "casia" / part).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60)).save(photos / "casia" / part / name)
    options = ("-m", red_model, "--format", "parquet" if table else "files")

    boxpromptiml("localize", photos / "sub", "-o", photos / "found", "-m", red_model)
    told = boxpromptiml("localize", photos, "-o", tmp_path / "told", *options)
    counted = boxpromptiml("localize", photos, "-o", tmp_path / "counted", *options, "--json")
    named = boxpromptiml("localize", photos / "casia" / "Gt", "-o", tmp_path / "named", *options)

    assert "3 images: " in told.stdout
    assert told.stdout.splitlines()[-1] == "left out: 3 results of earlier runs, 2 masks"
    assert json.loads(counted.stdout)["left_out"] == {"results": 3, "masks": 2, "folders": 0}
    assert "2 images: " in named.stdout
    assert "left out" not in named.stdout


def test_a_dataset_without_photos_in_it_is_looked_at_by_its_manifest(
    boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path
) -> None:
    """Its folder holds masks at most."""
    boxpromptiml("import", photos, "-o", "d")

    refused = boxpromptiml("localize", "d", "-o", "out", "-m", red_model)
    manifest, localize = refused.stderr.split("  boxpromptiml ")[1].split("; boxpromptiml ")
    boxpromptiml(*manifest.split())
    done = boxpromptiml(*localize.split(), "-m", red_model)

    assert refused.returncode == 2
    assert refused.stderr.startswith("error: d: no images there; to look at the images that the dataset d lists ")
    assert done.returncode == 0
    assert [line["image"] for line in lines(tmp_path / "OUT")] == ["photos/grey.png", "photos/sub/red.png"]


@pytest.mark.parametrize("table", [False, True])
def test_a_run_goes_on_after_its_photos_were_annotated(
    boxpromptiml: Command, red_model: Path, photos: Path, table: bool
) -> None:
    """The page writes its database into their folder, and masks beside it."""
    command = ("localize", photos, "-o", "out", "-m", red_model, "--format", "parquet" if table else "files", "--json")
    first = json.loads(boxpromptiml(*command).stdout)

    with Dataset.create(photos) as dataset:
        dataset.put(ImageRecord("grey.png", 80, 60))
    for name in ("masks", "pseudo/grabcut"):
        (photos / name).mkdir(parents=True)
        shutil.copy(photos / "grey.png", photos / name / "grey.png")
    again = json.loads(boxpromptiml(*command).stdout)

    assert (again["images"], again["skipped"]) == (first["images"], first["images"])
    assert again["left_out"] == {"results": 0, "masks": 2, "folders": 0}


def test_an_archive_at_a_url_without_a_driver_is_one_error_and_not_damage(
    boxpromptiml: Command, red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)

    done = boxpromptiml("localize", "s3://bucket/x.tar", "-o", "out", "-m", red_model)

    assert done.returncode == 2
    assert done.stderr == "error: fsspec is not installed: run  pip install 'boxpromptiml[bulk]'\n"
    assert not (tmp_path / "out").exists()


def test_photos_that_the_network_was_shown_shrunk_are_counted(
    boxpromptiml: Command, make_red_model: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    large = make_red_model(tmp_path / "large", 128, 128)  # all photos are smaller
    small = make_red_model(tmp_path / "small", 64, 64)

    whole = boxpromptiml("localize", photos, "-o", tmp_path / "whole", "-m", large)
    told = boxpromptiml("localize", photos, "-o", tmp_path / "told", "-m", small)
    again = boxpromptiml("localize", photos, "-o", tmp_path / "told", "-m", small, "--json")
    closer = boxpromptiml("localize", photos, "-o", tmp_path / "closer", "-m", small, "--detail", "--json")

    assert "full size" not in whole.stdout
    assert "2 images were looked at smaller than full size, which hides fine traces; --detail looks" in told.stdout
    assert json.loads(again.stdout)["shrunk"] == 2
    assert json.loads(closer.stdout)["shrunk"] == 0


def test_options(boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path) -> None:
    done = boxpromptiml(
        *("localize", photos, "-o", tmp_path / "out", "-m", red_model, "--no-masks", "--no-heatmaps", "--no-overlays"),
        *("--threads", "1", "--batch-size", "1", "--threshold", "0.99999", "--max-megapixels", "0.0048"),
    )

    assert done.returncode == 0  # 60 x 80 = 4,800 pixels
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.jsonl"]
    assert [line["verdict"] for line in lines(tmp_path / "out")] == ["authentic", "authentic"]
    refused = boxpromptiml("localize", photos, "-o", tmp_path / "2", "-m", red_model, "--max-megapixels", "0.0047")
    assert refused.returncode == 1
    assert all("over the limit" in line["error"] for line in lines(tmp_path / "2"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jpg", "-o", "out", "-m", "MODEL"], "error: nowhere.jpg: no such file or folder"),
        (["empty", "-o", "out", "-m", "MODEL"], "error: empty: no images there"),
        (["*.jpg", "-o", "out", "-m", "MODEL"], "error: *.jpg: no images there"),
        (["-", "-o", "out", "-m", "MODEL"], "error: standard input: no paths there"),
        (["photos", "-o", "out", "-m", "nowhere"], "error: nowhere: no such model folder"),
        (["photos", "-o", "out", "-m", "empty"], "error: empty: no config.json there"),
        (["photos", "-o", "a-file", "-m", "MODEL"], "a-file"),
        (["photos", "-o", "out", "-m", "MODEL", "--threshold", "2"], "Invalid value for '--threshold'"),
        (["-o", "out", "-m", "MODEL"], "Missing argument 'INPUT...'"),
        (["photos", "-m", "MODEL"], "Missing option '--out'"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_wrong_usage_exits_with_2_and_one_clear_line(
    boxpromptiml: Command, red_model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_bytes(b"")

    done = boxpromptiml("localize", *[str(red_model) if a == "MODEL" else a for a in arguments])

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if message.startswith("error"):
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_detail_and_tta_are_noted(boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path) -> None:
    done = boxpromptiml("localize", photos, "-o", "out", "-m", red_model, "--detail", "--tta")

    assert done.returncode == 0
    assert [(line["detail"], line["tta"], line["verdict"]) for line in lines(tmp_path / "out")] == [
        (True, True, "authentic"),
        (True, True, "tampered"),
    ]


def test_neither_torch_nor_opencv_is_imported(red_model: Path, photos: Path, tmp_path: Path) -> None:
    program = """
import sys
from boxpromptiml.cli.main import app
app(["localize", *sys.argv[1:]], standalone_mode=False)
heavy = {"torch", "torchvision", "timm", "cv2", "lightning", "scipy", "onnx", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    arguments = [photos, "-o", tmp_path / "out", "-m", red_model]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)


def test_a_table_instead_of_files(boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    (photos / "broken.jpg").write_bytes(b"no image")
    arguments = ("localize", photos, "-o", tmp_path / "out", "-m", red_model, "--format", "parquet", "--threads", "1")

    done = boxpromptiml(*arguments, "--no-masks")
    again = boxpromptiml(*arguments, "--no-masks", "--json")
    other = boxpromptiml(*arguments, "--no-masks", "--threshold", "0.2")

    assert done.returncode == 1
    assert done.stderr == ""
    assert "3 images: 1 tampered, 1 failed;" in done.stdout
    table = pq.read_table(tmp_path / "out").to_pydict()
    assert table["verdict"] == [None, "authentic", "tampered"]
    assert table["mask"] == [None, None, None]
    assert json.loads(again.stdout)["skipped"] == 3
    assert (other.returncode, other.stdout) == (2, "")
    assert "holds results of another threshold; choose another folder, or begin anew: --overwrite" in other.stderr
    assert len(other.stderr.splitlines()) == 1


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "ray", "--format", "files"], "--engine ray goes with --format parquet"),
        (["--shard-size", "5"], "--shard-size goes with --format parquet"),
        (["--retry-failed"], "--retry-failed goes with --format parquet"),
        (["--format", "parquet", "--overlays"], "--overlays goes with --format files"),
        (["--format", "parquet", "--heatmaps"], "--heatmaps goes with --format files"),
        (["--ray-address", "auto"], "--ray-address goes with --engine ray"),
        (["--format", "csv"], "Invalid value for '--format'"),
        (["--out", "memory://out"], "a URL as --out goes with --format parquet"),
    ],
)
def test_options_of_the_other_format_are_refused(
    boxpromptiml: Command, red_model: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    done = boxpromptiml("localize", "photos", "-o", tmp_path / "out", "-m", red_model, *options)

    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_archives_and_manifests_become_files_too(
    boxpromptiml: Command, red_model: Path, photos: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(photos / "sub" / "red.png", "a/red.png")
    (tmp_path / "m.jsonl").write_text('{"image": "photos/grey.png", "label": "authentic"}\n')

    done = boxpromptiml("localize", "shard.tar", "m.jsonl", "-o", tmp_path / "out", "-m", red_model)
    again = boxpromptiml("localize", "shard.tar", "m.jsonl", "-o", tmp_path / "out", "-m", red_model)

    assert done.returncode == 0
    assert [(line["image"], line["mask"]) for line in lines(tmp_path / "out")] == [
        ("shard.tar#a/red.png", "masks/shard/a/red.png"),
        ("photos/grey.png", "masks/grey.png"),
    ]
    assert "2 already done" in again.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_stopped(
    boxpromptiml: Command,
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    red_model: Path,
    tmp_path: Path,
    how: signal.Signals,
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(folder / f"{i:02d}.bmp")
    out = tmp_path / "out"
    arguments = ["localize", folder, "-o", out, "-m", red_model]
    process = run_signalled(how, "boxpromptiml.bulk:ResultsFile.append", 5, *arguments)
    done = lines(out)

    assert 5 <= len(done) < 60
    assert "Traceback" not in process.stderr
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; run the same command again" in process.stderr
    else:
        assert process.returncode == -how
    for line in done:
        for kind in ("mask", "heatmap", "overlay"):
            Image.open(out / line[kind]).load()
    again = boxpromptiml("localize", folder, "-o", out, "-m", red_model)
    assert again.returncode == 0
    assert f"{len(done)} already done" in again.stdout
    assert [Path(line["image"]).stem for line in lines(out)] == [f"{i:02d}" for i in range(60)]
