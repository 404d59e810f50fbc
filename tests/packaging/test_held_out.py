"""Which images threshold and calibration may be chosen on: never one that the run was trained on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError, ModelError, RecipeError
from boxpromptiml.images import save_png
from boxpromptiml.model_config import ModelConfig, Provenance
from boxpromptiml.packaging.held_out import held_out
from boxpromptiml.shards import write_shards
from boxpromptiml.training.recipe import Recipe, Supervision
from boxpromptiml.training.samples import gather_samples
from boxpromptiml.training.state import StateFolder, identity

MakeData = Callable[..., Path]
Run = tuple[Path, ModelConfig]


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    """``make_data(name, stem, tampered, authentic, seed, split)``: all of them noise of 16 x 16."""

    def make(
        name: str, stem: str = "", tampered: int = 10, authentic: int = 10, seed: int = 0, split: str | None = None
    ) -> Path:
        rng, folder = np.random.default_rng(seed), tmp_path / name
        save_png(folder / "mask.png", np.tile(np.repeat(np.array([0, 255], np.uint8), 8), (16, 1)))
        with Dataset.create(folder) as dataset:
            for place in range(tampered + authentic):
                image = f"{stem or name}{place:02d}.png"
                # Of different lengths, as files of different content are.
                save_png(folder / image, rng.integers(0, 2 + int(rng.integers(200)), (16, 16, 3), dtype=np.uint8))
                label = "tampered" if place < tampered else "authentic"
                mask = "mask.png" if place < tampered else None
                dataset.put(ImageRecord(image, 16, 16, label=label, mask=mask, split=split))
        return folder

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """``make_run(folders)``: what is kept of a run, without the training."""

    def make(folders: Sequence[str | Path], supervision: Supervision = "mask", fraction: float = 0.3) -> Run:
        recipe = Recipe.model_validate({"validation": {"fraction": fraction}})
        samples = gather_samples(folders, recipe, supervision)
        StateFolder(tmp_path / "run").write_identity(identity(recipe, supervision, len(samples.train)), samples)
        raw, places = recipe.model_dump(mode="json"), [str(folder) for folder in folders]
        return tmp_path / "run", ModelConfig(
            trained_on=Provenance(datasets=places, supervision=supervision, recipe=raw)
        )

    return make


def forget_lengths(run: Path) -> None:
    """Leave the list of images as earlier versions wrote it: part, digest, name."""
    path = run / "state/images.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    path.write_text("".join(f"{part}\t{key.partition('-')[0]}\t{name}\n" for part, key, name in lines))


def files(run: Path, config: ModelConfig, *datasets: str | Path) -> set[str]:
    """Names of the files that are held out."""
    return {Path(str(sample.path)).name for sample in held_out(run, config, datasets)}


@pytest.mark.parametrize("old", [False, True], ids=["this version's list", "an earlier version's"])
def test_datasets_are_known_however_they_are_named(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    a, b = make_data("a"), make_data("b", seed=1)
    run, config = make_run([a, b])
    if old:
        forget_lengths(run)
    both = {
        Path(s.path).name for s in gather_samples([a, b], Recipe.model_validate(config.trained_on.recipe), "mask").val
    }
    assert files(run, config) == both
    assert files(run, config, b, a) == both, "in another order, of which the draw of validation images depends"
    assert files(run, config, b) == {name for name in both if name.startswith("b")}
    monkeypatch.chdir(tmp_path)
    assert files(run, config, "b", "./a") == both
    shutil.move(a, tmp_path / "moved")
    assert files(run, config, "moved", "b") == both
    assert files(run, config, tmp_path / "moved") == {name for name in both if name.startswith("a")}


def test_a_moved_dataset_is_known_although_its_annotation_has_changed(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    data = make_data("data")
    run, config = make_run([data])
    before = files(run, config)
    shutil.move(data, tmp_path / "moved")
    shutil.copyfile(tmp_path / "moved/mask.png", tmp_path / "moved/other.png")
    with Dataset.open(tmp_path / "moved") as dataset:
        dataset.put([replace(r, mask=r.mask and "other.png") for r in dataset.records()])
    assert files(run, config, tmp_path / "moved") == before


def test_two_datasets_with_the_same_names_are_told_apart(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    first, second = make_data("first", stem="Tp"), make_data("second", stem="Tp", seed=1)
    run, config = make_run([first, second])
    one, other = files(run, config, first), files(run, config, second)
    assert one != other
    for name in ("first", "second"):
        shutil.move(tmp_path / name, tmp_path / f"moved-{name}")
    assert files(run, config, tmp_path / "moved-second") == other
    assert files(run, config, tmp_path / "moved-first") == one
    # A list without lengths cannot tell them apart: what both held out was trained on in neither.
    forget_lengths(run)
    assert files(run, config, tmp_path / "moved-second") == one & other


def test_another_dataset_may_use_the_same_names(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    data = make_data("data", stem="Tp")
    run, config = make_run([data])
    other = make_data("other", stem="Tp", seed=1, split="val")
    trained = gather_samples([data], Recipe.model_validate(config.trained_on.recipe), "mask").train[0].name
    content = (data / trained).read_bytes()
    (other / trained).write_bytes(content[:-1] + b"?")  # as long as the one that was trained on
    assert files(run, config, other) == files_of(other)
    shutil.move(data, tmp_path / "gone")  # now it cannot be told any more
    with pytest.raises(DatasetError, match=f"{trained}: the run was trained on it"):
        held_out(run, config, [other])


def test_shards_and_their_dataset_are_the_same_images(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    data = make_data("data")
    with Dataset.open(data) as dataset:
        write_shards(dataset, str(tmp_path / "shards"))
    run, config = make_run([tmp_path / "shards"])
    names = {sample.name for sample in held_out(run, config)}
    assert 0 < len(names) < 20
    assert {sample.name for sample in held_out(run, config, [data])} == names


@pytest.mark.parametrize("old", [False, True], ids=["this version's list", "an earlier version's"])
def test_training_images_in_a_val_split_are_refused(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path, old: bool
) -> None:
    run, config = make_run([make_data("a"), make_data("b")])
    if old:
        forget_lengths(run)
    shutil.move(tmp_path / "a", tmp_path / "moved")
    with Dataset.open(tmp_path / "moved") as dataset:
        dataset.set_splits({r.image: "val" if r.label == "tampered" else "train" for r in dataset.records()})
    with pytest.raises(DatasetError, match=r"a0\d.png: the run was trained on it \(\d such images among 10") as caught:
        held_out(run, config, [tmp_path / "moved"])
    assert "\n" not in str(caught.value)


def test_what_an_earlier_version_was_trained_on_is_known_by_name(
    make_data: MakeData, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """Its list knows nothing of the files, and what it does know changes when images are annotated anew."""
    data = make_data("data", authentic=0)
    run, config = make_run([data])
    forget_lengths(run)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    shutil.copyfile(copy / "mask.png", copy / "other.png")
    with Dataset.open(copy) as dataset:
        dataset.put([replace(r, mask="other.png", split="val") for r in dataset.records()])
    with pytest.raises(DatasetError, match=r"data0\d.png: the run was trained on it"):
        held_out(run, config, [copy])
    for path in copy.glob("data*.png"):  # other images, as the run's own show
        path.write_bytes(path.read_bytes() + b"?")
    assert files(run, config, copy) == files_of(copy)


def test_the_val_split_of_another_dataset_is_used_beside_what_was_held_out(
    make_data: MakeData, make_run: Callable[..., Run]
) -> None:
    """Such as photographs that are nothing but authentic: they tell how much a threshold marks where nothing is."""
    data, photos = make_data("data"), make_data("photos", tampered=0, seed=1, split="val")
    run, config = make_run([data])
    own = files(run, config)
    assert files(run, config, data, photos) == files(run, config, photos, data) == own | files_of(photos)
    with pytest.raises(DatasetError, match="photos: no training images"):
        gather_samples([photos], Recipe(), "mask")
    with pytest.raises(DatasetError, match="photos: none of the 10 held-out images is tampered; name a dataset"):
        held_out(run, config, [photos])


def files_of(folder: Path) -> set[str]:
    with Dataset.open(folder) as dataset:
        return {record.image for record in dataset.records()}


def test_labels_alone_need_both_kinds(make_data: MakeData, make_run: Callable[..., Run]) -> None:
    run, config = make_run([make_data("data")], "label")
    assert len(files(run, config)) == 6
    with pytest.raises(DatasetError, match="none of the 5 held-out images is authentic"):
        held_out(run, config, [make_data("other", tampered=5, authentic=0, split="val")])


def test_a_val_split_that_came_later_is_used_as_well(make_data: MakeData, make_run: Callable[..., Run]) -> None:
    data = make_data("data")
    run, config = make_run([data])
    before = files(run, config)
    save_png(data / "new.png", np.zeros((16, 16, 3), np.uint8))
    with Dataset.open(data) as dataset:
        dataset.put(ImageRecord("new.png", 16, 16, label="authentic", split="val"))
    assert files(run, config) == before | {"new.png"}


def test_a_run_that_chose_no_epoch_uses_the_val_split(make_data: MakeData, make_run: Callable[..., Run]) -> None:
    data = make_data("data")
    run, config = make_run([data], fraction=0)
    assert held_out(run, config) == []
    other = make_data("other", seed=1, split="val")
    assert files(run, config, data, other) == files_of(other)


def test_test_images_are_never_used(make_data: MakeData, make_run: Callable[..., Run]) -> None:
    data = make_data("data")
    run, config = make_run([data])
    before = files(run, config)
    with Dataset.open(data) as dataset:
        dataset.set_splits({min(before): "test"})
    assert files(run, config) == before - {min(before)}


@pytest.mark.parametrize("name", ["scan\u2028 1.png", "a\x85b.png", "a\x1cb.png", "a\rb.png", "a\tb.png", "a\nb.png"])
def test_any_file_name_will_do(make_data: MakeData, make_run: Callable[..., Run], name: str) -> None:
    data = make_data("data")
    with Dataset.open(data) as dataset:
        first = dataset.get("data00.png")
        dataset.put(replace(first, image=name))
    shutil.copyfile(data / "data00.png", data / name)
    run, config = make_run([data])
    assert len(files(run, config)) == 6


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda run: shutil.rmtree(run / "state"), DatasetError, "its list of images is gone"),
        (lambda run: (run / "state/images.tsv").write_text("half a li"), RecipeError, "images.tsv: is damaged"),
    ],
)
def test_without_its_list_it_is_not_known_what_a_run_held_out(
    make_data: MakeData,
    make_run: Callable[..., Run],
    damage: Callable[[Path], object],
    kind: type[Exception],
    message: str,
) -> None:
    run, config = make_run([make_data("data")])
    damage(run)
    with pytest.raises(kind, match=message):
        held_out(run, config)


def test_what_is_none_of_the_runs_datasets_needs_a_val_split(make_data: MakeData, make_run: Callable[..., Run]) -> None:
    run, config = make_run([make_data("data")])
    other = make_data("other", seed=1)
    with pytest.raises(
        DatasetError, match="other: is none of the datasets that the run was trained on, and has no val"
    ):
        held_out(run, config, [other])
    unmasked = make_data("unmasked", seed=2, split="val", authentic=0)
    with Dataset.open(unmasked) as dataset:
        dataset.put([replace(record, mask=None) for record in dataset.records()])
    with pytest.raises(DatasetError, match=r"no validation images \(10 images cannot be used: no true mask\)"):
        held_out(run, config, [unmasked])
    with pytest.raises(DatasetError, match="other/: is given twice"):
        held_out(run, config, [other, f"{other}/"])
    with pytest.raises(ModelError, match="does not say what it was trained on"):
        held_out(run, ModelConfig(trained_on=config.trained_on.model_copy(update={"datasets": []})))


def test_a_dataset_that_an_earlier_version_let_be_given_twice(
    make_data: MakeData, make_run: Callable[..., Run]
) -> None:
    """Each copy held out other images, which the other one was trained on."""
    data = make_data("data")
    run, config = make_run([data])
    lines = (run / "state/images.tsv").read_text().splitlines()
    names = [line.replace("\t", f"\t{data}: ").replace(f"\t{data}: ", "\t", 1) for line in lines]
    held = [line for line in names if line.startswith("val")]
    known = [line.replace("val", "train", 1) for line in held[1:]]
    (run / "state/images.tsv").write_text("".join(f"{line}\n" for line in [*names, *known]))
    twice = ModelConfig(trained_on=config.trained_on.model_copy(update={"datasets": [str(data), str(data)]}))
    assert files(run, twice) == {held[0].rpartition(": ")[2]}
