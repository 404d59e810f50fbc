"""What a run must agree with to be gone on with: its images, and the photographs that it makes others of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import RecipeError
from boxpromptiml.images import save_png
from boxpromptiml.training import Recipe
from boxpromptiml.training.beginning import Begun, begin
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.samples import Samples
from boxpromptiml.training.state import StateFolder, identity, read_images
from boxpromptiml.training.summary import TrainingSummary

MakeRecipe = Callable[..., Recipe]
MakeDataset = Callable[..., Path]


def photo(path: Path, seed: int) -> None:
    save_png(path, np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1))


@pytest.fixture
def start(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> Callable[[], Begun]:
    """``start()``: a run that makes images of photographs and cut-outs, but for its steps; again: its resumption."""
    pytest.importorskip("cv2")
    for i in range(3):
        photo(tmp_path / f"photos/{i}.png", i)
        photo(tmp_path / f"things/images/{i}.png", i)
        save_png(tmp_path / f"things/instances/{i}.png", np.pad(np.ones((40, 40), np.uint8), ((20, 36), (20, 68))))
    folders = {"photos": [str(tmp_path / "photos")], "objects": [str(tmp_path / "things")]}
    recipe, dataset = make_recipe(synthesis={"fraction": 0.5, **folders}), make_dataset()
    return lambda: begin([dataset], tmp_path / "run", recipe, "mask", True)


def test_what_is_not_said_again_is_as_it_was(start: Callable[[], Begun], tmp_path: Path) -> None:
    begun = start()
    again = begin([tmp_path / "dataset"], tmp_path / "run", None, None, True)
    assert (again.recipe, again.supervision) == (begun.recipe, "mask")


def test_who_resumes_what_never_began_is_told_what_begins(
    make_dataset: MakeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = begin([make_dataset()], tmp_path / "run", None, None, True)
    assert begun.supervision == "pseudo"
    told = "run: nothing to resume; it begins with the default recipe, supervision pseudo"
    assert told in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("folder", ["photos", "things/images"])
def test_a_photograph_more_makes_other_images(start: Callable[[], Begun], tmp_path: Path, folder: str) -> None:
    start()
    start()
    photo(tmp_path / folder / "a.png", 9)
    if folder != "photos":
        shutil.copyfile(tmp_path / "things/instances/0.png", tmp_path / "things/instances/a.png")
    setting = "photos" if folder == "photos" else "objects"
    message = rf"cannot resume, what is in synthesis\.{setting} was '3 files \(\w+\)' and is now '4 files"
    with pytest.raises(RecipeError, match=message) as caught:
        start()
    assert "\n" not in str(caught.value)


def test_a_run_of_a_version_that_did_not_look_into_the_folders_goes_on(
    start: Callable[[], Begun], tmp_path: Path
) -> None:
    start()
    path = tmp_path / "run/state/run.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in known.items() if not key.startswith("what is in")}))
    photo(tmp_path / "photos/a.png", 9)
    begun = start()
    assert begun.source is not None
    assert json.loads(path.read_text()).keys() == known.keys()  # from now on it is known


def test_the_photographs_of_a_complete_run_may_be_gone(start: Callable[[], Begun], tmp_path: Path) -> None:
    start()
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(Exception, match="photos: no such file or folder"):
        start()
    (tmp_path / "run/summary.json").write_text(json.dumps(dict.fromkeys(TrainingSummary.__dataclass_fields__, 0)))
    assert start().source is None


@pytest.mark.parametrize("name", ["scan\u2028 1.jpg", "a\x85b.jpg", "a\x1cb.jpg", "a\rb.jpg", "a\tb.jpg", "a\nb.jpg"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    sample = Sample(name, tmp_path / "a.jpg", 8, 8, True, digest="0123", bytes=77)
    samples, states = Samples(train=[sample], val=[sample]), StateFolder(tmp_path)
    who = identity(Recipe(), "mask", 1)
    states.write_identity(who, samples)
    states.check(who, samples)
    listed = read_images(tmp_path)
    assert listed is not None
    assert [(line.part, line.name, line.bytes) for line in listed] == [("train", name, 77), ("val", name, 77)]


def test_a_file_that_was_replaced_is_named(tmp_path: Path) -> None:
    sample = Sample("a.jpg", tmp_path / "a.jpg", 8, 8, True, digest="0123", bytes=77)
    states, who = StateFolder(tmp_path), identity(Recipe(), "mask", 1)
    states.write_identity(who, Samples(train=[sample]))
    with pytest.raises(RecipeError, match=r"has changed: a.jpg \(its file: 77 bytes then, 78 now\); undo that"):
        states.check(who, Samples(train=[replace(sample, bytes=78)]))
    # Earlier versions did not keep the length.
    (tmp_path / "state/images.tsv").write_text("train\t0123\ta.jpg\n")
    states.check(who, Samples(train=[replace(sample, bytes=78)]))
    with pytest.raises(RecipeError, match=r"a.jpg \(its annotation or its part: train then, val now\)"):
        states.check(who, Samples(val=[sample]))
    with pytest.raises(RecipeError, match=r"has changed: no image then, b.jpg now"):
        states.check(who, Samples(train=[sample, replace(sample, name="b.jpg")]))


def test_a_run_is_gone_on_with_after_its_images_were_listed_by_an_earlier_version(
    start: Callable[[], Begun], tmp_path: Path
) -> None:
    begun = start()
    samples = [("train", s) for s in begun.samples.train] + [("val", s) for s in begun.samples.val]
    path = tmp_path / "run/state/images.tsv"
    path.write_text("".join(f"{part}\t{sample.digest}\t{sample.name}\n" for part, sample in samples))
    start()
    assert all(line.bytes for line in read_images(tmp_path / "run") or [])
    with Dataset.open(tmp_path / "dataset") as dataset:
        dataset.put(replace(dataset.get("images/00.png"), split="val"))
    with pytest.raises(RecipeError, match="training images was 12 and is now 11"):
        start()


class Dying:
    """Is pickled just when torch tells that a loading process has died: it does so wherever the main one is."""

    def __reduce__(self) -> Any:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")


def test_a_loading_process_that_died_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        StateFolder(tmp_path).save({"module": Dying()}, 1)
