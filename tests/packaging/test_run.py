"""From a run to a packaged model, and what it says of itself."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from boxpromptiml import Localizer
from boxpromptiml.cli.main import app
from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError, ModelError
from boxpromptiml.evaluation.run import evaluate
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.models.card import CardText, Material, ModelCard
from boxpromptiml.models.markdown import card_markdown
from boxpromptiml.packaging import Packaged, package_model
from boxpromptiml.packaging.adapting import choose_adaptive
from boxpromptiml.packaging.held_out import held_out
from boxpromptiml.scaling import Scaling
from boxpromptiml.student import load_checkpoint

FILES = {"card.json", "config.json", "model.onnx", "model.safetensors"}
TEXT = CardText(
    summary="A student for tests.",
    training_data=[Material(name="red patches", role="training", terms="none")],
    limits=["blue patches"],
)


@pytest.fixture(scope="module")
def test_set(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset("unseen", 8, 8, seed=5, split="test")


@pytest.fixture(scope="module")
def packaged(run: Path, test_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("models") / "mine"
    return package_model(run, "mine", output=folder, results={"unseen": test_set}, text=TEXT)


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


def test_the_folder_is_a_calibrated_model(packaged: Packaged, run: Path) -> None:
    folder = packaged.folder
    assert {path.name for path in folder.iterdir()} == FILES
    config = ModelConfig.load(folder)
    rule = config.decision
    assert (rule.score_pooling, rule.score_fraction) == ("logit", 0.1)  # as loss.image and loss.top_fraction trained it
    assert rule == ModelConfig.load(run).decision.model_copy(
        update={"map_scaling": rule.map_scaling, "score_scaling": rule.score_scaling}
    )
    assert rule.threshold == 0.5
    assert rule.map_scaling != Scaling()
    assert rule.score_scaling != Scaling()
    assert Localizer.load(folder).config == config
    assert packaged.bytes == sum((folder / name).stat().st_size for name in FILES - {"card.json"})


def test_the_card_says_what_the_files_are(packaged: Packaged) -> None:
    card = ModelCard.load(packaged.folder)
    assert card == packaged.card
    assert {file.name: file.sha256 for file in card.files} == {
        name: digest for name, digest in _contents(packaged.folder).items() if name != "card.json"
    }
    facts = card.calibration
    # 0.4 of 30 + 30 images, by groups of one: what the run held out.
    assert (facts.tampered + facts.authentic, facts.truth) == (24, "true masks")
    assert facts.cut is not None
    assert facts.cut.f1_at_cut <= facts.cut.f1_at_best


def test_the_results_are_those_of_the_packaged_model(packaged: Packaged, test_set: Path) -> None:
    (result,) = packaged.card.results
    again = evaluate(Localizer.load(packaged.folder), test_set)
    assert (result.name, result.split, result.tampered, result.authentic) == ("unseen", "test", 8, 8)
    assert result.figures["f1"].value == again.figures.pixel.f1
    assert (result.figures["f1"].low, result.figures["f1"].high) == again.ci95["f1"]
    assert result.figures["image.auc"].value == again.figures.image.auc
    assert result.score_after is not None
    assert again.calibration.score_after is not None
    assert result.score_after.ece == pytest.approx(again.calibration.score_after.ece)


@pytest.mark.slow
def test_twice_gives_the_same_bytes(
    packaged: Packaged, run: Path, test_set: Path, convert_once: dict[str, object]
) -> None:
    before = _contents(packaged.folder)
    convert_once.clear()
    package_model(run, "mine", output=packaged.folder, overwrite=True, results={"unseen": test_set}, text=TEXT)
    assert _contents(packaged.folder) == before
    assert [path.name for path in packaged.folder.parent.iterdir()] == ["mine"]


def test_nothing_tells_of_the_machine(packaged: Packaged, dataset: Path) -> None:
    for path in packaged.folder.iterdir():
        content = path.read_bytes()
        for words in (str(dataset.parent), str(Path(__file__).parents[2]), "stack_trace"):
            assert words.encode() not in content, path.name
    assert ModelConfig.load(packaged.folder).trained_on.datasets == [dataset.name]


def test_the_same_run_can_be_packaged_otherwise(run: Path, test_set: Path, tmp_path: Path) -> None:
    """What was evaluated of the one is not taken for the other."""
    results = {"unseen": test_set}
    once = package_model(run, "once", output=tmp_path / "once", results=results)
    twice = package_model(run, "twice", output=tmp_path / "twice", results=results, looks=2)
    assert once.card.results[0].figures != twice.card.results[0].figures
    assert package_model(run, "once", output=tmp_path / "again", results=results).card.results == once.card.results


@pytest.mark.slow
def test_half_the_bytes_and_the_same_network(run: Path, packaged: Packaged, tmp_path: Path, test_set: Path) -> None:
    half = package_model(run, "half", output=tmp_path / "half", weights="fp16")
    assert half.bytes < 0.65 * packaged.bytes
    stored = load_file(half.folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim >= 2} == {np.dtype(np.float16)}
    # The ONNX file computes what PyTorch computes with what is stored, as exactly as ever.
    student, config = load_checkpoint(half.folder)
    assert config.params == sum(parameter.numel() for parameter in student.parameters())
    from boxpromptiml.export.deployed import DeployedStudent
    from boxpromptiml.export.parity import compare

    localizer = Localizer.load(half.folder)
    model = DeployedStudent(student, config.preprocessing).eval()
    assert compare(model, localizer.session, config.preprocessing).largest < 1e-4
    f1 = [evaluate(Localizer.load(found.folder), test_set).figures.pixel.f1 for found in (half, packaged)]
    assert f1[0] == pytest.approx(f1[1], abs=0.02)


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_a_threshold_that_follows_each_image(run: Path, tmp_path: Path) -> None:
    made = package_model(run, "mine", output=tmp_path / "mine", adaptive=True)
    rule, fact = ModelConfig.load(made.folder).decision, made.card.calibration.adaptive
    assert rule.adaptive is not None
    assert fact is not None
    assert fact.model_dump(include=set(rule.adaptive.model_dump())) == rule.adaptive.model_dump()
    assert set(fact.f1_adaptive) == {"as they are", "JPEG 90", "JPEG 80", "JPEG 70"}
    assert "| adaptive |" in card_markdown(made.card)
    # Threshold and calibration were chosen for the adapted map: cut at 0.5 it has the F1 that the card says.
    localizer, cut = Localizer.load(made.folder), made.card.calibration.cut
    spec, scores = localizer.config.preprocessing, []
    for sample in held_out(run, ModelConfig.load(run)):
        if sample.tampered:
            image, target = sample.load_fitted(spec)
            marked, truth = localizer.maps([spec.feed(image)])[0] > 0.5, target > 0.5
            scores.append(2 * (marked & truth).sum() / (marked.sum() + truth.sum()))
    assert cut is not None
    assert np.mean(scores) == pytest.approx(cut.f1_at_cut, abs=1e-3)


def test_the_bound_holds_for_a_threshold_that_follows_too(run: Path, tmp_path: Path) -> None:
    bounds: list[float | None] = []

    def watched(*arguments: Any) -> Any:
        bounds.append(arguments[1])
        return choose_adaptive(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boxpromptiml.packaging.run.choose_adaptive", watched)
        made = package_model(run, "mine", output=tmp_path / "mine", adaptive=True, max_false_area=0.05)
    assert bounds == [0.05]
    assert made.card.calibration.cut is not None
    assert "at most 0.05 of authentic images marked" in made.card.calibration.cut.rule


def test_refuses_copies_for_a_model_that_sees_shrunk_images(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fed images at their own size .*; leave out --copies"):
        package_model(run, "mine", output=tmp_path / "mine", copies=True)
    assert list(tmp_path.iterdir()) == []


def test_refuses_what_is_too_large(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"MB: more than the 0\.1 MB allowed; use --weights fp16"):
        package_model(run, "mine", output=tmp_path / "mine", max_bytes=100_000)
    assert list(tmp_path.iterdir()) == []


def test_in_the_package_it_counts_the_other_models_too(
    run: Path, packaged: Packaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(packaged.folder, tmp_path / "default")
    other = package_model(run, "paper", output=tmp_path / "paper", max_bytes=packaged.bytes + 1000)
    shutil.rmtree(other.folder)
    monkeypatch.setattr("boxpromptiml.models.packaged.packaged_root", lambda: tmp_path)
    monkeypatch.setattr("boxpromptiml.packaging.run.packaged_root", lambda: tmp_path)
    with pytest.raises(ModelError, match=r"paper: [\d.]+ MB, default beside it [\d.]+ MB: more than"):
        package_model(run, "paper", max_bytes=packaged.bytes + 1000)
    assert not (tmp_path / "paper").exists()


def test_refuses_training_images(run: Path, make_dataset: Callable[..., Path], dataset: Path, tmp_path: Path) -> None:
    # The same images under a split of their own: some of them were trained on.
    copy = tmp_path / "copy"
    shutil.copytree(dataset.parent, copy)
    with Dataset.open(copy / "data") as opened:
        names = [record.image for record in opened.records()]
        opened.set_splits({name: "val" if place % 2 else "train" for place, name in enumerate(names)})
    with pytest.raises(DatasetError, match=r"the run was trained on it \(\d+ such images among 30 for validation\)"):
        package_model(run, "mine", output=tmp_path / "mine", validation=[copy / "data"])


def test_takes_the_val_split_of_another_dataset(run: Path, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    other = make_dataset("other", 12, 12, seed=9)
    with Dataset.open(other) as opened:
        names = [record.image for record in opened.records()]
        opened.set_splits({name: ("val", "train", "test")[place % 3] for place, name in enumerate(names)})
    made = package_model(run, "mine", output=tmp_path / "mine", validation=[other])
    assert made.card.calibration.tampered + made.card.calibration.authentic == 8


def test_authentic_photographs_can_be_added_to_what_was_held_out(
    run: Path, dataset: Path, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_dataset("photos", 0, 10, seed=7, split="val")
    options = ["--name", "mine", "--output", tmp_path / "mine", "--validation", photos, "--validation", dataset]
    result = CliRunner().invoke(app, ["package", str(run), *map(str, options)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    card = ModelCard.load(tmp_path / "mine")
    assert card is not None
    assert (card.calibration.tampered, card.calibration.authentic) == (12, 12 + 10)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: shutil.rmtree(run / "state"), "its list of images is gone"),
        (lambda run: _edit(run, supervision=None), "does not say what it was trained from"),
        (lambda run: _edit(run, recipe={}), "has no recipe in its config"),
        (lambda run: _edit(run, recipe={"epochs": "many"}), "its recipe is of another version"),
        (lambda run: _edit(run, datasets=[]), "name a dataset with  --validation"),
        (lambda run: _edit(run, datasets=["nowhere"]), "nowhere"),
        (lambda run: (run / "model.safetensors").write_bytes(b"x"), "safetensors"),
    ],
)
def test_refuses_a_run_that_is_not_whole(
    damaged: Path, damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    damage(damaged)
    with pytest.raises((ModelError, DatasetError), match=message) as caught:
        package_model(damaged, "mine", output=tmp_path / "out" / "mine")
    assert "\n" not in str(caught.value)
    assert ".package-" not in str(caught.value), "the file to mend is the run's, not one of the work folder"
    assert not (tmp_path / "out" / "mine").exists()


def _edit(run: Path, **changes: object) -> None:
    content = json.loads((run / "config.json").read_text())
    content["trained_on"] |= changes
    (run / "config.json").write_text(json.dumps(content))


def test_leaves_other_folders_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ModelError, match="is in the way, and no packaged model"):
        package_model(run, "mine", output=tmp_path / "photos")


def test_a_packaged_model_is_replaced_when_that_is_asked_for(
    run: Path, packaged: Packaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("default", "mine"):
        shutil.copytree(packaged.folder, tmp_path / name)
    monkeypatch.setattr("boxpromptiml.models.packaged.packaged_root", lambda: tmp_path)
    monkeypatch.setattr("boxpromptiml.packaging.run.packaged_root", lambda: tmp_path)
    before = _contents(tmp_path / "default")
    remedies = r"there already; choose another place with --output, or replace it with --overwrite"
    with pytest.raises(ModelError, match=rf"default: a packaged model is {remedies}") as caught:
        package_model(run, "default")  # in the package itself
    assert "\n" not in str(caught.value)
    result = CliRunner().invoke(app, ["package", str(run), "--name", "mine", "--output", str(tmp_path / "mine")])
    assert re.search(rf"mine: a packaged model is {remedies}", str(result.exception))
    assert _contents(tmp_path / "default") == _contents(tmp_path / "mine") == before
    assert package_model(run, "default", cut=0.4, overwrite=True).folder == tmp_path / "default"
    assert _contents(tmp_path / "default") != before


def test_markdown_has_everything(packaged: Packaged) -> None:
    text = card_markdown(packaged.card)
    assert text == card_markdown(ModelCard.model_validate_json(packaged.card.model_dump_json()))
    for file in packaged.card.files:
        assert file.sha256 in text
    for words in (
        "# Model card: mine",
        "A student for tests.",
        "| red patches | training | none |",
        "- blue patches",
        "| pixel F1 |",
        "image AUC",
        "unseen (test)",
        "calibration error",
        "true masks as truth. The score",
    ):
        assert words in text, words
    assert "nan" not in text.lower().replace("resonance", "")
    table = re.findall(r"^\|.*\|$", text, re.M)
    assert all(line.count("|") >= 3 for line in table)


def test_info_of_a_packaged_model(packaged: Packaged, tmp_path: Path) -> None:
    def info(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["info", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert info(packaged.folder, "--markdown") == card_markdown(packaged.card)
    assert ModelCard.model_validate(json.loads(info(packaged.folder, "--json"))["card"]) == packaged.card
    text = info(packaged.folder)
    for words in ("test_convnext", "unseen", "pixel F1", "blue patches", "calibration error of the score"):
        assert words in text
    copy = tmp_path / "copy"
    shutil.copytree(packaged.folder, copy)
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    result = CliRunner().invoke(app, ["info", str(copy)])
    assert "config.json: is not the file that card.json beside it describes" in str(result.exception)


def test_the_command(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "card.yaml"
    text.write_text("title: Mine\nlimits:\n- nothing is seen in the dark\n")
    options = ["--name", "mine", "--output", tmp_path / "mine", "--text", text, "--cut", "0.5", "--looks", "2"]
    options.append("--adaptive")
    result = CliRunner().invoke(app, ["package", str(run), *map(str, options)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "threshold 0.500, now 0.5" in result.stdout
    card = ModelCard.load(tmp_path / "mine")
    assert card is not None
    assert card.text.limits == ["nothing is seen in the dark"]
    assert card.calibration.map_scaling.bias == 0
    assert "looked at twice" in card.input
    rule = ModelConfig.load(tmp_path / "mine").decision
    assert rule.looks == 2
    assert card.calibration.adaptive is not None
    told = CliRunner().invoke(app, ["info", str(tmp_path / "mine"), "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["adaptive"] == (rule.adaptive and rule.adaptive.model_dump())
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "mine")], catch_exceptions=False)
    assert ("follows each image" in shown.stdout) == (rule.adaptive is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "mine"], "needs --output FOLDER"),
        (["--name", "default", "--results", "casia"], "write NAME=DATASET"),
        (["--name", "default", "--results", "a=x", "--results", "a=y"], "each name once"),
    ],
)
def test_usage(run: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["package", str(run), *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
