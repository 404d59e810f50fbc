"""Random changes of training images. All draws come from one generator per image, none from a global one."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # type: ignore[import-untyped]
from torchvision.tv_tensors import Mask  # type: ignore[import-untyped]

from boxpromptiml.training.recipe import AugmentationConfig

Array8 = NDArray[np.uint8]
ArrayF = NDArray[np.float32]


def random_crop(
    image: Array8, target: ArrayF, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Array8, ArrayF]:
    """Cut out the same random part of image (h, w, 3) and target (h, w), or return them whole."""
    if rng.random() >= config.crop:
        return image, target
    height, width = target.shape
    area = rng.uniform(*config.crop_scale)
    ratio = float(np.exp(rng.uniform(*np.log(config.crop_ratio))))
    h = max(1, min(height, round(height * float(np.sqrt(area / ratio)))))
    w = max(1, min(width, round(width * float(np.sqrt(area * ratio)))))
    top = int(rng.integers(height - h + 1))
    left = int(rng.integers(width - w + 1))
    part = slice(top, top + h), slice(left, left + w)
    return np.ascontiguousarray(image[part]), np.ascontiguousarray(target[part])


def moved(image: Tensor, mask: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirror and turn an image, uint8 (3, H, W), and its mask, uint8 (1, H, W)."""
    target: Tensor = Mask(mask)
    if rng.random() < config.horizontal_flip:
        image, target = F.horizontal_flip(image), F.horizontal_flip(target)
    if rng.random() < config.vertical_flip:
        image, target = F.vertical_flip(image), F.vertical_flip(target)
    if rng.random() < config.rotate90:
        turns = int(rng.integers(1, 4))
        image, target = torch.rot90(image, turns, (1, 2)), torch.rot90(target, turns, (1, 2))
    return image.contiguous(), target.as_subclass(Tensor).contiguous()


def harmed(image: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> Tensor:
    """Change the colours of an image, uint8 (3, H, W), blur and compress it, all of which leave its mask as it is."""
    if rng.random() < config.colour:
        image = _jitter(image, config, rng)
    if rng.random() < config.blur:
        sigma = rng.uniform(*config.blur_sigma)
        # Three sigma to either side; an odd number of taps that fits into the image.
        taps = min(2 * int(np.ceil(3 * sigma)) + 1, (min(image.shape[1:]) - 1) // 2 * 2 + 1)
        image = F.gaussian_blur(image, [taps, taps], [sigma, sigma])
    if rng.random() < config.jpeg:
        low, high = config.jpeg_quality
        image = _jpeg(image, int(rng.integers(low, high + 1)))
    return image.contiguous()


def _jitter(image: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue in random order, as torchvision's ColorJitter."""

    def factor(amount: float) -> float:
        return float(rng.uniform(max(0.0, 1 - amount), 1 + amount))

    brightness, contrast, saturation = (factor(a) for a in (config.brightness, config.contrast, config.saturation))
    hue = float(rng.uniform(-config.hue, config.hue))
    for step in rng.permutation(4).tolist():
        if step == 0 and config.brightness:
            image = F.adjust_brightness(image, brightness)
        elif step == 1 and config.contrast:
            image = F.adjust_contrast(image, contrast)
        elif step == 2 and config.saturation:
            image = F.adjust_saturation(image, saturation)
        elif step == 3 and config.hue:
            image = F.adjust_hue(image, hue)
    return image


def _jpeg(image: Tensor, quality: int) -> Tensor:
    # Pillow's codec: torchvision's needs a compiled part that CPU-only installations may lack.
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)
