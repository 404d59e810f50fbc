"""From samples to batches: uint8 until the network, decoded once, augmented by (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.preprocessing import PreprocessingSpec, resize_image, resize_map
from boxpromptiml.training.augmentation import harmed, moved, random_crop
from boxpromptiml.training.cache import ResizedCache
from boxpromptiml.training.recipe import AugmentationConfig
from boxpromptiml.training.sample import Sample, quantised
from boxpromptiml.training.synthetic import SyntheticSource
from boxpromptiml.training.windows import fitted, random_window, scaled


class Batch(TypedDict):
    """A batch of B images.

    image: uint8 (B, 3, H, W), RGB. mask: uint8 (B, 1, H, W), probability x 255. index: int64 (B,), place in the list of
    samples, beyond its end for synthesised images. tampered: bool (B,), the image's label; of a part of a training
    image, whether the part is tampered, where the target tells. weight: float32 (B,), 0 for padding. error: what was
    wrong with an image that could not be loaded and is blank; empty if nothing was. clean: as image, before colours,
    blur and compression; where it is asked for.
    """

    image: Tensor
    mask: Tensor
    index: Tensor
    tampered: Tensor
    weight: Tensor
    error: str
    clean: NotRequired[Tensor]


# As a batch, one image. An error travels as text: raised in a worker process, it would arrive as a traceback; raised in
# one process of several, it would leave the others waiting.
Item = tuple[Tensor, Tensor, int, bool, float, str, Tensor | None]


class _Resized:
    """Samples at the input size, or their middle windows, through the cache."""

    def __init__(self, samples: Sequence[Sample], spec: PreprocessingSpec, cache: ResizedCache | None) -> None:
        self.samples = samples
        self.spec = spec
        self.cache = cache

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.cache.get(index) if self.cache is not None else None
        if pair is None:
            pair = self.samples[index].load_for(self.spec)
            if self.cache is not None:
                self.cache.put(index, *pair)
        return _tensors(*pair)


class TrainingImages(Dataset[Item]):
    """Augmented training images, and synthesised ones behind them; indexed by ``(epoch, index)``.

    Args:
        samples: the dataset's images.
        spec: the input size.
        augmentation: random changes.
        seed: of the run.
        cache: of resized images, used where no crop needs the full image.
        source: of synthesised images.
        synthetic: how many of them in an epoch.
        clean: whether to give each image also as it was before colours, blur and compression were changed.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: PreprocessingSpec,
        augmentation: AugmentationConfig,
        seed: int,
        cache: ResizedCache | None = None,
        source: SyntheticSource | None = None,
        synthetic: int = 0,
        clean: bool = False,
    ) -> None:
        self._resized = _Resized(samples, spec, cache)
        self._augmentation = augmentation
        self._seed = seed
        self._source = source
        self._synthetic = synthetic
        self._clean = clean

    def __len__(self) -> int:
        return len(self._resized.samples) + self._synthetic

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        rng = np.random.default_rng([self._seed, epoch, index])
        try:
            image, mask, tampered = self._load(index, rng)
        except BoxPromptError as error:
            return _blank(self._resized.spec, index, str(error), self._clean)
        clean, mask = moved(image, mask, self._augmentation, rng)
        image = harmed(clean, self._augmentation, rng)
        return image, mask, index, tampered, 1.0, "", clean if self._clean else None

    def _load(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        samples, spec = self._resized.samples, self._resized.spec
        if index >= len(samples):
            assert self._source is not None
            picture, drawn, tampered = self._source.make(rng)
            values = np.asarray(drawn / 255, np.float32)
        elif self._augmentation.crop > 0 or spec.fit == "native":
            # A random part of the image is cut out of all its pixels, whatever the spec says of decoding.
            sample = samples[index]
            tampered = sample.tampered
            picture, values = sample.load_fitted(spec) if spec.fit == "native" else sample.load()
        else:
            return *self._resized[index], samples[index].tampered
        if spec.fit == "native":
            return self._window(picture, values, tampered, rng)
        part, within = random_crop(picture, values, self._augmentation, rng)
        # Before it is resized: of a small region shrinking may leave too little to tell.
        tampered = _marked(within) if _marked(values) else tampered
        height, width = spec.height, spec.width
        return *_tensors(resize_image(part, height, width), quantised(resize_map(within, height, width))), tampered

    def _window(
        self, picture: np.ndarray[Any, Any], values: np.ndarray[Any, Any], tampered: bool, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, bool]:
        """A window, and whether any of it is tampered: the network is not shown the rest of the image."""
        spec, config = self._resized.spec, self._augmentation
        picture, values = fitted(picture, values, spec)
        if rng.random() < config.zoom:
            picture, values = scaled(picture, values, float(np.exp(rng.uniform(*np.log(config.zoom_range)))))
        whole = values.shape[0] <= spec.height and values.shape[1] <= spec.width
        picture, values = random_window(picture, values, spec, config.window_hits, rng)
        return *_tensors(picture, quantised(values)), tampered if whole else _marked(values)


class ValidationImages(Dataset[Item]):
    """Validation images as they are; index -1 is a blank that does not count."""

    def __init__(self, samples: Sequence[Sample], spec: PreprocessingSpec, cache: ResizedCache | None = None) -> None:
        self._resized = _Resized(samples, spec, cache)

    def __len__(self) -> int:
        return len(self._resized.samples)

    def __getitem__(self, index: int) -> Item:
        if index < 0:
            return _blank(self._resized.spec, index)
        try:
            image, mask = self._resized[index]
        except BoxPromptError as error:
            return _blank(self._resized.spec, index, str(error))
        return image, mask, index, self._resized.samples[index].tampered, 1.0, "", None


def _marked(values: np.ndarray[Any, Any]) -> bool:
    """Whether a target, once it has 8 bits, is above 0.5 anywhere."""
    return bool(np.rint(values.max() * 255) > 127)


def _tensors(image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """uint8 (h, w, 3) and (h, w) to uint8 (3, h, w) and (1, h, w)."""
    # A copy where the array is read-only, which torch does not know.
    picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return picture, torch.from_numpy(np.array(mask))[None]


def _blank(spec: PreprocessingSpec, index: int, error: str = "", clean: bool = False) -> Item:
    image = torch.zeros(3, spec.height, spec.width, dtype=torch.uint8)
    return image, image[:1], index, False, 0.0, error, image if clean else None


def collate(items: Sequence[Item]) -> Batch:
    """Images to a batch; of several errors the first is kept."""
    images, masks, indices, tampered, weights, errors, cleans = zip(*items, strict=True)
    batch: Batch = {
        "image": torch.stack(images),
        "mask": torch.stack(masks),
        "index": torch.tensor(indices),
        "tampered": torch.tensor(tampered),
        "weight": torch.tensor(weights),
        "error": next(filter(None, errors), ""),
    }
    if cleans[0] is not None:
        batch["clean"] = torch.stack(cleans)
    return batch
