from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from boxpromptiml.cli.main import app, main
from boxpromptiml.dataset import Dataset
from boxpromptiml.dataset.manifest import write_manifest
from boxpromptiml.formats import import_source
from boxpromptiml.metrics import PRESETS
from boxpromptiml.model_config import ModelConfig


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """One image whose left half is red, with its mask, and an authentic grey one."""
    image = np.full((64, 64, 3), 120, np.uint8)
    root = tmp_path / "set"
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    Image.fromarray(image).save(root / "Au" / "b.png")
    image[:, :32] = (255, 0, 0)
    Image.fromarray(image).save(root / "Tp" / "a.png")
    Image.fromarray((np.arange(64) < 32).astype(np.uint8)[None].repeat(64, 0) * 255).save(root / "Gt" / "a.png")
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 tampered and 20 authentic images of 40 x 30 pixels, with noise that the red model half believes."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data") / "many"
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    for number in range(80):
        image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        name = f"{number:03}.png"
        if number % 4:
            mask = np.zeros((30, 40), np.uint8)
            mask[5 : 10 + number % 15, 3 : 8 + number % 30] = 255
            image[mask > 0, 0] |= 128
            Image.fromarray(mask).save(root / "Gt" / name)
        Image.fromarray(image).save(root / ("Tp" if number % 4 else "Au") / name)
    return root


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_evaluate_prints_the_figures(red_model: Path, folders: Path) -> None:
    other = Path(shutil.copytree(folders, folders.parent / "other"))
    text = _run("evaluate", red_model, folders, other, "--batch-size", 3)
    assert "imdlbenco, origin" in text
    assert text.count("1.000") >= 12  # F1, IoU, AUC and AP of each and of both
    assert "95 % over images: f1 1.000 to 1.000" in text


def test_evaluate_tells_of_images_that_were_left_out(red_model: Path, folders: Path) -> None:
    for part in ("Tp", "Gt"):
        shutil.copy(folders / part / "a.png", folders / part / "c.png")
    Image.new("L", (20, 20)).save(folders / "Gt" / "c.png")
    text = _run("evaluate", red_model, folders, "--on-mismatch", "skip")
    assert f"{folders}: 1 file that does not fit was left out" in text


@pytest.mark.parametrize("given", ["dataset", "manifest"])
def test_evaluate_leaves_images_of_a_dataset_out_whose_masks_are_empty(
    red_model: Path,
    folders: Path,
    tmp_path: Path,
    given: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Imports of before took such masks."""
    for part in ("Tp", "Gt"):
        shutil.copy(folders / part / "a.png", folders / part / "c.png")
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        with (tmp_path / "data" / "m.jsonl").open("w") as stream:
            write_manifest(dataset, stream)
    Image.new("L", Image.open(folders / "Gt" / "c.png").size).save(folders / "Gt" / "c.png")
    source = tmp_path / "data" / ("m.jsonl" if given == "manifest" else "")

    error = _error(["evaluate", red_model, source], monkeypatch, capsys)
    text = _run("evaluate", red_model, source, "--on-mismatch", "skip", "--json", tmp_path / "figures.json")

    assert "does not fit, the first: " in error
    assert "marks nothing, but " in error
    assert "--on-mismatch skip" in error
    assert (f"boxpromptiml validate {source}" in error) == (given == "dataset")
    assert f"{source}: 1 file that does not fit was left out" in text
    assert json.loads((tmp_path / "figures.json").read_text())["n_left_out"] == 1


def test_evaluate_reads_a_manifest_with_an_image_that_was_labelled_anew(
    red_model: Path, folders: Path, tmp_path: Path
) -> None:
    for part in ("Tp", "Gt"):
        shutil.copy(folders / part / "a.png", folders / part / "c.png")
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        record = next(dataset.records(label="tampered"))
        dataset.annotate(record.image, boxes=(), label="authentic", expected_version=record.version)
        with (tmp_path / "data" / "m.jsonl").open("w") as stream:
            write_manifest(dataset, stream)
    figures = []
    for source in (tmp_path / "data", tmp_path / "data" / "m.jsonl"):
        _run("evaluate", red_model, source, "--json", tmp_path / "figures.json")
        figures.append(json.loads((tmp_path / "figures.json").read_text()))
    assert figures[0]["pixel"] == figures[1]["pixel"]
    assert figures[0]["n_authentic"] == figures[1]["n_authentic"] > 0


def test_evaluate_needs_no_torch_without_a_report(red_model: Path, folders: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from boxpromptiml.cli.main import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert not {'torch', 'timm', 'cv2', 'onnx', 'matplotlib', 'scipy', 'sklearn'} & sys.modules.keys()"
    )
    arguments = ["evaluate", red_model, folders, "--json", tmp_path / "figures.json"]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_reports_figures_with_intervals(red_model: Path, many: Path, tmp_path: Path, preset: str) -> None:
    out = tmp_path / "figures.json"
    _run("evaluate", red_model, many, "--preset", preset, "--json", out, "--threads", 1)
    report = json.loads(out.read_text())
    assert (report["preset"], report["n_tampered"], report["n_authentic"]) == (preset, 60, 20)
    assert report["model"]["params"] == ModelConfig.load(red_model).params
    for part in (report, report["datasets"][0]):
        assert part["pixel"].keys() == {
            *("f1", "iou", "auc", "best_f1", "average_precision", "boundary_f1"),
            *("best_shared_f1", "best_shared_threshold", "pooled"),
        }
        assert part["image"].keys() == {"auc", "f1", "accuracy", "fpr_at_95_tpr", "tpr", "fpr"}
        figures = {
            **part["pixel"],
            **{f"image.{name}": value for name, value in part["image"].items()},
            **{f"pooled.{name}": part["pixel"]["pooled"][name] for name in ("auc", "average_precision", "best_f1")},
            **part["authentic"],
        }
        for name in ("f1", "iou", "image.auc", "false_positive_area", "pooled.auc", "best_shared_f1"):
            assert figures[name] is not None
        for name, value in figures.items():
            if value is None or name in ("pooled", "best_shared_threshold"):
                continue
            low, high = part["ci95"][name]
            assert low <= value <= high, name
            assert 0 <= low <= high <= 1, name
        pooled = part["pixel"]["pooled"]
        assert pooled["auc_error"] < 0.01
    assert not (tmp_path / "figures.json.state").exists()


def test_the_report_is_one_page_that_fetches_nothing(red_model: Path, many: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "report"
    text = _run("evaluate", red_model, many, "--report", out, "--threads", 2)
    assert f"report: {out / 'report.html'}" in text
    assert {path.name for path in out.iterdir()} == {"report.html", "images.csv", "figures.json"}
    page = (out / "report.html").read_text()
    figures = json.loads((out / "figures.json").read_text())
    assert f"{figures['pixel']['f1']:.3f}" in page
    low, high = figures["ci95"]["false_positive_area"]
    assert f"{low:.3f} – {high:.3f}" in page
    for title in ("Whole images", "Pixels", "Worst tampered images", "Best tampered images", "What the numbers mean"):
        assert f"<h2>{title}</h2>" in page
    # 20 worst and 20 best with three pictures each, 10 authentic ones with two.
    assert page.count("<img ") == page.count("src='data:image/jpeg;base64,") == 20 * 3 + 20 * 3 + 10 * 2
    assert page.count("<svg ") == 9
    links = set(re.findall(r"(?:src|href)=[\"']([^\"']{1,60})", page)) | set(re.findall(r"url\(([^)]*)\)", page))
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)
    assert not re.search(r"<script|<link|@import", page)
    # xmlns is a name, not an address that is asked.
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    ids = re.findall(r"\bid=[\"']([^\"']*)", page)
    assert len(ids) == len(set(ids))
    with (out / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80
    mean = np.mean([float(row["f1"]) for row in rows if row["label"] == "tampered"])
    assert mean == pytest.approx(figures["pixel"]["f1"], abs=1e-15)
    # A second evaluation into the same folder replaces the first.
    _run("evaluate", red_model, many, "--report", out, "--preset", "scaf")
    assert json.loads((out / "figures.json").read_text())["preset"] == "scaf"


def test_a_report_of_very_few_images(red_model: Path, folders: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (folders / "Au" / "b.png").unlink()
    (folders / "Au").rmdir()
    _run("evaluate", red_model, folders, "--report", tmp_path / "one", "--mode", "double")
    page = (tmp_path / "one" / "report.html").read_text()
    assert "nan" not in re.sub(r"base64,[^']*", "", page)


BATCHES = ("--batch-size", 5, "--threads", 2)


@pytest.fixture(scope="module")
def whole(red_model: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "report"
    _run("evaluate", red_model, many, "--report", folder, *BATCHES)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "place", "calls", "done"),
    [
        *(
            pytest.param(signal.SIGKILL, place, calls, done, marks=pytest.mark.torture)
            for place, calls, done in (
                ("boxpromptiml.runtime.localizer:Localizer.probabilities", 1, 0),
                ("boxpromptiml.evaluation.state:RunState.save", 1, 5),
            )
        ),
        (signal.SIGKILL, "boxpromptiml.evaluation.state:RunState.save", 2, 10),
        (signal.SIGINT, "boxpromptiml.evaluation.state:RunState.save", 1, 5),
        (signal.SIGKILL, "PIL.Image:Image.thumbnail", 3, 80),
    ],
)
def test_a_killed_run_goes_on_where_it_stopped_and_ends_in_the_same_digits(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    red_model: Path,
    many: Path,
    whole: Path,
    tmp_path: Path,
    sign: int,
    place: str,
    calls: int,
    done: int,
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "report"
    command = ["evaluate", red_model, many, "--report", out, *BATCHES]
    killed = run_signalled(sign, place, calls, *command)
    assert killed.returncode == (-signal.SIGKILL if sign == signal.SIGKILL else 130)
    assert (out / "state").is_dir()
    assert not (out / "report.html").exists()
    if sign == signal.SIGINT:
        assert "run the same command again to go on where it stopped" in killed.stderr
    seen = _count_images(monkeypatch)
    _run(*command)
    looked_at = sum(seen)
    pictures = 20 * 2 + 10
    # At the least what the last checkpoint covered is not looked at again.
    assert looked_at <= 80 - done + pictures
    if place.startswith("PIL"):
        assert looked_at == pictures
    first, second = (json.loads((folder / "figures.json").read_text()) for folder in (whole, out))
    assert first.pop("seconds") > 0
    assert second.pop("seconds") > 0
    assert first == second
    assert (whole / "images.csv").read_bytes() == (out / "images.csv").read_bytes()
    assert {path.name for path in out.iterdir()} == {"report.html", "images.csv", "figures.json"}


def _count_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from boxpromptiml.runtime import Localizer

    seen: list[int] = []
    original = Localizer.probabilities

    def counted(self: Localizer, batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(Localizer, "probabilities", counted)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("preset", "another preset"),
        ("mode", "another mode"),
        ("model", "another model"),
        ("image", "another data set, or changed files"),
        ("fewer images", "another data set, or changed files"),
        ("batch size", "another batch size"),
    ],
)
def test_the_state_of_another_evaluation_is_refused(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    make_red_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    red_model: Path,
    many: Path,
    tmp_path: Path,
    change: str,
    message: str,
) -> None:
    options = {"--preset": "imdlbenco", "--mode": "origin", "--batch-size": "8", "--json": str(tmp_path / "out.json")}
    model = red_model
    words = [word for pair in options.items() for word in pair]
    many = shutil.copytree(many, tmp_path / "many")
    killed = run_signalled(
        signal.SIGKILL, "boxpromptiml.evaluation.state:RunState.save", 1, "evaluate", model, many, *words
    )
    assert killed.returncode == -signal.SIGKILL
    state = tmp_path / "out.json.state"
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    match change:
        case "preset":
            options["--preset"] = "scaf"
        case "mode":
            options["--mode"] = "double"
        case "model":
            model = make_red_model(tmp_path / "other", 32, 32)
        case "image":
            Image.new("RGB", (40, 30)).save(many / "Tp" / "001.png")
        case "fewer images":
            (many / "Au" / "000.png").unlink()
        case "batch size":
            options["--batch-size"] = "4"
    error = _error(["evaluate", model, many, *(w for pair in options.items() for w in pair)], monkeypatch, capsys)
    assert message in error
    assert str(state) in error
    assert "finish that one, or remove the folder" in error
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "set"], "no such model folder"),
        (["empty", "set"], "no config.json there"),
        (["red", "nowhere"], "nowhere: no such file or folder"),
        (["red", "set", "--split", "test"], "no image is in the split test; it has no splits"),
        (["red", "set", "./set"], "set: given twice, its images would count twice"),
        (["other preprocessing", "set"], "its preprocessing differs from config.json's in height, width"),
        (["red", "unmatched"], "has no mask in unmatched"),
        (["red", "small mask"], "1 file does not fit, the first: small mask/Tp/a.png: its mask"),
        (["red", "lists/missing.jsonl"], "lists/gone.png: no such file, though lists/missing.jsonl lists it"),
        (["red", "lists/no-mask.jsonl"], "lists/gone-mask.png: no such file"),
        (["red", "lists/sizes.jsonl"], "is 64 x 64 pixels, "),
        (["red", "lists/malformed.jsonl"], "1 line does not fit, the first: lists/malformed.jsonl:1: "),
        (["red", "lists/benco.json"], "gone.png"),
        (["red", "set", "--json", "set"], "set: is a folder"),
        (["red", "set", "--json", "file.txt/out.json"], "file.txt: not a folder"),
        (["red", "set", "--report", "r", "--json", "r/report.html"], "r/report.html: is in the way of report.html"),
        (["red", "set", "--report", "r", "--json", "x/../r/images.csv"], "is in the way of images.csv"),
        (["red", "set", "--report", "r", "--json", "r/state/out.json"], "r/state/out.json: is in the way of state"),
        (["red", "set", "--report", "r", "--json", "r"], "r: is in the way of report.html, which is written too"),
        (["red", "set", "--report", "file.txt"], "file.txt: not a folder"),
        (["red", "set", "--report", "strangers"], "report.html: was not written by an evaluation"),
        (["red", "set", "--report", "other-strangers"], "images.csv: was not written by an evaluation"),
        (["red", "set", "--report", "figures of others"], "figures.json: was not written by an evaluation"),
    ],
)
def test_bad_input_is_one_line(
    folders: Path,
    make_red_model: Callable[..., Path],
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = folders.parent
    make_red_model(root / "red")
    make_red_model(root / "other preprocessing")
    config = ModelConfig.load(root / "red")
    spec = config.preprocessing.model_copy(update={"height": 96, "width": 96})
    config.model_copy(update={"preprocessing": spec}).save(root / "other preprocessing")
    (root / "empty").mkdir()
    (root / "file.txt").touch()
    guarded = {"strangers": "report.html", "other-strangers": "images.csv", "figures of others": "figures.json"}
    for name, file in guarded.items():
        (root / name).mkdir()
        (root / name / file).write_text("mine")
    for name in ("unmatched", "small mask"):
        for part in ("Tp", "Gt"):
            (root / name / part).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(root / name / "Tp" / "a.png")
    Image.new("L", (64, 64)).save(root / "unmatched" / "Gt" / "other.png")
    Image.new("L", (32, 32)).save(root / "small mask" / "Gt" / "a.png")
    (root / "lists").mkdir()
    tampered = {"label": "tampered", "width": 64, "height": 64}
    lists = {
        "missing": tampered | {"image": "gone.png", "mask": "../set/Gt/a.png"},
        "no-mask": tampered | {"image": "../set/Tp/a.png", "mask": "gone-mask.png"},
        "sizes": tampered | {"image": "../set/Tp/a.png", "mask": "../set/Gt/a.png", "width": 32, "height": 32},
        "malformed": {"label": "tampered"},
    }
    for name, line in lists.items():
        (root / "lists" / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    (root / "lists" / "benco.json").write_text(json.dumps([["gone.png", "Negative"]]))
    monkeypatch.chdir(root)
    error = _error(["evaluate", *arguments], monkeypatch, capsys)
    assert message in error
    assert "boxpromptiml-" not in error  # no temporary folder


@pytest.mark.parametrize("verb", [["evaluate"], ["robustness", "--out", "out"]])
@pytest.mark.parametrize(
    ("source", "problem", "remedy"),
    [
        ("empty", "empty: no images in it; give a folder with Tp/", "import empty -o DATASET --format FORMAT"),
        ("coco.json", "a.png: images[0]", "import coco.json -o DATASET --images FOLDER"),
        ("yolo", "yolo: holds a.txt, which looks like labels", "import yolo -o DATASET --format yolo"),
        ("coco", "coco: holds boxes.json, annotations of the format coco", "give coco/boxes.json"),
    ],
)
def test_options_that_only_an_import_has_are_those_of_an_import(
    folders: Path,
    make_red_model: Callable[..., Path],
    verb: list[str],
    source: str,
    problem: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The readers of foreign data sets speak of --format and --images, which an evaluation has not."""
    monkeypatch.chdir(folders.parent)
    make_red_model(Path("red"))
    for name in ("empty", "yolo", "coco"):
        Path(name).mkdir()
    annotated = {"id": 1, "file_name": "a.png", "width": 64, "height": 64}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 32, 64]}
    coco = {"images": [annotated], "annotations": [box], "categories": [{"id": 1, "name": "tampered"}]}
    Path("coco.json").write_text(json.dumps(coco))
    Path("coco", "boxes.json").write_text(json.dumps(coco))
    for name in ("yolo", "coco"):
        shutil.copy("set/Tp/a.png", f"{name}/a.png")
    Path("yolo", "a.txt").write_text("0 .5 .5 .2 .2\n")

    error = _error([*verb, "red", source], monkeypatch, capsys).rstrip()

    assert problem in error
    assert error.endswith(f"import it first:  boxpromptiml {remedy}" if remedy.startswith("import") else remedy)
    assert "--images which" not in error
    assert "name the format" not in error


def test_other_formats_are_evaluated_where_they_say_which_pixels_are_tampered(
    red_model: Path, folders: Path, tmp_path: Path
) -> None:
    """COCO with polygons, as any format that an import can tell by itself."""
    image = {"id": 1, "file_name": "set/Tp/a.png", "width": 64, "height": 64}
    left_half = [[0, 0, 32, 0, 32, 64, 4, 64, 0, 60]]  # without a corner: a rectangle would be a box
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 32, 64], "segmentation": left_half}
    coco = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "tampered"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))

    _run("evaluate", red_model, tmp_path / "coco.json", "--json", tmp_path / "figures.json")

    assert json.loads((tmp_path / "figures.json").read_text())["pixel"]["f1"] == pytest.approx(1, abs=0.01)


def _error(arguments: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["boxpromptiml", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_report_without_matplotlib_says_what_to_install(
    red_model: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report = folders.parent / "report"
    error = _error(["evaluate", red_model, folders, "--report", report], monkeypatch, capsys)
    assert "matplotlib is not installed: run  pip install 'boxpromptiml[report]'" in error
    assert not report.exists()


def test_without_a_place_for_the_state_ctrl_c_says_so(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]], red_model: Path, folders: Path
) -> None:
    place = "boxpromptiml.runtime.localizer:Localizer.probabilities"
    done = run_signalled(signal.SIGINT, place, 1, "evaluate", red_model, folders)
    assert done.returncode == 130
    assert "with --json OUT or --report DIR a run can go on where it stopped" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "f1"], "imdlbenco, scaf"),
        (["--preset", "micro", "--mode", "double"], "micro has origin"),
        (["--split", "dev"], "dev"),
    ],
)
def test_unknown_choices_are_answered_with_the_known_ones(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "red", "set", *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
