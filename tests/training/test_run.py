"""Whole runs on the CPU: what they leave behind, and that an interrupted one ends where an uninterrupted one does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from boxpromptiml.cli.main import app
from boxpromptiml.dataset import Dataset, PseudoMask
from boxpromptiml.errors import BoxPromptError, DatasetError, ModelError, RecipeError
from boxpromptiml.training import Recipe, Supervision, dump_recipe, load_recipe
from boxpromptiml.training.processes import DivergenceError, RunError
from boxpromptiml.training.run import train
from boxpromptiml.training.state import StateFolder
from boxpromptiml.training.summary import TrainingSummary

MakeRecipe = Callable[..., Recipe]
MakeDataset = Callable[..., Path]
InterruptedAfter = Callable[[int], contextlib.AbstractContextManager[None]]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def log(run: Path) -> list[list[str]]:
    """Rows of the log without the columns that hold times and memory."""
    rows = [line.split(",") for line in (run / "logs/metrics.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name.startswith(("epoch", "train", "val", "lr", "images"))]
    return [[row[i] for i in kept if rows[0][i] != "images_per_second"] for row in rows]


def assert_same(run: Path, other: Path) -> None:
    assert log(run) == log(other)
    ours, theirs = weights(run), weights(other)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_run_leaves_a_model_and_its_story(make_dataset: MakeDataset, recipe: Recipe, tmp_path: Path) -> None:
    from boxpromptiml.student import load_checkpoint

    dataset, run = make_dataset(), tmp_path / "run"
    summary = train(dataset, run, recipe)

    _, config = load_checkpoint(run)
    assert config.trained_on.datasets == [str(dataset)]
    assert config.trained_on.supervision == "pseudo"
    assert config.trained_on.teacher == "grabcut"
    assert config.trained_on.images == 12
    assert config.trained_on.validation == summary.validation
    assert Recipe.model_validate(config.trained_on.recipe) == recipe
    assert load_recipe(run / "recipe.yaml") == recipe

    assert {"val_f1", "val_iou", "val_loss", "val_false_area"} == set(summary.validation)
    assert (summary.images["train_tampered"], summary.images["train_authentic"]) == (8, 4)
    assert 0 <= summary.data_wait_share < 1
    assert summary.images_per_second > 0
    assert TrainingSummary.load(run) == summary

    assert len(log(run)) == 3
    for name in ("curves.png", "samples.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    assert list((run / "logs/tensorboard").glob("events.*"))
    # What only an unfinished run needs is gone.
    assert sorted(path.name for path in (run / "state").iterdir()) == ["images.tsv", "run.json"]


def test_a_student_learns(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=25, optimizer__lr=0.01)
    summary = train(make_dataset(images=24, val=6), tmp_path / "run", recipe, supervision="mask")
    assert summary.validation["val_f1"] > 0.7


@pytest.mark.parametrize("supervision", ["mask", "box", "label"])
def test_other_supervisions(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, supervision: str
) -> None:
    summary = train(make_dataset(), tmp_path / "run", make_recipe(epochs=1), supervision=supervision)  # type: ignore[arg-type]
    assert summary.supervision == supervision


def test_several_datasets(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    datasets = [make_dataset("a"), make_dataset("b", seed=1)]
    summary = train(datasets, tmp_path / "run", make_recipe(epochs=1))
    assert summary.images["train_tampered"] == 16


def test_without_validation_the_last_epoch_is_kept(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    summary = train(make_dataset(), tmp_path / "run", make_recipe(validation__fraction=0))
    assert summary.best_epoch == 2
    assert summary.validation == {}


def test_a_run_without_better_epochs_ends(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    interrupted_after: InterruptedAfter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset, recipe = make_dataset(), make_recipe(epochs=40, validation__patience=2, optimizer__lr=0.02)
    summary = train(dataset, tmp_path / "run", recipe)
    assert summary.epochs == summary.best_epoch + 2 < 40
    assert "no better epoch in the last 2, so the run ends here" in capsys.readouterr().err
    assert len(log(tmp_path / "run")) == 1 + summary.epochs
    # Patience may be lost on the way: the last state says that the run is over.
    endless = make_recipe(epochs=40, optimizer__lr=0.02)
    with interrupted_after(3 * summary.epochs):
        train(dataset, tmp_path / "stopped", endless)
    resumed = train(dataset, tmp_path / "stopped", recipe, resume=True)
    assert (resumed.epochs, resumed.best_epoch) == (summary.epochs, summary.best_epoch)
    assert_same(tmp_path / "stopped", tmp_path / "run")


@pytest.mark.parametrize("interrupted", [False, True])
def test_signals_are_given_back(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    interrupted_after: InterruptedAfter,
    interrupted: bool,
) -> None:
    """The program that trained can be stopped as before, and so can the processes that it forks."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupted_after(1) if interrupted else contextlib.nullcontext():
        train(make_dataset(), tmp_path / "run", make_recipe(epochs=1))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


RESUMES = [
    pytest.param(2, {}, id="mid-epoch"),
    pytest.param(3, {}, id="end-of-epoch"),
    pytest.param(5, {}, id="mid-second-epoch"),
    pytest.param(1, {"data__workers": 1}, id="with-worker"),
    pytest.param(1, {"optimizer__accumulate": 2}, id="accumulation-window"),
    pytest.param(2, {"optimizer__ema_decay": 0.9}, id="moving-average"),
    pytest.param(2, {"augmentation__colour": 1.0, "augmentation__crop": 1.0}, id="augmentation"),
]


@pytest.mark.parametrize(("batches", "changes"), RESUMES)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    interrupted_after: InterruptedAfter,
    batches: int,
    changes: dict[str, object],
) -> None:
    dataset, recipe = make_dataset(), make_recipe(epochs=3, **changes)
    train(dataset, tmp_path / "whole", recipe)
    with interrupted_after(batches):
        train(dataset, tmp_path / "broken", recipe)
    train(dataset, tmp_path / "broken", resume=True)
    assert_same(tmp_path / "broken", tmp_path / "whole")


def test_the_last_epoch_is_kept_where_that_is_asked_for(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    dataset = make_dataset()
    # A learning rate that does harm in the end, so that the best epoch is not the last one.
    harmful = {"epochs": 4, "optimizer__lr": 0.5, "optimizer__warmup_epochs": 4.0}
    best = train(dataset, tmp_path / "best", make_recipe(**harmful))
    last = train(dataset, tmp_path / "last", make_recipe(**harmful, validation__keep="last"))
    assert best.best_epoch < last.best_epoch == 4
    kept, chosen = (load_file(tmp_path / name / "model.safetensors") for name in ("last", "best"))
    assert any(not torch.equal(kept[name], chosen[name]) for name in kept)


def test_resume_starts_what_never_began_and_ends_what_is_complete(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    dataset, run = make_dataset(), tmp_path / "run"
    first = train(dataset, run, make_recipe(epochs=1), resume=True)
    before = (run / "model.safetensors").stat().st_mtime_ns
    assert train(dataset, run, resume=True) == first
    assert (run / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("resume", [False, True])
def test_killed_before_it_began_it_is_not_in_the_way(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, resume: bool
) -> None:
    state = tmp_path / "run" / "state"
    state.mkdir(parents=True)
    for name in ("images.tsv", ".images-0123456789abcdef.tsv"):  # what is written before the run's identity
        (state / name).write_text("train\t0123\thalf a na")
    train(make_dataset(), tmp_path / "run", make_recipe(epochs=1), resume=resume)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert sorted(path.name for path in state.iterdir()) == ["images.tsv", "run.json"]
    assert "half a na" not in (state / "images.tsv").read_text()


def test_patience_needs_images_to_wait_for(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(validation__fraction=0, validation__patience=1)
    with pytest.raises(RecipeError, match=r"validation\.patience waits for better validation figures"):
        train(make_dataset(val=0), tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_a_damaged_state_is_passed_over(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    interrupted_after: InterruptedAfter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset, recipe = make_dataset(), make_recipe(epochs=3)
    train(dataset, tmp_path / "whole", recipe)
    run = tmp_path / "broken"
    with interrupted_after(5):
        train(dataset, run, recipe)
    newest = max((run / "state").glob("state-*.pt"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 255
    newest.write_bytes(data)
    train(dataset, run, resume=True)
    assert f"{newest}: damaged" in capsys.readouterr().err
    assert_same(run, tmp_path / "whole")


def test_states_that_are_all_damaged(tmp_path: Path) -> None:
    states = StateFolder(tmp_path)
    states.save({"step": 1}, 1).write_bytes(b"no zip")
    with pytest.raises(RecipeError, match="damaged"):
        states.latest()


def test_resume_refuses_another_recipe_or_dataset(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, interrupted_after: InterruptedAfter
) -> None:
    dataset, run = make_dataset(), tmp_path / "run"
    with interrupted_after(1):
        train(dataset, run, make_recipe())
    with pytest.raises(RecipeError, match=r"optimizer.lr was 0.003 and is now 0.5"):
        train(dataset, run, make_recipe(optimizer__lr=0.5), resume=True)
    with pytest.raises(RecipeError, match="supervision was 'pseudo' and is now 'box'"):
        train(dataset, run, make_recipe(), supervision="box", resume=True)
    with pytest.raises(RecipeError, match="training images was 12 and is now 10"):
        train(make_dataset("other", images=10), run, make_recipe(), resume=True)
    with Dataset.open(dataset) as opened:
        opened.set_pseudo("images/00.png", PseudoMask("pseudo/01.png", "sam"))
    with pytest.raises(RecipeError, match=r"the dataset has changed: images/00.png"):
        train(dataset, run, make_recipe(), resume=True)


def test_a_run_of_a_version_with_fewer_settings_goes_on(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, interrupted_after: InterruptedAfter
) -> None:
    dataset, run = make_dataset(), tmp_path / "run"
    with interrupted_after(1):
        train(dataset, run, make_recipe())
    path = run / "state/run.json"
    stored = json.loads(path.read_text())
    del stored["recipe"]["loss"]["top_fraction"]
    path.write_text(json.dumps(stored))
    with pytest.raises(RecipeError, match=r"loss.top_fraction was 0.05 and is now 0.5"):
        train(dataset, run, make_recipe(loss__top_fraction=0.5), resume=True)
    assert train(dataset, run, make_recipe(), resume=True).epochs == 2


def test_a_used_folder_is_refused(make_dataset: MakeDataset, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/state").write_text("important")
    with pytest.raises(RecipeError, match="not empty; choose another folder"):
        train(make_dataset(), tmp_path / "run", recipe)
    with pytest.raises(RecipeError, match="nothing to resume"):
        train(make_dataset("b"), tmp_path / "run", recipe, resume=True)
    train(make_dataset("c"), tmp_path / "fresh", recipe)
    with pytest.raises(RecipeError, match="add --resume"):
        train(make_dataset("d"), tmp_path / "fresh", recipe)


def test_divergence_names_the_place_and_the_remedy(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(optimizer__lr=10.0, optimizer__warmup_epochs=0, optimizer__clip_norm=0, epochs=50)
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": 1e20})})
    with pytest.raises(DivergenceError, match=r"in epoch \d+, step \d+; lower optimizer.lr \(now 1e\+20\)"):
        train(make_dataset(), tmp_path / "run", recipe)


@pytest.mark.parametrize(("image", "workers"), [("images/03.png", 0), ("images/03.png", 1), ("images/13.png", 0)])
def test_a_broken_image_is_named(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, image: str, workers: int
) -> None:
    """In training as in validation, which the last one belongs to."""
    dataset = make_dataset()
    damage(dataset / image)
    with pytest.raises(RunError, match=f"{image}: damaged") as caught:
        train(dataset, tmp_path / "run", make_recipe(data__workers=workers))
    assert "\n" not in str(caught.value)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("limit", "kind", "said"),
    [
        (2_000_000, BoxPromptError, r"state-000000001.pt: the state cannot be written .* make room"),
        (50_000, OSError, None),
    ],
)
def test_a_full_disk_ends_a_run_that_can_go_on(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    limit: int,
    kind: type[Exception],
    said: str | None,
) -> None:
    """Files that may not grow fail as those on a full disk do: a state, or the weights of the best epoch."""
    resource = pytest.importorskip("resource")
    recipe = make_recipe(state__every_steps=1 if limit > 10**6 else 0)
    dataset, run = make_dataset(), tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(kind, match=said):
            train(dataset, run, recipe)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(run.glob(".*")) + list((run / "state").glob("*.pt"))
    train(dataset, run, recipe, resume=True)
    train(dataset, tmp_path / "whole", recipe)
    assert_same(run, tmp_path / "whole")


def test_a_missing_dataset(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(DatasetError):
        train(tmp_path / "nowhere", tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_a_run_that_never_began_leaves_nothing_behind(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"none")
    with pytest.raises(ModelError):
        train(make_dataset(images=8), tmp_path / "run", make_recipe(epochs=1, pretrained=str(weights)))
    assert not (tmp_path / "run").exists()


def run_command(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "boxpromptiml.cli.main", "train", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err


@pytest.mark.slow
def test_a_run_killed_in_mid_epoch_ends_where_an_uninterrupted_one_does(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
) -> None:
    recipe = make_recipe(epochs=4, data__workers=1, state__every_steps=1, state__keep=3)
    dataset, run, file = make_dataset(images=24), tmp_path / "killed", tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    train(dataset, tmp_path / "whole", recipe)

    # Killed in the second epoch, behind its first steps: 6 steps an epoch, a state after each.
    place = "boxpromptiml.training.state:StateFolder.save"
    killed = run_signalled(signal.SIGKILL, place, 8, "train", dataset, "-o", run, "--recipe", file)
    assert killed.returncode == -signal.SIGKILL
    assert not (run / "summary.json").exists()

    done = CliRunner().invoke(app, ["train", str(dataset), "-o", str(run), "--resume", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["epochs"] == 4
    assert (run / "model.onnx").is_file()
    assert_same(run, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "workers", "code"), [(signal.SIGINT, 0, 130), (-signal.SIGTERM, 1, 143)])
def test_an_interrupted_run_says_once_how_to_go_on(
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    sign: int,
    workers: int,
    code: int,
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(make_recipe(epochs=4, state__every_steps=1, data__workers=workers)))
    place, run = "boxpromptiml.training.state:StateFolder.save", tmp_path / "run"
    stopped = run_signalled(sign, place, 2, "train", make_dataset(images=16), "-o", run, "--recipe", file)
    assert stopped.returncode == code, stopped.stderr
    lines = [line for line in stopped.stderr.splitlines() if "interrupted" in line]
    assert lines == [f"interrupted, the state is saved in {run}; go on with the same command and --resume"]


@pytest.mark.slow
@pytest.mark.parametrize("supervision", ["pseudo", pytest.param("label", marks=pytest.mark.torture)])
def test_two_processes_share_the_images(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    train_in_two: Callable[..., None],
    tmp_path: Path,
    supervision: Supervision,
) -> None:
    # 13 validation images: the shares differ in size, the figures must not.
    recipe = make_recipe(epochs=2, data__batch_size=2, optimizer__clip_norm=0)
    dataset, run, file = make_dataset(images=16, val=13), tmp_path / "run", tmp_path / "recipe.yaml"
    if supervision == "pseudo":
        file.write_text(dump_recipe(recipe))
        finished(run_command(dataset, "-o", run, "--recipe", file, "--devices", 2))
    else:
        train_in_two(dataset, run, recipe, supervision)

    rows = (run / "logs/metrics.csv").read_text().splitlines()
    first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert first["images"] == "16"
    summary = TrainingSummary.load(run)
    assert summary is not None
    assert summary.supervision == supervision

    # The figures of the chosen epoch, from its weights in one process.
    from boxpromptiml.training.module import StudentTraining

    assert figures_of(StudentTraining, run, dataset, recipe, supervision) == pytest.approx(summary.validation, abs=1e-6)


@pytest.mark.torture
def test_two_processes_lose_patience_together(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, train_in_two: Callable[..., None], tmp_path: Path
) -> None:
    recipe = make_recipe(epochs=40, data__batch_size=2, validation__patience=1, optimizer__lr=0.02)
    train_in_two(make_dataset(images=16), tmp_path / "run", recipe)
    summary = TrainingSummary.load(tmp_path / "run")
    assert summary is not None
    assert summary.epochs == summary.best_epoch + 1 < 40


@pytest.mark.torture
def test_two_processes_resume(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=3, data__batch_size=2, state__every_steps=1)
    dataset, file = make_dataset(images=24), tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    options = ("--recipe", file, "--devices", 2)
    finished(run_command(dataset, "-o", tmp_path / "whole", *options))

    run = tmp_path / "broken"
    process = run_command(dataset, "-o", run, *options)
    deadline = time.monotonic() + 120
    while not any(int(p.stem[-9:]) >= 8 for p in (run / "state").glob("state-*.pt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)  # of one process: both stop
    process.communicate(timeout=120)
    assert process.returncode == 130

    finished(run_command(dataset, "-o", run, *options, "--resume"))
    assert_same(run, tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_end_together(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """An image that only one process meets must not leave the other one waiting, nor print its traceback."""
    dataset, file = make_dataset(images=16), tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(make_recipe(data__batch_size=2)))
    damage(dataset / "images/05.png")
    process = run_command(dataset, "-o", tmp_path / "run", "--recipe", file, "--devices", 2)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "images/05.png: damaged" in err
    assert "Traceback" not in err


def figures_of(kind: type, run: Path, dataset: Path, recipe: Recipe, supervision: Supervision) -> dict[str, float]:
    from boxpromptiml.student import load_checkpoint
    from boxpromptiml.training.items import ValidationImages, collate
    from boxpromptiml.training.samples import gather_samples

    images = ValidationImages(gather_samples([dataset], recipe, supervision).val, recipe.input)
    module = kind(load_checkpoint(run)[0], recipe, 1, False, supervision).eval()
    with torch.no_grad():
        for i in range(len(images)):
            module.validation_step(collate([images[i]]), i)
    figures: dict[str, float] = module.validation.figures()
    return figures


@pytest.mark.slow
def test_a_student_of_images_at_their_own_size_is_trained_exported_and_evaluated_alike(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Native windows, evidence, image loss: from the dataset to the map that deployment makes."""
    from boxpromptiml.evaluation import evaluate
    from boxpromptiml.export import export_onnx
    from boxpromptiml.images import open_image
    from boxpromptiml.runtime import Localizer
    from boxpromptiml.student import load_checkpoint

    folder = make_dataset()
    recipe = make_recipe(
        epochs=6,
        input__fit="native",
        input__height=64,
        input__width=64,
        student__evidence=["residual", "dct"],
        student__evidence_width=8,
        augmentation__zoom=0.3,
        loss__image=0.5,
        loss__dice=1.0,
    )
    train([folder], tmp_path / "run", recipe)
    export_onnx(tmp_path / "run")
    localizer = Localizer.load(tmp_path / "run")
    result = evaluate(localizer, folder, split="val")
    assert result.figures.pixel.auc > 0.9

    student, config = load_checkpoint(tmp_path / "run")
    image = open_image(folder / "images/00.png")[:45]
    found = localizer.localize(image)
    assert found.map.shape == found.mask.shape == (45, 64)
    fed = config.preprocessing.feed(image)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (config.preprocessing.mean, config.preprocessing.std))
    with torch.no_grad():
        expected = student((torch.from_numpy(fed.pixels)[None].float() - mean) / std).sigmoid()[0, 0, :45]
    assert np.abs(expected.numpy() - found.map).max() < 1e-4


def test_labels_alone_need_whole_images(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(input__fit="native", input__height=64, input__width=64)
    with pytest.raises(RecipeError, match="fit to stretch"):
        train([make_dataset()], tmp_path / "run", recipe, supervision="label")
