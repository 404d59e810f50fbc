from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import BoxPromptError, DatasetError
from boxpromptiml.evaluation import evaluate
from boxpromptiml.evaluation.robustness import RobustnessResult, robustness
from boxpromptiml.evaluation.robustness.run import LevelDone
from boxpromptiml.runtime import Localizer


def _photographs(root: Path) -> Path:
    """Tp/Gt/Au at 90 x 70: a red disc is the tampered region."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:70, :90]
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    for number, radius in enumerate((8, 14, 22)):
        image = rng.integers(90, 130, (70, 90, 3)).astype(np.uint8)
        inside = (x - 40) ** 2 + (y - 35) ** 2 < radius**2
        Image.fromarray(image).save(root / "Au" / f"{number}.png")
        image[inside] = np.stack([rng.integers(205, 256, inside.sum()), *[rng.integers(40, 90, inside.sum())] * 2], 1)
        Image.fromarray(image).save(root / "Tp" / f"{number}.png")
        Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(root / "Gt" / f"{number}.png")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A data set, see `_photographs`."""
    return _photographs(tmp_path / "photos")


@pytest.fixture(scope="module")
def finished_once(red: Localizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos`` and a finished run over them in ``out``."""
    folder = tmp_path_factory.mktemp("finished")
    robustness(red, _photographs(folder / "photos"), folder / "out", attacks=["social"])
    return folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(finished_once, tmp_path / "finished")


def _comparable(out: Path) -> dict[str, Any]:
    """A report without what differs from run to run."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key not in ("seconds", "environment")}
        return [stripped(item) for item in value] if isinstance(value, list) else value

    found: dict[str, Any] = stripped(json.loads((out / "robustness.json").read_text()))
    return found


def test_a_run_end_to_end(red: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done: list[LevelDone] = []
    result = robustness(red, photos, out, on_level=done.append, threads=2)
    assert [(level.done, level.total) for level in done] == [(place, 23) for place in range(1, 24)]
    assert done[0].label == "clean"
    assert done[1].label == "blur 3"

    clean = evaluate(red, photos)
    assert result.clean.f1.value == pytest.approx(clean.figures.pixel.f1, abs=1e-12)
    assert (result.clean.f1.low, result.clean.f1.high) == pytest.approx(clean.ci95["f1"], abs=1e-12)
    blur, noise, jpeg, social = result.attacks
    assert blur.levels[0].f1 == result.clean.f1
    assert blur.levels[-1].f1.value < 0.8 * result.clean.f1.value  # the small disc is gone
    for attack in (noise, jpeg, social):
        assert 0 < attack.area.value <= 1
    # The truth stays: it is the same at every level.
    assert {level.report["n_tampered"] for attack in result.attacks for level in attack.levels} == {3}

    report = json.loads((out / "robustness.json").read_text())
    assert report["attacks"]["blur"]["area"]["value"] == blur.area.value
    assert report["clean"]["datasets"][0]["dataset"] == str(photos)
    with (out / "robustness.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 24
    assert float(rows[-1]["f1"]) == social.levels[-1].f1.value
    with Image.open(out / "robustness.png") as picture:
        assert picture.width > picture.height > 400
    assert not list(out.glob("levels/*.state"))


def test_images_that_do_not_fit_leave_a_trace(red: Localizer, photos: Path, tmp_path: Path) -> None:
    mask = photos / "Gt" / "1.png"
    Image.open(mask).resize((45, 35)).save(mask)
    robustness(red, photos, tmp_path / "out", attacks=["social"], on_mismatch="skip")
    assert json.loads((tmp_path / "out" / "robustness.json").read_text())["n_left_out"] == 1


def test_untouched_images_are_decoded_in_full_as_harmed_ones_are(red: Localizer, tmp_path: Path) -> None:
    """Else a model that decodes drafts of large JPEGs would differ between levels by more than the attack."""
    spec = red.config.preprocessing.model_copy(update={"draft_margin": 1.0})
    config = red.config.model_copy(update={"preprocessing": spec})
    drafting = Localizer(red.session, config, red.folder, red.choice)
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    noise[100:300, 100:300, 0] |= 192
    mask = np.zeros((512, 512), np.uint8)
    mask[100:300, 100:300] = 255
    for part, pixels in (("Tp", noise), ("Gt", mask)):
        (tmp_path / "set" / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "set" / part / ("a.jpg" if part == "Tp" else "a.png"))
    found = robustness(drafting, tmp_path / "set", tmp_path / "out", attacks=["blur"]).clean.report["pixel"]
    draft, full = (evaluate(model, tmp_path / "set").to_json()["pixel"] for model in (drafting, red))
    assert draft["auc"] != full["auc"]
    assert found == full


def test_noise_at_a_level_is_what_evaluate_says_of_noisy_images(red: Localizer, photos: Path, tmp_path: Path) -> None:
    from boxpromptiml.evaluation.robustness import ATTACKS

    result = robustness(red, photos, tmp_path / "out", attacks=["noise"], seed=5, batch_size=2)
    again = evaluate(red, photos, transform=ATTACKS["noise"].transform(23, seed=5), threads=2, batch_size=1)
    assert result.attacks[0].levels[-1].f1.value == pytest.approx(again.figures.pixel.f1, abs=1e-12)


def test_finished_levels_are_taken_over_whatever_the_attacks(red: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done: list[str] = []

    def run(*attacks: str) -> RobustnessResult:
        done.clear()
        return robustness(red, photos, out, attacks=attacks, on_level=lambda level: done.append(level.label))

    run("social")
    first = _comparable(out)
    assert done == ["clean", "social facebook", "social weibo", "social whatsapp", "social wechat"]
    assert [attack.attack.name for attack in run("jpeg", "social").attacks] == ["jpeg", "social"]
    assert done == [f"jpeg {quality}" for quality in (100, 90, 80, 70, 60, 50)]
    run("social")
    assert done == []
    assert _comparable(out) == first


def test_moving_the_data_along_changes_nothing(red: Localizer, finished: Path) -> None:
    """`finished` is a copy: it is the content that counts, not the place."""
    robustness(
        red, finished / "photos", finished / "out", attacks=["social"], on_level=lambda level: pytest.fail(level.label)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model", "another model;"),
        ("data", "another data;"),
        ("preset", "another preset;"),
        ("mode", "another mode;"),
        ("seed", "another seed;"),
        ("batch_size", "another batch size;"),
        ("strangers", "not of a run that can go on"),
        ("damaged run", "damaged; remove"),
        ("damaged level", "damaged; remove it to compute that level again"),
        ("file", "is a file, not a folder"),
    ],
)
def test_a_folder_of_another_run_is_refused_in_one_line(
    red: Localizer,
    finished: Path,
    make_red_model: Callable[..., Path],
    change: str,
    message: str,
) -> None:
    photos, out = finished / "photos", finished / "out"
    before = (out / "robustness.json").read_bytes()
    localizer: Localizer = red
    options: dict[str, Any] = {"attacks": ["social"]}
    match change:
        case "model":
            localizer = Localizer.load(make_red_model(finished / "other", height=96))
        case "data":
            (photos / "Tp" / "0.png").rename(photos / "Tp" / "9.png")
            (photos / "Gt" / "0.png").rename(photos / "Gt" / "9.png")
        case "preset":
            options["preset"] = "micro"
        case "mode":
            options["mode"] = "double"
        case "seed" | "batch_size":
            options[change] = 1
        case "strangers":
            (out / "levels" / "run.json").unlink()
        case "damaged run":
            (out / "levels" / "run.json").write_text("[1")
        case "damaged level":
            (out / "levels" / "social-weibo.npy").write_bytes(b"")
        case "file":
            out = photos / "Tp" / "0.png"
    with pytest.raises(BoxPromptError, match=message) as caught:
        robustness(localizer, photos, out, **options)
    assert "\n" not in str(caught.value)
    assert str(out) in str(caught.value)
    assert (finished / "out" / "robustness.json").read_bytes() == before


@pytest.mark.parametrize("stranger", ["thesis.txt", "photos/cat.png"])
def test_a_folder_with_other_content_stays_as_it_is(
    red: Localizer, photos: Path, tmp_path: Path, stranger: str
) -> None:
    out = tmp_path / "out"
    (out / stranger).parent.mkdir(parents=True)
    (out / stranger).write_text("mine")
    held = stranger.split("/")[0]
    with pytest.raises(
        BoxPromptError, match=f"not of a robustness run .it holds {held}.; choose another --out"
    ) as caught:
        robustness(red, photos, out, attacks=["social"])
    assert "\n" not in str(caught.value)
    assert [path for path in out.rglob("*") if path.is_file()] == [out / stranger]


def test_an_empty_folder_is_taken_and_a_finished_one_may_hold_notes(
    red: Localizer, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    robustness(red, photos, out, attacks=["social"])
    (out / "notes.txt").write_text("mine")
    robustness(red, photos, out, attacks=["social"])


def test_bad_input_is_told_before_anything_is_written(red: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="there are blur, noise, jpeg, social"):
        robustness(red, photos, out, attacks=["rain"])
    with pytest.raises(ValueError, match="unknown attack none"):
        robustness(red, photos, out, attacks=[])
    with pytest.raises(DatasetError, match="no such file or folder"):
        robustness(red, tmp_path / "nowhere", out)
    assert not out.exists()


@pytest.mark.parametrize("curves", ["one attack", "nothing found", "no tampered images"])
def test_curves_can_be_drawn_for_odd_results(red: Localizer, photos: Path, tmp_path: Path, curves: str) -> None:
    if curves != "one attack":
        for path in (photos / "Tp").iterdir():
            if curves == "nothing found":
                Image.fromarray(np.full((70, 90, 3), 120, np.uint8)).save(path)
            else:
                path.rename(photos / "Au" / f"was-{path.name}")
                (photos / "Gt" / path.name).unlink()
    if curves == "no tampered images":
        (photos / "Tp").rmdir()
        (photos / "Gt").rmdir()
    result = robustness(red, photos, tmp_path / "out", attacks=["jpeg"])
    with Image.open(tmp_path / "out" / "robustness.png") as picture:
        assert picture.size[0] > 300
    assert np.isnan(result.clean.retention.value) == (curves != "one attack")
    json.loads((tmp_path / "out" / "robustness.json").read_text(), parse_constant=pytest.fail)
