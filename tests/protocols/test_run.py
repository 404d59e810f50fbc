"""A whole protocol: sets to table, killed and resumed, with a model of one's own, and everything that is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")
pytest.importorskip("cv2")

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError, ModelError, TeacherError
from boxpromptiml.evaluation import evaluate
from boxpromptiml.formats import RejectedError
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.protocols import Protocol, find_sets, load_protocol
from boxpromptiml.protocols import run as run_module
from boxpromptiml.protocols.journal import Journal
from boxpromptiml.protocols.model import SetSpec
from boxpromptiml.protocols.preparation import prepare_set
from boxpromptiml.protocols.results import ProtocolResults
from boxpromptiml.protocols.run import run_protocol
from boxpromptiml.protocols.settings import RunSettings
from boxpromptiml.training import load_recipe

RECIPE = (
    "epochs=1",
    "student.backbone=mobilenetv3_small_050",
    "student.width=16",
    "student.memory_size=4",
    "input.height=64",
    "input.width=64",
    "data.batch_size=4",
    "data.workers=0",
    "state.every_steps=1",
)


def protocol_of(root: Path, path: Path, **changes: Any) -> tuple[Protocol, dict[str, Path | None]]:
    raw = json.loads(path.read_text()) | changes
    protocol = Protocol.model_validate(raw)
    return protocol, find_sets(protocol, root)


@pytest.fixture(autouse=True)
def facts_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where hashes are kept, instead of the user's cache."""
    path = tmp_path / "facts.db"
    monkeypatch.setattr("boxpromptiml.protocols.run.default_cache", lambda: path)
    return path


def quiet(_: str) -> None:
    pass


def evaluate_red(root: Path, file: Path, out: Path, model: Path, **settings: Any) -> ProtocolResults:
    protocol, places = protocol_of(root, file)
    results = run_protocol(protocol, places, out, RunSettings(model=model, threads=1, **settings), quiet)
    assert results is not None
    return results


def test_a_given_model_is_evaluated_on_the_test_sets(
    root: Path, protocol_file: Path, red_model: Path, tmp_path: Path
) -> None:
    results = evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    assert [(item.name, item.images) for item in results.sets] == [("beta", 4), ("gamma", 4)]
    for item in results.sets:
        assert item.f1 is not None
        assert item.interval is not None
        assert item.f1 > 0.9  # what was pasted is red
        assert item.interval[0] <= item.f1 <= item.interval[1]
    assert results.comparable
    assert not (tmp_path / "out" / "datasets" / "alpha").exists()  # nothing is trained
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written == json.loads(json.dumps(results.to_json()))
    assert "Somebody" in (tmp_path / "out" / "results.md").read_text()


def test_a_second_call_evaluates_nothing_again(
    root: Path, protocol_file: Path, red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    monkeypatch.setattr("boxpromptiml.protocols.run.evaluate", None)
    assert evaluate_red(root, protocol_file, tmp_path / "out", red_model).to_json() == first.to_json()


def test_the_preset_is_the_protocols(root: Path, protocol_file: Path, red_model: Path, tmp_path: Path) -> None:
    protocol, places = protocol_of(root, protocol_file, preset="scaf")
    results = run_protocol(protocol, places, tmp_path / "out", RunSettings(model=red_model, threads=1), quiet)
    assert results is not None
    assert {item.figures["preset"] for item in results.sets if item.figures} == {"scaf"}


def test_missing_sets(root: Path, protocol_file: Path, red_model: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "gamma")
    with pytest.raises(DatasetError, match=r"protocol tiny: 1 of 2 sets are missing \(gamma\).*--allow-missing"):
        evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    assert not (tmp_path / "out").exists()
    results = evaluate_red(root, protocol_file, tmp_path / "out", red_model, allow_missing=True)
    assert results.remarks == ("the set gamma is missing",)
    assert results.f1("gamma") is None
    assert results.average(("beta", "gamma")) is None
    shutil.rmtree(root / "beta")
    with pytest.raises(DatasetError, match="none of its test sets is there"):
        evaluate_red(root, protocol_file, tmp_path / "other", red_model, allow_missing=True)


def test_a_set_that_comes_later_joins_the_run(root: Path, protocol_file: Path, red_model: Path, tmp_path: Path) -> None:
    (root / "gamma").rename(tmp_path / "gamma")
    evaluate_red(root, protocol_file, tmp_path / "out", red_model, allow_missing=True)
    (tmp_path / "gamma").rename(root / "gamma")
    assert evaluate_red(root, protocol_file, tmp_path / "out", red_model).comparable


def test_another_count_is_told(root: Path, protocol_file: Path, red_model: Path, tmp_path: Path) -> None:
    for part in ("Tp", "Gt"):
        (root / "beta" / part / "0.png").unlink()
    results = evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    assert results.remarks == ("beta has 3 tampered images, expected 4",)


@pytest.mark.parametrize("use", ["tampered", "all"])
def test_authentic_images_are_used_where_the_protocol_says_so(
    root: Path,
    protocol_file: Path,
    red_model: Path,
    tmp_path: Path,
    write_authentic: Callable[[Path, int], None],
    use: str,
) -> None:
    write_authentic(root / "beta", 3)
    sets = json.loads(protocol_file.read_text())["sets"]
    sets[1]["use"] = use
    protocol, places = protocol_of(root, protocol_file, sets=sets)
    results = run_protocol(protocol, places, tmp_path / "out", RunSettings(model=red_model, threads=1), quiet)
    assert results is not None
    assert results.sets[0].figures is not None
    assert results.sets[0].figures["n_authentic"] == (3 if use == "all" else 0)


def test_masks_that_do_not_fit(root: Path, protocol_file: Path, red_model: Path, tmp_path: Path) -> None:
    mask = root / "gamma" / "Gt" / "1.png"
    Image.open(mask).resize((48, 36)).save(mask)
    out = tmp_path / "out"
    with pytest.raises(RejectedError, match="--on-mismatch"):
        evaluate_red(root, protocol_file, out, red_model)
    # The same folder goes on: what was imported before fits whatever is done about misfits.
    results = evaluate_red(root, protocol_file, out, red_model, on_mismatch="resize")
    assert results.remarks == ("gamma: 1 masks were mended",)
    with pytest.raises(DatasetError, match="gamma: was imported with --on-mismatch resize"):
        evaluate_red(root, protocol_file, out, red_model, on_mismatch="skip")


def test_a_set_that_changed_meanwhile_is_refused(
    root: Path, protocol_file: Path, red_model: Path, tmp_path: Path
) -> None:
    evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    image = root / "beta" / "Tp" / "0.png"
    Image.fromarray(np.array(Image.open(image))[::-1]).save(image)
    os.utime(image, (1, 1))
    with pytest.raises(DatasetError, match="its files have changed since this run imported them"):
        evaluate_red(root, protocol_file, tmp_path / "out", red_model)


def test_another_model_is_refused(
    root: Path, protocol_file: Path, red_model: Path, make_red_model: Callable[..., Path], tmp_path: Path
) -> None:
    evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    other = make_red_model(tmp_path / "other", height=32, width=32)
    with pytest.raises(DatasetError, match=r"cannot go on, model was .* and is now"):
        evaluate_red(root, protocol_file, tmp_path / "out", other)
    protocol, places = protocol_of(root, protocol_file)
    with pytest.raises(DatasetError, match=r"cannot go on, .* was .* and is now"):
        run_protocol(protocol, places, tmp_path / "out", RunSettings(supervision="mask"), quiet)


def test_another_rule_of_decision_is_evaluated_anew(
    root: Path, protocol_file: Path, make_red_model: Callable[..., Path], tmp_path: Path
) -> None:
    """A threshold, which is no part of the model's id, is part of what figures come from."""
    model = make_red_model(tmp_path / "model")
    first = evaluate_red(root, protocol_file, tmp_path / "out", model)
    config = ModelConfig.load(model)
    config.model_copy(update={"decision": config.decision.model_copy(update={"threshold": 0.999999})}).save(model)
    second = evaluate_red(root, protocol_file, tmp_path / "out", model)
    thresholds = [r.sets[0].figures["image_threshold"] for r in (first, second) if r.sets[0].figures is not None]
    assert thresholds == [0.5, 0.999999]


def test_another_version_evaluates_anew(
    root: Path, protocol_file: Path, red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    calls = []
    monkeypatch.setattr(run_module, "evaluate", lambda *args, **kw: (calls.append(1), evaluate(*args, **kw))[1])
    monkeypatch.setattr(run_module, "__version__", "99")
    evaluate_red(root, protocol_file, tmp_path / "out", red_model)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use": "all"}, r"use of beta was tampered and is now all in the protocol"),
        ({"role": "train"}, r"role of beta was test and is now train in the protocol"),
    ],
)
def test_a_set_that_is_put_to_another_use_is_refused(
    root: Path, protocol_file: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    """A set that was imported as one thing is not quietly gone on with as another."""
    sets = json.loads(protocol_file.read_text())["sets"]
    journal = Journal(tmp_path / "out", {})
    then, now = (SetSpec.model_validate(sets[1] | more) for more in ({}, change))
    how: Any = {"on_mismatch": "error", "per_set": None, "seed": 0}
    prepared = prepare_set(journal, then, root / "beta", **how)
    assert prepare_set(journal, then, root / "beta", **how) == prepared
    with pytest.raises(DatasetError, match=f"cannot go on, {message}"):
        prepare_set(journal, now, root / "beta", **how)


def test_options_of_the_training_have_no_place_beside_a_model(
    root: Path, protocol_file: Path, red_model: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(None, ["epochs=1"])
    with pytest.raises(DatasetError, match=r"trains nothing: leave out --loosen, --per-set, --recipe and --set, or"):
        evaluate_red(root, protocol_file, tmp_path / "out", red_model, loosen=0.3, per_set=5, recipe=recipe)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda out: out.write_text("a file"), "not a folder"),
        (lambda out: (out.mkdir(), (out / "thesis.txt").write_text("mine")), "is not empty and not the folder"),
    ],
)
def test_folders_of_others(
    root: Path,
    protocol_file: Path,
    red_model: Path,
    tmp_path: Path,
    prepare: Callable[[Path], object],
    message: str,
) -> None:
    out = tmp_path / "out"
    prepare(out)
    with pytest.raises(DatasetError, match=message):
        evaluate_red(root, protocol_file, out, red_model)


def test_a_wrong_teacher_is_told_before_the_work(root: Path, protocol_file: Path, tmp_path: Path) -> None:
    protocol, places = protocol_of(root, protocol_file)
    with pytest.raises(TeacherError, match="has no weights"):
        run_protocol(protocol, places, tmp_path / "out", RunSettings(weights="sam.bin"), quiet)
    assert not (tmp_path / "out").exists()


def test_other_boxes_are_refused(root: Path, protocol_file: Path, red_model: Path, tmp_path: Path) -> None:
    """A run that has begun does not mix boxes of two kinds."""
    protocol, places = protocol_of(root, protocol_file)
    out = tmp_path / "out"
    settings = RunSettings(supervision="box", recipe=load_recipe(None, ["student.backbone=none-such"]))
    with pytest.raises(ModelError, match="none-such"):
        run_protocol(protocol, places, out, settings, quiet)
    with pytest.raises(DatasetError, match=r"loosen was 0\.1 and is now 0\.3"):
        run_protocol(protocol, places, out, dataclasses.replace(settings, loosen=0.3), quiet)


def test_a_draw_of_each_training_set(root: Path, protocol_file: Path, tmp_path: Path) -> None:
    protocol, places = protocol_of(root, protocol_file)
    chosen = []
    recipe = load_recipe(None, ["student.backbone=none-such", "validation.fraction=0"])  # ends where training begins
    settings = RunSettings(supervision="mask", per_set=5, recipe=recipe)
    for name in ("one", "two"):
        with pytest.raises(ModelError, match="none-such"):
            run_protocol(protocol, places, tmp_path / name, settings, quiet)
        with Dataset.open(tmp_path / name / "datasets" / "alpha") as dataset:
            chosen.append([Path(record.image).name for record in dataset.records(split="train")])
            assert dataset.count() == 16
    assert len(chosen[0]) == 5
    assert chosen[0] == chosen[1]


def said_before_training(root: Path, file: Path, out: Path, per_set: int | None = None) -> list[str]:
    """What a run says of duplicates; it ends where training begins."""
    lines: list[str] = []
    protocol, places = protocol_of(root, file)
    recipe = load_recipe(None, ["student.backbone=none-such", "validation.fraction=0"])
    settings = RunSettings(supervision="mask", recipe=recipe, per_set=per_set)
    with pytest.raises(ModelError, match="none-such"):
        run_protocol(protocol, places, out, settings, lines.append)
    return [line for line in lines if "also in training" in line]


def test_test_images_that_are_in_training_too_are_told(
    root: Path, protocol_file: Path, tmp_path: Path, facts_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One copied file, one picture saved again, both in the first of two test sets."""
    shutil.copy(root / "alpha" / "Tp" / "0.png", root / "beta" / "Tp" / "0.png")
    Image.open(root / "alpha" / "Tp" / "1.png").save(root / "beta" / "Tp" / "1.png", compress_level=1)
    sentence = "2 of 4 test images of beta are also in training (1 as the same file, 1 as nearly the same picture)"
    expected = [f"{sentence}; `boxpromptiml protocol check` lists them"]
    assert said_before_training(root, protocol_file, tmp_path / "out") == expected
    assert facts_file.is_file()
    monkeypatch.setattr("boxpromptiml.protocols.overlap.find_duplicates", None)
    assert said_before_training(root, protocol_file, tmp_path / "out") == expected  # looks no second time


def test_images_that_a_draw_leaves_out_are_no_duplicates(root: Path, protocol_file: Path, tmp_path: Path) -> None:
    assert said_before_training(root, protocol_file, tmp_path / "first", 1) == []
    with Dataset.open(tmp_path / "first" / "datasets" / "alpha") as dataset:
        (drawn,) = (Path(record.image).name for record in dataset.records(split="train"))
    other = "0.png" if drawn != "0.png" else "1.png"
    shutil.copy(root / "alpha" / "Tp" / other, root / "beta" / "Tp" / "0.png")
    assert said_before_training(root, protocol_file, tmp_path / "second", 1) == []
    shutil.copy(root / "alpha" / "Tp" / drawn, root / "beta" / "Tp" / "1.png")
    (line,) = said_before_training(root, protocol_file, tmp_path / "third", 1)
    assert line.startswith("1 of 4 test images of beta")


def pixel_figures(out: Path) -> list[Any]:
    sets = json.loads((out / "results.json").read_text())["sets"]
    return [(item["name"], item["n"], item["ci95"], item["figures"]["pixel"]) for item in sets]


@pytest.mark.torture
def test_a_run_that_is_killed_three_times_ends_as_one_that_is_not(
    root: Path,
    protocol_file: Path,
    tmp_path: Path,
    run_signalled: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    words = ["protocol", "run", protocol_file, "--root", root, "--cache", tmp_path / "facts.db"]
    options = [word for setting in RECIPE for word in ("--set", setting)]
    out = tmp_path / "broken"

    def killed(place: str, calls: int) -> None:
        done = run_signalled(signal.SIGKILL, place, calls, *words, "--out", out, *options)
        assert done.returncode == -signal.SIGKILL, done.stderr

    killed("boxpromptiml.pseudolabels.job:Job.store", 5)
    with Dataset.open(out / "datasets" / "alpha") as dataset:
        made = [dataset.path(record.pseudo.path) for record in dataset.records() if record.pseudo is not None]
    first = {path: path.stat().st_mtime_ns for path in made}
    assert len(first) == 5
    killed("boxpromptiml.training.state:StateFolder.save", 3)
    assert not (out / "model" / "model.onnx").exists()
    killed("boxpromptiml.protocols.journal:Journal.record", 1)  # beta is evaluated, gamma is not
    assert (out / "evaluations" / "beta.json").exists()
    trained = (out / "model" / "model.safetensors").stat().st_mtime_ns
    evaluated = (out / "evaluations" / "beta.json").stat().st_mtime_ns

    protocol = load_protocol(protocol_file)
    places = find_sets(protocol, root)
    settings = RunSettings(recipe=load_recipe(None, RECIPE))
    results = run_protocol(protocol, places, out, settings, quiet)
    assert results is not None
    assert results.comparable
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == trained
    assert (out / "evaluations" / "beta.json").stat().st_mtime_ns == evaluated
    assert {path: path.stat().st_mtime_ns for path in first} == first

    run_protocol(protocol, places, tmp_path / "whole", settings, quiet)
    assert pixel_figures(out) == pixel_figures(tmp_path / "whole")
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["trained_on"]["supervision"] == "pseudo"
    assert config["trained_on"]["teacher"] == "grabcut"


@pytest.mark.slow
@pytest.mark.parametrize("supervision", [pytest.param("mask", marks=pytest.mark.torture), "box"])
def test_other_supervisions(root: Path, protocol_file: Path, tmp_path: Path, supervision: Any) -> None:
    protocol, places = protocol_of(root, protocol_file)
    settings = RunSettings(supervision=supervision, recipe=load_recipe(None, RECIPE))
    results = run_protocol(protocol, places, tmp_path / "out", settings, quiet)
    assert results is not None
    assert results.model["supervision"] == supervision
    assert "teacher" not in results.settings
    with Dataset.open(tmp_path / "out" / "datasets" / "alpha") as dataset:
        for record in dataset.records():
            assert record.pseudo is None
            assert bool(record.boxes) == (supervision == "box")
