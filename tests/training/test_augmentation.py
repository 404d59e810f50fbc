"""Augmentation: image and mask stay together, every draw belongs to (seed, epoch, index)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boxpromptiml.training.augmentation import harmed, moved, random_crop
from boxpromptiml.training.recipe import AugmentationConfig

OFF = {"horizontal_flip": 0.0}


def pair(size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """An image that shows its mask in every channel."""
    mask = torch.zeros(1, size, size, dtype=torch.uint8)
    mask[0, 2:5, 3:9] = 255
    return mask.repeat(3, 1, 1), mask


def augment(
    image: torch.Tensor, mask: torch.Tensor, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """As training does it."""
    image, mask = moved(image, mask, config, rng)
    return harmed(image, config, rng), mask


@pytest.mark.parametrize("name", ["horizontal_flip", "vertical_flip", "rotate90"])
def test_geometry_moves_image_and_mask_alike(name: str) -> None:
    image, mask = pair()
    turned, target = augment(image, mask, AugmentationConfig(**(OFF | {name: 1.0})), np.random.default_rng(0))
    assert torch.equal(turned[:1], target)
    assert not torch.equal(target, mask)
    assert target.sum() == mask.sum()
    assert type(target) is torch.Tensor


@pytest.mark.parametrize("name", ["colour", "jpeg", "blur"])
def test_appearance_changes_the_image_alone(name: str) -> None:
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    mask = pair(32)[1]
    changed, target = augment(image, mask, AugmentationConfig(**(OFF | {name: 1.0})), np.random.default_rng(0))
    assert torch.equal(target, mask)
    assert not torch.equal(changed, image)
    assert (changed.dtype, changed.shape) == (torch.uint8, image.shape)


def test_nothing_happens_with_everything_off() -> None:
    image, mask = pair()
    same, target = augment(image, mask, AugmentationConfig(**OFF), np.random.default_rng(0))
    assert torch.equal(same, image)
    assert torch.equal(target, mask)


def test_draws_do_not_touch_the_global_generators() -> None:
    everything = AugmentationConfig(vertical_flip=0.5, rotate90=0.5, colour=1, jpeg=1, blur=1)
    image, mask = pair(32)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = augment(image, mask, everything, np.random.default_rng([0, 3, 5]))
    torch.rand(7)
    second = augment(image, mask, everything, np.random.default_rng([0, 3, 5]))
    assert torch.equal(first[0], second[0])
    torch.manual_seed(0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_crop_keeps_area_and_ratio_within_their_ranges() -> None:
    config = AugmentationConfig(crop=1.0, crop_scale=(0.3, 0.6), crop_ratio=(0.8, 1.25))
    image = np.zeros((100, 150, 3), np.uint8)
    target = np.zeros((100, 150), np.float32)
    for seed in range(30):
        part, values = random_crop(image, target, config, np.random.default_rng(seed))
        height, width = values.shape
        assert part.shape[:2] == (height, width)
        assert 0.28 < height * width / target.size < 0.62
        assert 0.75 < (width / 150) / (height / 100) < 1.33
