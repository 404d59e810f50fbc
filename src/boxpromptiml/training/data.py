"""From samples to batches: uint8 until the network, decoded once, augmented by (seed, epoch, index)."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.machine import usable_cores
from boxpromptiml.preprocessing import PreprocessingSpec, resize_image, resize_map
from boxpromptiml.training.augmentation import augment, random_crop
from boxpromptiml.training.cache import ResizedCache
from boxpromptiml.training.recipe import AugmentationConfig, Recipe
from boxpromptiml.training.sampler import ResumableSampler, ShardSampler
from boxpromptiml.training.samples import Sample, Samples, quantised
from boxpromptiml.training.synthetic import SyntheticSource


class Batch(TypedDict):
    """A batch of B images.

    image: uint8 (B, 3, H, W), RGB. mask: uint8 (B, 1, H, W), probability x 255. index: int64 (B,), place in the list of
    samples, beyond its end for synthesised images. tampered: bool (B,). weight: float32 (B,), 0 for padding.
    error: what was wrong with an image that could not be loaded and is blank; empty if nothing was.
    """

    image: Tensor
    mask: Tensor
    index: Tensor
    tampered: Tensor
    weight: Tensor
    error: str


# As a batch, one image. An error travels as text: raised in a worker process, it would arrive as a traceback; raised in
# one process of several, it would leave the others waiting.
Item = tuple[Tensor, Tensor, int, bool, float, str]


class _Resized:
    """Samples at the input size, through the cache."""

    def __init__(self, samples: Sequence[Sample], spec: PreprocessingSpec, cache: ResizedCache | None) -> None:
        self.samples = samples
        self.spec = spec
        self.cache = cache

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.cache.get(index) if self.cache is not None else None
        if pair is None:
            pair = self.samples[index].load_resized(self.spec.height, self.spec.width)
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
    ) -> None:
        self._resized = _Resized(samples, spec, cache)
        self._augmentation = augmentation
        self._seed = seed
        self._source = source
        self._synthetic = synthetic

    def __len__(self) -> int:
        return len(self._resized.samples) + self._synthetic

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        rng = np.random.default_rng([self._seed, epoch, index])
        try:
            image, mask, tampered = self._load(index, rng)
        except BoxPromptError as error:
            return _blank(self._resized.spec, index, str(error))
        image, mask = augment(image, mask, self._augmentation, rng)
        return image, mask, index, tampered, 1.0, ""

    def _load(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        samples, spec = self._resized.samples, self._resized.spec
        if index >= len(samples):
            assert self._source is not None
            picture, drawn, tampered = self._source.make(rng)
            values = np.asarray(drawn / 255, np.float32)
        elif self._augmentation.crop > 0:
            tampered = samples[index].tampered
            picture, values = samples[index].load()
        else:
            return *self._resized[index], samples[index].tampered
        picture, values = random_crop(picture, values, self._augmentation, rng)
        height, width = spec.height, spec.width
        target = quantised(resize_map(values, height, width))
        return *_tensors(resize_image(picture, height, width), target), tampered


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
        return image, mask, index, self._resized.samples[index].tampered, 1.0, ""


class TimedLoader(DataLoader[Any]):
    """A data loader that knows how long its caller has waited for it.

    Attributes:
        waited: seconds, since it was made or set to 0.
    """

    waited: float = 0.0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # The first wait includes the start of the worker processes.
        started = time.perf_counter()
        iterator = super().__iter__()
        self.waited += time.perf_counter() - started
        return self._timed(iterator)

    def _timed(self, iterator: Any) -> Iterator[Batch]:
        while True:
            started = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch


class TrainingData(L.LightningDataModule):
    """The data of a run.

    Args:
        samples: training and validation images.
        recipe: of the run.
        folder: the cache goes there.
        workers: loading processes.
        epoch, start: where the run goes on: epoch, and batches of it that are done.
    """

    def __init__(
        self, samples: Samples, recipe: Recipe, folder: Path, workers: int, epoch: int = 0, start: int = 0
    ) -> None:
        super().__init__()
        self._samples = samples
        self._recipe = recipe
        self._folder = folder
        self._workers = workers
        self._epoch = epoch
        self._start = start
        self._source = SyntheticSource.of(recipe, samples.train)
        self._loader: TimedLoader | None = None

    @property
    def images_per_epoch(self) -> int:
        """Images of the dataset and synthesised ones in one epoch, all processes together."""
        return len(self._samples.train) + self.synthetic

    @property
    def synthetic(self) -> int:
        """Synthesised images in one epoch."""
        fraction = self._recipe.synthesis.fraction
        return round(len(self._samples.train) * fraction / (1 - fraction))

    @property
    def waited(self) -> float:
        """Seconds that this process has waited for training batches so far."""
        return self._loader.waited if self._loader is not None else 0.0

    def prepare_data(self) -> None:
        """Make the cache files; one process of each machine does it."""
        if not self._recipe.data.cache:
            return
        size = self._recipe.input.height, self._recipe.input.width
        limit = self._recipe.data.cache_limit_mb * 2**20
        sizes = {"val": len(self._samples.val)}
        if self._recipe.augmentation.crop == 0:
            sizes["train"] = len(self._samples.train)
        for part, images in sizes.items():
            if images:
                ResizedCache.create(self._cache_path(part), images, *size, limit)
            path = self._cache_path(part)
            limit -= path.stat().st_size if path.exists() else 0

    def train_dataloader(self) -> TimedLoader:
        """Batches of the current epoch, from where the run goes on."""
        assert self.trainer is not None
        sampler = ResumableSampler(
            self.images_per_epoch,
            self._recipe.data.batch_size,
            self._recipe.seed,
            epoch=self._epoch,
            start=self._start,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            passes=self.trainer.current_epoch,
        )
        images = TrainingImages(
            self._samples.train,
            self._recipe.input,
            self._recipe.augmentation,
            self._recipe.seed,
            self._cache("train") if self._recipe.augmentation.crop == 0 else None,
            self._source,
            self.synthetic,
        )
        waited = self.waited
        self._loader = self._make(images, sampler, self._recipe.data.batch_size, self._workers)
        self._loader.waited = waited
        return self._loader

    def val_dataloader(self) -> TimedLoader:
        """All validation images, shared by the processes."""
        assert self.trainer is not None
        images = ValidationImages(self._samples.val, self._recipe.input, self._cache("val"))
        sampler = ShardSampler(len(images), self.trainer.global_rank, self.trainer.world_size)
        return self._make(images, sampler, self._recipe.validation.batch_size, self._workers)

    def _make(self, images: Dataset[Any], sampler: Any, batch_size: int, workers: int) -> TimedLoader:
        return TimedLoader(
            images,
            batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
        )

    def _cache_path(self, part: str) -> Path:
        return self._folder / f"cache-{part}.bin"

    def _cache(self, part: str) -> ResizedCache | None:
        if not self._recipe.data.cache:
            return None
        return ResizedCache.open(self._cache_path(part), self._recipe.input.height, self._recipe.input.width)


def default_workers(on_gpu: bool, processes: int) -> int:
    """Loading processes for each training process; what is measured is in docs/training.md."""
    if not on_gpu:
        return 1
    return max(1, min(8, usable_cores() // processes))


def _tensors(image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """uint8 (h, w, 3) and (h, w) to uint8 (3, h, w) and (1, h, w)."""
    # A copy where the array is read-only, which torch does not know.
    picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return picture, torch.from_numpy(np.array(mask))[None]


def _blank(spec: PreprocessingSpec, index: int, error: str = "") -> Item:
    image = torch.zeros(3, spec.height, spec.width, dtype=torch.uint8)
    return image, image[:1], index, False, 0.0, error


def _collate(items: Sequence[Item]) -> Batch:
    images, masks, indices, tampered, weights, errors = zip(*items, strict=True)
    return {
        "image": torch.stack(images),
        "mask": torch.stack(masks),
        "index": torch.tensor(indices),
        "tampered": torch.tensor(tampered),
        "weight": torch.tensor(weights),
        "error": next(filter(None, errors), ""),
    }


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal: the main one decides. Termination must not wait for a handler that
    # was meant for the main process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
