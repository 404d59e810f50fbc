"""Batches: the cache, synthesis on the fly, waiting times, optimiser groups and schedule."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from boxpromptiml.errors import RecipeError
from boxpromptiml.images import save_png
from boxpromptiml.training import Recipe
from boxpromptiml.training.cache import ResizedCache
from boxpromptiml.training.data import TimedLoader
from boxpromptiml.training.items import TrainingImages
from boxpromptiml.training.optimization import build_optimizer, build_scheduler, parameter_groups
from boxpromptiml.training.recipe import AugmentationConfig, OptimizerConfig
from boxpromptiml.training.sample import Sample
from boxpromptiml.training.samples import gather_samples
from boxpromptiml.training.synthetic import SyntheticSource

MakeDataset = Callable[..., Path]
MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def cache(tmp_path: Path) -> ResizedCache:
    path = tmp_path / "cache.bin"
    ResizedCache.create(path, 3, 4, 6, 10**6)
    opened = ResizedCache.open(path, 4, 6)
    assert opened is not None
    return opened


def test_the_cache_gives_back_what_was_put_in(cache: ResizedCache) -> None:
    rng = np.random.default_rng(0)
    image, target = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), rng.integers(0, 256, (4, 6), dtype=np.uint8)
    assert cache.get(1) is None
    cache.put(1, image, target)
    for reader in (cache, pickle.loads(pickle.dumps(cache)), ResizedCache.open(cache.path, 4, 6)):
        found = reader.get(1)
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], target)
    cache.put(3, image, target)  # beyond the last row: ignored
    assert cache.get(3) is None


def test_a_damaged_row_is_not_believed(cache: ResizedCache) -> None:
    cache.put(0, np.full((4, 6, 3), 9, np.uint8), np.zeros((4, 6), np.uint8))
    with cache.path.open("r+b") as stream:
        stream.seek(5)
        stream.write(b"\x01")
    assert cache.get(0) is None


@pytest.mark.parametrize(("limit", "rows"), [(10**6, 5), (250, 2), (50, None)])
def test_the_cache_keeps_to_its_limit(tmp_path: Path, limit: int, rows: int | None) -> None:
    path = tmp_path / "cache.bin"
    ResizedCache.create(path, 5, 4, 6, limit)
    opened = ResizedCache.open(path, 4, 6)
    assert (opened and opened.rows) == rows


def test_the_cache_changes_nothing(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(augmentation__colour=1.0)
    samples = gather_samples([make_dataset()], recipe, "pseudo").train
    ResizedCache.create(tmp_path / "cache.bin", len(samples), 64, 64, 10**8)
    cached = TrainingImages(
        samples, recipe.input, recipe.augmentation, 0, ResizedCache.open(tmp_path / "cache.bin", 64, 64)
    )
    plain = TrainingImages(samples, recipe.input, recipe.augmentation, 0)
    for epoch in (0, 1):
        for index in range(len(samples)):
            for a, b in zip(cached[epoch, index][:2], plain[epoch, index][:2], strict=True):
                assert torch.equal(a, b)


def test_every_epoch_augments_anew_and_repeatably(make_dataset: MakeDataset, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(augmentation__colour=1.0)
    samples = gather_samples([make_dataset()], recipe, "pseudo").train
    images = TrainingImages(samples, recipe.input, recipe.augmentation, 0)
    assert torch.equal(images[0, 3][0], images[0, 3][0])
    assert not torch.equal(images[0, 3][0], images[1, 3][0])


def small_region(folder: Path, value: int = 255) -> Sample:
    """A photograph of 480 x 640 with a tampered spot of 4 x 4."""
    mask = np.zeros((480, 640), np.uint8)
    mask[80:84, 80:84] = value
    save_png(folder / "image.png", np.full((480, 640, 3), 90, np.uint8))
    save_png(folder / "mask.png", mask)
    return Sample("image.png", folder / "image.png", 640, 480, True, folder / "mask.png", soft=True)


def labels(sample: Sample, recipe: Recipe) -> list[tuple[bool, bool]]:
    """Of a few training images: whether they count as tampered, and whether their target is above 0.5 anywhere."""
    images = TrainingImages([sample], recipe.input, recipe.augmentation, 0)
    return [(item[3], bool((item[1] > 127).any())) for item in (images[epoch, 0] for epoch in range(20))]


def test_the_label_of_a_whole_image_is_known_although_its_target_fades(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    assert set(labels(small_region(tmp_path), make_recipe())) == {(True, False)}


def test_a_crop_is_labelled_by_what_it_holds(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Before it is resized; the spot is in some of the crops, and too small for the target of any."""
    recipe = make_recipe(augmentation__crop=1.0, augmentation__crop_scale=[0.5, 0.5])
    assert set(labels(small_region(tmp_path), recipe)) == {(True, False), (False, False)}
    # A teacher that is sure of nothing does not tell in which of them it is, and labels alone do not either.
    unsure = small_region(tmp_path, value=100)
    assert set(labels(unsure, recipe)) == {(True, False)}
    assert set(labels(replace(unsure, mask=None), recipe)) == {(True, False)}


def test_a_window_is_labelled_by_what_it_holds_unless_it_holds_all(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    anywhere = {"augmentation__window_hits": 0.3}
    windows = make_recipe(input={"height": 64, "width": 64, "fit": "native"}, **anywhere)
    assert set(labels(small_region(tmp_path), windows)) == {(True, True), (False, False)}
    assert set(labels(small_region(tmp_path, value=100), windows)) == {(False, False)}
    whole = make_recipe(input={"height": 480, "width": 640, "fit": "native"}, **anywhere)
    assert set(labels(small_region(tmp_path, value=100), whole)) == {(True, False)}


def test_synthesis_on_the_fly(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        save_png(tmp_path / f"photos/{i}.png", coarse)
    recipe = make_recipe(synthesis={"fraction": 0.5, "authentic": 0.5, "photos": [str(tmp_path / "photos")]})
    source = SyntheticSource.of(recipe, [])
    images = TrainingImages([], recipe.input, AugmentationConfig(), 0, source=source, synthetic=12)
    assert len(images) == 12
    made = [images[0, i] for i in range(12)]
    assert {item[3] for item in made} == {True, False}
    for image, mask, _, tampered, *_ in made:
        assert image.shape == (3, 64, 64)
        assert bool(mask.any()) == tampered
    assert torch.equal(pickle.loads(pickle.dumps(images))[0, 4][0], made[4][0])
    assert not torch.equal(images[1, 4][0], made[4][0])


def test_synthesis_takes_the_training_images_beside_given_photographs(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    for i in range(2):
        dark = np.random.default_rng(i).integers(0, 30, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        save_png(tmp_path / f"photos/{i}.png", dark)
    settings = {"fraction": 0.5, "authentic": 1.0, "photos": [str(tmp_path / "photos")]}
    only, both = (make_recipe(synthesis=settings | {"training_photos": wanted}) for wanted in (False, True))
    bright = np.random.default_rng(2).integers(100, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    save_png(tmp_path / "bright.png", bright)
    train = gather_samples([make_dataset()], only, "pseudo").train
    train = [sample if sample.tampered else replace(sample, path=tmp_path / "bright.png") for sample in train]

    def brightness(recipe: Recipe) -> list[float]:
        source = SyntheticSource.of(recipe, train)
        assert source is not None
        return [float(source.make(np.random.default_rng(seed))[0].mean()) for seed in range(20)]

    assert max(brightness(only)) < 40
    assert min(brightness(both)) < 40 < max(brightness(both))
    with pytest.raises(RecipeError, match=r"no authentic training images"):
        SyntheticSource.of(both, [])


def test_synthesis_needs_photographs(make_recipe: MakeRecipe) -> None:
    assert SyntheticSource.of(make_recipe(), []) is None
    with pytest.raises(RecipeError, match=r"synthesis.photos"):
        SyntheticSource.of(make_recipe(synthesis={"fraction": 0.5}), [])


def test_the_loader_knows_how_long_it_was_waited_for() -> None:
    class Slow(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            time.sleep(0.02)
            return index

    loader = TimedLoader(Slow(), batch_size=1)
    started = time.perf_counter()
    for _ in loader:
        time.sleep(0.05)
    spent = time.perf_counter() - started
    assert 0.06 <= loader.waited <= spent - 0.15


def student() -> nn.Module:
    return nn.ModuleDict({"backbone": nn.Conv2d(3, 4, 3), "head": nn.Sequential(nn.Conv2d(4, 1, 1), nn.BatchNorm2d(1))})


def test_groups_by_place_and_shape() -> None:
    config = OptimizerConfig(lr=0.1, backbone_lr_factor=0.1, weight_decay=0.5)
    groups = {(round(g["lr"], 6), g["weight_decay"]): len(g["params"]) for g in parameter_groups(student(), config)}  # type: ignore[call-overload, arg-type]
    assert groups == {(0.01, 0.5): 1, (0.01, 0.0): 1, (0.1, 0.5): 1, (0.1, 0.0): 3}


def test_the_schedule_warms_up_and_decays() -> None:
    config = OptimizerConfig(lr=1.0, warmup_epochs=1, final_lr_factor=0.1)
    optimizer = build_optimizer(student(), config)
    scheduler = build_scheduler(optimizer, config, steps_per_epoch=4, epochs=5)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == pytest.approx(1.0)
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
