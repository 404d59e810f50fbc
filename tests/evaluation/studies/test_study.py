"""Whole studies with real trainings: what they leave, what they refuse, and that nothing is computed twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boxpromptiml.cli.main import app
from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError, RecipeError
from boxpromptiml.evaluation.studies import (
    SUPERVISION,
    BoxErrors,
    Measure,
    Variant,
    boxes,
    make_plan,
    preview_study,
    run_study,
)
from boxpromptiml.evaluation.studies.folder import StudyFolder
from boxpromptiml.evaluation.studies.plan import Plan
from boxpromptiml.evaluation.studies.snapshot import snapshot_training
from boxpromptiml.evaluation.studies.study import check_sources
from boxpromptiml.files import sha256_of
from boxpromptiml.training import Recipe

MakeDataset = Callable[..., Path]
pytestmark = pytest.mark.slow


def supervision(recipe_file: Path, *only: str, seeds: tuple[int, ...] = (0,), settings: tuple[str, ...] = ()):
    return make_plan(
        "supervision", SUPERVISION, "mask", seeds=seeds, recipe_file=recipe_file, only=only, settings=settings
    )


def stamps(out: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every model: a run that was computed again has another time."""
    files = sorted(out.glob("runs/*/model/model.safetensors"))
    return {path.parts[-3]: (sha256_of(path), path.stat().st_mtime_ns) for path in files}


def test_a_study_from_start_to_extension(
    make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other, out = make_dataset(), make_dataset("other", images=12), tmp_path / "out"
    plan = supervision(recipe_file, "mask", "label")
    assert preview_study(plan, data, out, Measure()).todo == ("mask-seed0", "label-seed0")
    assert not out.exists()

    report = run_study(plan, data, out, Measure(), jobs=2)
    assert set(report.results) == {"data"}
    assert not report.failures
    assert not report.missing
    raw = json.loads((out / "report.json").read_text())
    assert raw["tests"]["data"]["tampered"] == 4
    rows = {row["name"]: row["figures"]["auc"] for row in raw["tests"]["data"]["variants"]}
    assert rows["mask"]["difference"] is None
    assert rows["label"]["difference"]["value"] == pytest.approx(rows["label"]["value"] - rows["mask"]["value"])
    for name in ("report.md", "report.csv", "report.png"):
        assert (out / name).stat().st_size > 500
    # A run keeps its model and its figures: no states, no cache, no logs for TensorBoard.
    left = {path.name for path in (out / "runs/mask-seed0").rglob("*") if path.is_file()}
    assert {"model.safetensors", "model.onnx", "config.json", "data-imdlbenco-origin.csv"} <= left
    assert not [name for name in left if name.startswith(("state-", "cache-", "events"))]

    # The same again computes nothing; another seed and a test set compute what is new.
    before = stamps(out)
    capsys.readouterr()
    assert run_study(plan, data, out, Measure()).to_json()["tests"] == raw["tests"]
    assert stamps(out) == before
    assert "start" not in capsys.readouterr().err
    more = run_study(supervision(recipe_file, "mask", seeds=(1,)), data, out, Measure((other,)))
    assert {name: value for name, value in stamps(out).items() if name in before} == before
    assert set(stamps(out)) - set(before) == {"mask-seed1"}
    assert sorted(more.results["data"]["mask"]["f1"].per_seed) == [0, 1]
    assert sorted(more.results["other"]["mask"]["f1"].per_seed) == [1]
    assert more.missing == ("label-seed1",)

    # Another study is refused, and changes nothing.
    with pytest.raises(RecipeError, match=r"holds another study \(recipe.epochs was 1 and is now 2\)"):
        run_study(supervision(recipe_file, settings=("epochs=2",)), data, out, Measure())
    with pytest.raises(RecipeError, match="holds a study of other images"):
        run_study(plan, other, out, Measure())
    with pytest.raises(RecipeError, match="study was 'supervision' and is now 'boxes'"):
        run_study(make_plan("boxes", boxes(BoxErrors(), {}), "base", recipe_file=recipe_file), data, out, Measure())
    assert {name: value for name, value in stamps(out).items() if name in before} == before


def test_a_run_that_fails_does_not_take_the_others_along(
    make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every step of the wild one multiplies the weights by 1 - 10 x 10.
    wild = ("epochs=12", "optimizer.lr=10", "optimizer.weight_decay=10", "optimizer.warmup_epochs=0")
    variants = (
        Variant("mask", "true masks", "mask"),
        Variant("wild", "diverges", "mask", wild),
        Variant("barred", "cannot write", "mask", ("student.width=8",)),
    )
    data, out = make_dataset(), tmp_path / "out"
    plan = make_plan("ablation", variants, "mask", seeds=(0,), recipe_file=recipe_file)
    barrier = StudyFolder(out).run("barred-seed0").path / "model"
    barrier.parent.mkdir(parents=True)
    barrier.touch()  # a file where the model's folder should be
    report = run_study(plan, data, out, Measure())
    assert list(report.results["data"]) == ["mask"]
    assert list(report.failures) == ["wild-seed0", "barred-seed0"]
    assert "training diverged" in report.failures["wild-seed0"]
    assert "wild-seed0: training diverged" in (out / "report.md").read_text()
    # What would fail again is not repeated, what may have been mended is.
    barrier.unlink()
    capsys.readouterr()
    report = run_study(plan, data, out, Measure())
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("start")] == ["start barred-seed0"]
    assert list(report.results["data"]) == ["mask", "barred"]
    assert list(report.failures) == ["wild-seed0"]


def test_box_quality_end_to_end(make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path) -> None:
    data, out = make_dataset(), tmp_path / "out"
    before = sha256_of(data / "dataset.db")
    options = {"seed": 0, "teacher": {"name": "box"}}
    variants = boxes(BoxErrors(0, 0), {"loosen": [0.5]})
    plan = make_plan("boxes", variants, "base", yardstick="mask", seeds=(0,), recipe_file=recipe_file, options=options)
    report = run_study(plan, data, out, Measure(), jobs=2)
    assert report.teachers["base"]["iou"]["value"] == pytest.approx(1)
    assert report.teachers["loosen-0.5"]["iou"]["value"] < 0.5
    rows = report.results["data"]
    # Perfect boxes around rectangles are the true masks: the same training, to the last bit.
    assert rows["base"]["auc"].mean == rows["mask"]["auc"].mean
    assert rows["loosen-0.5"]["auc"].mean != rows["mask"]["auc"].mean
    assert (out / "report.png").stat().st_size > 500
    assert sha256_of(data / "dataset.db") == before


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.torture)])
def test_a_killed_study_goes_on_where_it_stopped(
    make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path, run_signalled: Callable[..., object], sign: int
) -> None:
    data, out = make_dataset(), tmp_path / "out"
    arguments = ["study", "supervision", data, "--out", out, "--recipe", recipe_file]
    arguments += ["--seeds", "0", "--only", "mask,box"]
    # Right after the first of the two runs has ended.
    done = run_signalled(sign, "boxpromptiml.evaluation.studies.engine:_Board.finished", 1, *arguments)
    assert done.returncode == (-sign if sign == signal.SIGKILL else 130)
    before = stamps(out)
    assert "mask-seed0" in before
    report = run_study(supervision(recipe_file, "mask", "box"), data, out, Measure())
    assert sorted(report.results["data"]) == ["box", "mask"]
    assert stamps(out)["mask-seed0"] == before["mask-seed0"]


@pytest.mark.torture
def test_a_training_that_was_killed_with_the_study_resumes(
    make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path, run_signalled: Callable[..., object]
) -> None:
    data, out = make_dataset(), tmp_path / "out"
    arguments = ["study", "supervision", data, "--out", out, "--recipe", recipe_file, "--set", "epochs=300"]
    arguments += ["--seeds", "0", "--only", "mask"]
    run = StudyFolder(out).run("mask-seed0")
    # The board is drawn three times a second: by then some of the 300 epochs are done.
    done = run_signalled(signal.SIGKILL, "boxpromptiml.evaluation.studies.folder:RunFolder.epochs", 60, *arguments)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(DatasetError, match="another command works on this study"), StudyFolder(out).locked():
        run_study(supervision(recipe_file, "mask", settings=("epochs=300",)), data, out, Measure())
    run_study(supervision(recipe_file, "mask", settings=("epochs=300",)), data, out, Measure())
    assert run.epochs() == 300
    # Epoch 1 is told once: what was done before the kill was not done again.
    assert run.log.read_text().count("epoch   1/300") == 1
    assert run.log.read_text().count("images to train on") == 2


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda out: out.write_text("x"), "not a folder; choose another --out"),
        (lambda out: (out / "thesis").mkdir(parents=True), r"not a study \(it holds thesis\)"),
    ],
)
def test_a_folder_that_holds_something_else_is_left_alone(
    make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(tmp_path / "out")
    with pytest.raises(DatasetError, match=message):
        run_study(supervision(recipe_file, "mask"), make_dataset(), tmp_path / "out", Measure())


@pytest.mark.parametrize(
    ("splits", "options"),
    [
        (("train", "val"), ["--within", "train", "--val", "0", "--test", "0.2"]),
        ((None, "val"), ["--only-unassigned", "--val", "0", "--test", "0.2"]),
        ((None, None), ["--test", "0.2"]),
    ],
)
def test_without_test_images_it_says_the_command_that_makes_some(
    make_dataset: MakeDataset, splits: tuple[str | None, ...], options: list[str]
) -> None:
    data = make_dataset(test=False)
    with Dataset.open(data) as dataset:
        dataset.put([replace(r, split=splits[i % 2], group=None) for i, r in enumerate(list(dataset.records()))])
        val = {record.image for record in dataset.records(split="val")}
    with pytest.raises(DatasetError, match="make one with  boxpromptiml split ") as caught:
        check_sources(data, ())
    arguments = str(caught.value).partition("with  boxpromptiml ")[2].partition(",")[0].split()
    assert arguments == ["split", str(data), *options]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    check_sources(data, ())
    with Dataset.open(data) as dataset:
        assert val <= {record.image for record in dataset.records(split="val")}


def test_a_box_study_that_an_earlier_version_began_is_not_mixed_with_another_draw(
    make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path
) -> None:
    """It chose the epoch by other images where boxes were missing and the dataset has no val split."""
    options = {"seed": 0, "teacher": {"name": "box"}}

    def plan(**levels: list[float]) -> Plan:
        variants = boxes(BoxErrors(0, 0), levels)
        return make_plan("boxes", variants, "base", yardstick="mask", recipe_file=recipe_file, options=options)

    for name, splits, levels, refused in (
        ("drawn", False, {"missing": [0.5]}, True),
        ("split", True, {"missing": [0.5]}, False),
        ("complete", False, {"loosen": [0.5]}, False),
    ):
        data, folder = make_dataset(name), StudyFolder(tmp_path / f"{name}-study")
        if not splits:
            with Dataset.open(data) as dataset:
                dataset.put([replace(r, split="train") for r in dataset.records(split="val")])
        train = snapshot_training(folder.dataset("train"), data, Recipe(), ["mask"])
        folder.write(plan(**levels), train, {})
        folder.agree(plan(**levels))
        stored = json.loads((folder.path / "study.json").read_text())
        assert stored.pop("held_out") == "by true labels"
        (folder.path / "study.json").write_text(json.dumps(stored))
        if not refused:
            folder.agree(plan(**levels))
            continue
        with pytest.raises(RecipeError, match=r"an earlier version chose epochs .*; choose another --out") as caught:
            folder.agree(plan(**levels))
        assert "\n" not in str(caught.value)


def test_paths_are_checked_first(make_dataset: MakeDataset, recipe_file: Path, tmp_path: Path) -> None:
    plan, out = supervision(recipe_file, "mask"), tmp_path / "out"
    with pytest.raises(DatasetError, match="no image is in the test split"):
        run_study(plan, make_dataset("untested", test=False), out, Measure())
    with pytest.raises(DatasetError, match="no such test set; check --test"):
        run_study(plan, make_dataset(), out, Measure((tmp_path / "nowhere",)))
    assert not out.exists()
