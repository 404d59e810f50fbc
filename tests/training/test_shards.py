"""Training from shards: the same run as from the folder that they were written from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError, RecipeError
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.shards import write_shards
from boxpromptiml.training import Recipe, Supervision
from boxpromptiml.training.processes import RunError
from boxpromptiml.training.run import train
from boxpromptiml.training.sampler import Layout, ResumableSampler
from boxpromptiml.training.samples import gather_samples

MakeRecipe = Callable[..., Recipe]
MakeDataset = Callable[..., Path]
InterruptedAfter = Callable[[int], contextlib.AbstractContextManager[None]]
REMOTE = "memory://store/shards"


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., str]:
    """Writes a dataset as shards of a few images; remote ones lie in this process's memory."""

    def make(dataset: Path, *, remote: bool = False) -> str:
        store = fsspec.filesystem("memory")
        if store.exists("/store"):
            store.rm("/store", recursive=True)
        out = REMOTE if remote else str(tmp_path / f"{dataset.name}-shards")
        with Dataset.open(dataset) as opened:
            assert write_shards(opened, out, shard_bytes=25_000).shards > 3
        return out

    return make


def assert_equal(run: Path, other: Path) -> None:
    ours, theirs = load_file(run / "model.safetensors"), load_file(other / "model.safetensors")
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


WAYS = [
    pytest.param({}, False, id="resized"),
    pytest.param({"data__cache": False, "data__workers": 1}, True, id="remote-worker"),
    pytest.param({"data__shard_cache_mb": 0, "augmentation__crop": 1.0}, True, id="remote-one-by-one"),
    pytest.param({"input__fit": "native", "synthesis__fraction": 0.3}, True, id="windows-and-synthesis"),
]


@pytest.mark.parametrize(("changes", "remote"), WAYS)
def test_a_run_from_shards_is_the_run_from_the_folder_to_the_last_bit(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    make_shards: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    remote: bool,
) -> None:
    if "synthesis__fraction" in changes:
        from boxpromptiml.synthesis import PhotoPool

        monkeypatch.setitem(PhotoPool.__init__.__kwdefaults__, "min_side", 32)
    dataset = make_dataset(splits=False)
    recipe = make_recipe(epochs=1, validation__fraction=0.25, **changes)
    folder = train(dataset, tmp_path / "folder", recipe)
    shards = train(make_shards(dataset, remote=remote), tmp_path / "shards", recipe)
    assert_equal(tmp_path / "shards", tmp_path / "folder")
    assert shards.validation == folder.validation
    assert shards.images == folder.images


@pytest.mark.parametrize("supervision", ["pseudo", "mask", "box", "label"])
def test_images_targets_and_parts_are_those_of_the_folder(
    make_dataset: MakeDataset, make_shards: Callable[..., str], supervision: Supervision
) -> None:
    """Validation images are held out by source group, from the same images in the same way."""
    dataset = make_dataset(images=36, splits=False)
    recipe = Recipe.model_validate({"validation": {"fraction": 0.25}})
    folder = gather_samples([dataset], recipe, supervision)
    shards = gather_samples([make_shards(dataset)], recipe, supervision)
    assert shards.counts() == folder.counts()
    assert shards.teachers == folder.teachers
    for ours, theirs in zip([*shards.train, *shards.val], [*folder.train, *folder.val], strict=True):
        assert (ours.name, ours.tampered) == (theirs.name, theirs.tampered)
        assert ours.digest != theirs.digest  # a run cannot change from one to the other
        for a, b in zip(ours.load(), theirs.load(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(ours.load_for(SPEC)[0], theirs.load_for(SPEC)[0])


SPEC = PreprocessingSpec(height=32, width=32)


def test_a_run_of_many_windows_goes_on_in_the_middle_of_one(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    make_shards: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupted_after: InterruptedAfter,
) -> None:
    """Also with another number of loading processes, and with copies instead of single reads."""
    monkeypatch.setattr("boxpromptiml.training.data.MEGABYTE", 20_000)
    shards = make_shards(make_dataset(images=24), remote=True)
    recipe = make_recipe(data__shuffle_mb=1, data__shard_cache_mb=0)
    train(shards, tmp_path / "whole", recipe)
    with interrupted_after(4):
        train(shards, tmp_path / "broken", recipe)
    again = make_recipe(data__shuffle_mb=1, data__workers=2, data__shard_cache=str(tmp_path / "copies"))
    train(shards, tmp_path / "broken", again, resume=True)
    assert_equal(tmp_path / "broken", tmp_path / "whole")
    with pytest.raises(RecipeError, match="images was 24"):
        train(make_dataset("other", images=12), tmp_path / "broken", again, resume=True)
    assert list((tmp_path / "copies").glob("*.tar"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_ends_the_run_with_its_name(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, make_shards: Callable[..., str], tmp_path: Path, workers: int
) -> None:
    shards = make_shards(make_dataset())
    path = Path(shards) / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[1000:1100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"shard-000001.tar#00000000.png: damaged \(checksum\)"):
        train(shards, tmp_path / "run", make_recipe(data__workers=workers))
    (Path(shards) / "index.json").unlink()
    with pytest.raises(DatasetError, match="no complete shards"):
        train(shards, tmp_path / "other", make_recipe())


def layout(shards: list[int], alone: int, window: int) -> Layout:
    """So many images of 10 bytes in each shard, and others by themselves."""
    blocks = [number for number, images in enumerate(shards) for _ in range(images)]
    blocks += range(len(shards), len(shards) + alone)
    return Layout(np.array(blocks), np.array([10] * sum(shards) + [0] * alone), window)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("alone", [0, 7])
def test_each_process_reads_shards_of_its_own(world: int, alone: int) -> None:
    lay = layout([10] * 12, alone, 300)
    images = 120 + alone
    orders = []
    for epoch in range(2):
        shares = [
            [i for _, i in ResumableSampler(images, 4, 0, epoch=epoch, rank=rank, world=world, layout=lay)]
            for rank in range(world)
        ]
        assert len({len(share) for share in shares}) == 1
        together = [i for share in shares for i in share]
        assert len(set(together)) == len(together) >= images - 2 * world
        # Two processes share the shards at the borders between them, no others.
        read = [{int(lay.blocks[i]) for i in share if i < 120} for share in shares]
        assert sum(map(len, read)) <= 12 + world - 1
        # At any time, no more shards than a window touches: 3 whole ones and parts of two.
        for share in shares:
            for start in range(0, len(share), 30):
                assert len({int(lay.blocks[i]) for i in share[start : start + 30] if i < 120}) <= 8
        orders.append(shares)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("start", [0, 3, 9])
def test_a_resumed_order_is_the_rest_of_the_whole_one(start: int) -> None:
    lay = layout([10] * 12, 5, 300)
    whole = list(ResumableSampler(125, 4, 7, rank=1, world=2, layout=lay))
    assert list(ResumableSampler(125, 4, 7, start=start, rank=1, world=2, layout=lay)) == whole[start * 4 :]


def test_a_data_set_of_one_window_has_the_order_of_a_folder() -> None:
    for rank in range(2):
        folder = list(ResumableSampler(25, 4, 7, rank=rank, world=2))
        assert list(ResumableSampler(25, 4, 7, rank=rank, world=2, layout=layout([10, 10], 5, 200))) == folder


def test_shards_are_announced_before_their_images_come() -> None:
    said: list[int] = []
    lay = layout([10] * 12, 0, 200)
    lay = Layout(lay.blocks, lay.sizes, lay.window, said.extend)
    come: list[int] = []
    for _, index in ResumableSampler(120, 4, 7, layout=lay):
        assert int(lay.blocks[index]) in said
        assert len(said) - len(set(come)) <= 7  # two windows of two shards, and their borders
        come.append(int(lay.blocks[index]))
    assert sorted(said) == list(range(12))
